package proxy

import (
	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/overload"
	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/dataplane/release"
	"weir.dev/weir/dataplane/shadow"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// route is a model.Route ready for use: its policies compiled, its clusters and counters
// looked up. It is immutable.
type route struct {
	// What every request looks at comes first, together: among many routes each line of
	// memory that a request touches is a miss.
	series   *telemetry.Series
	steps    []step // the policies that this route has, in the order of the table in order.go
	arms     []arm
	total    uint64 // sum of the arms' weights
	timeouts model.Timeouts
	marks    []byte // fields of a first try; see firstMarks
	model    *model.Route

	cors     *policy.CORS
	redirect *policy.Redirect
	rewrite  *policy.Rewrite
	shadows  []shadow.Shadow // mirrors first
	retry    *retries        // nil: none
	guard    *overload.Guard // nil: nothing is done about overload
	faults   []routeFault
	keys     *policy.Keys    // nil: none
	session  *policy.Session // nil: none
	release  *release.Route  // nil: none
}

// arm is one destination of a route.
type arm struct {
	model    *model.Arm
	upTo     uint64           // a draw below this, and not below the arm before, is this arm's
	cluster  *cluster.Cluster // nil if the arm refuses
	series   *telemetry.Series
	request  *policy.HeaderEdit
	response *policy.HeaderEdit
	compress *policy.Compression // nil: none
	throttle *overload.Throttle  // nil: none
}

func newRoute(p *Proxy, m *model.Route) *route {
	r := &route{
		model:    m,
		series:   p.cfg.Metrics.Route(m.Name),
		timeouts: m.Timeouts,
		keys:     policy.CompileKeys(m.HashOn),
		session:  policy.CompileSession(m.Session),
		retry:    compileRetry(m.Retry),
	}
	r.guard = p.overloads.Guard(m.Overload)
	if r.guard != nil && r.guard.Stale > 0 {
		p.stale.Use()
	}
	r.faults = p.faults.of(m)
	if m.CORS != nil {
		r.cors = policy.CompileCORS(m.CORS)
	}
	if m.Redirect != nil {
		r.redirect = policy.CompileRedirect(m.Redirect)
	}
	if m.Rewrite != nil {
		r.rewrite = policy.CompileRewrite(m.Rewrite)
	}
	for i := range m.Split.Arms {
		r.addArm(p, m, &m.Split.Arms[i])
	}
	r.shadows = p.shadows.Of(m)
	r.release = p.releases.Route(&m.Split, func(arm int) bool { return r.arms[arm].cluster != nil })
	r.watch()
	r.marks = r.firstMarks()
	r.steps = stepsOf(r)
	return r
}

func (r *route) addArm(p *Proxy, m *model.Route, a *model.Arm) {
	r.total += uint64(a.Weight)
	made := arm{
		model: a, upTo: r.total,
		request:  policy.CompileHeaderEdit(m.RequestHeaders, a.RequestHeaders),
		response: policy.CompileHeaderEdit(m.ResponseHeaders, a.ResponseHeaders),
	}
	if r.cors != nil {
		made.response = made.response.Without(r.cors.Owns)
	}
	made.compress = policy.CompileCompression(m.Compression, made.response)
	if a.Refusal == nil {
		made.cluster = p.clusters.Cluster(a.Cluster)
		made.series = p.cfg.Metrics.Cluster(a.Cluster)
		made.throttle = p.overloads.Throttle(m.Overload, a.Cluster)
	}
	r.arms = append(r.arms, made)
}

// current reports whether the clusters that r looked up are still the ones of their names.
func (r *route) current(p *Proxy) bool {
	for i := range r.arms {
		a := &r.arms[i]
		if a.model.Refusal == nil && a.cluster != p.clusters.Cluster(a.model.Cluster) {
			return false
		}
	}
	for i := range r.shadows {
		if !r.shadows[i].Current() {
			return false
		}
	}
	return true
}

// draw chooses an arm by weight; nil if there is none with any.
func (r *route) draw(random func() uint64) *arm {
	if r.total == 0 {
		return nil
	}
	if len(r.arms) == 1 {
		return &r.arms[0]
	}
	at := random() % r.total
	for i := range r.arms {
		if at < r.arms[i].upTo {
			return &r.arms[i]
		}
	}
	return nil
}
