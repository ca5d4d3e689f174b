package explain

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/match"
	"weir.dev/weir/traffic/uri"
)

// Bounds of an explanation.
const (
	maxHosts = 20
	maxLost  = 20
)

// Explainer answers questions about one snapshot. It compiles a route table when it is first
// asked about it. It may be used by any number of goroutines.
type Explainer struct {
	snapshot  *model.Snapshot
	clusters  map[string]*model.Cluster
	endpoints map[string]*model.EndpointSet
	tables    map[string]*table
	streams   map[string]*model.StreamRoute
}

// table is a route table that is compiled when it is needed.
type table struct {
	model   *model.RouteTable
	compile sync.Once
	match   *match.Table[*model.Route]
}

// New returns an explainer of a snapshot.
func New(s *model.Snapshot) *Explainer {
	e := &Explainer{
		snapshot:  s,
		clusters:  make(map[string]*model.Cluster, len(s.Clusters)),
		endpoints: make(map[string]*model.EndpointSet, len(s.Endpoints)),
		tables:    make(map[string]*table, len(s.RouteTables)),
		streams:   make(map[string]*model.StreamRoute, len(s.Streams)),
	}
	for _, r := range s.Streams {
		e.streams[r.Name] = r
	}
	for _, c := range s.Clusters {
		e.clusters[c.Name] = c
	}
	for _, set := range s.Endpoints {
		e.endpoints[set.Cluster] = set
	}
	for _, t := range s.RouteTables {
		e.tables[t.Name] = &table{model: t}
	}
	return e
}

// find looks a request up as the data plane does.
func (t *table) find(r *match.Request) (match.Hit[*model.Route], bool) {
	t.compile.Do(func() {
		entries := make([]match.Entry[*model.Route], len(t.model.Entries))
		for i, e := range t.model.Entries {
			entries[i] = match.Entry[*model.Route]{
				Hostnames: e.Hostnames, Matches: e.Route.Matches, Rank: e.Route.Rank, Value: e.Route,
			}
		}
		// What cannot be compiled is left out, as it is by the data plane.
		t.match, _ = match.Compile(entries)
	})
	return t.match.Find(r)
}

// finding is the way of a request up to its route.
type finding struct {
	listener *model.Listener
	hostname string
	table    *table
	query    match.Request
	route    *model.Route
	match    *model.Match
	status   int
	flag     model.Flag
	reason   string
}

// find takes a request to its route. Where it does not get there, status, flag and reason
// say why.
func (e *Explainer) find(p *parsed) *finding {
	f := &finding{}
	if p.streams() {
		f.reason = "no request has a URL of " + p.scheme
		return f
	}
	if f.listener, f.reason = e.listenerOf(p); f.listener == nil {
		return f
	}
	if f.reason = e.carried(f.listener, p); f.reason != "" {
		return f
	}
	if !f.handshake(p) {
		if f.status == 0 {
			f.reason += e.unservedText(f.listener.Address.Port(), p)
		}
		return f
	}
	if f.reason = p.applyNames(f.listener.Client.Underscores); f.reason != "" {
		return f.refused(model.FlagDPE, f.reason)
	}
	var scratch []byte
	path, wrong := uri.NormalPath([]byte(p.rawPath), &scratch, f.listener.Client.Escapes)
	if wrong != nil {
		return f.refused(model.FlagDPE, wrong.Reason)
	}
	f.query = match.Request{Host: []byte(p.host), Method: []byte(p.method), Path: path, Query: []byte(p.query), Headers: p}
	var bindings match.Hosts[model.TableBinding]
	for _, b := range f.listener.Tables {
		bindings.Set(b.Hostname, b)
	}
	binding, ok := bindings.Find(f.query.Host)
	if !ok {
		var names []string
		for _, b := range f.listener.Tables {
			names = append(names, b.Hostname)
		}
		return f.refused(model.FlagNR, fmt.Sprintf("the listener does not serve host %s, but %s", p.host, some(names))+e.unservedText(f.listener.Address.Port(), p))
	}
	f.hostname = binding.Hostname
	if f.table = e.tables[binding.Table]; f.table == nil {
		return f.refused(model.FlagNR, "the snapshot has no route table "+binding.Table)
	}
	hit, ok := f.table.find(&f.query)
	if !ok {
		return f.refused(model.FlagNR, "no route of the table matches")
	}
	f.route, f.match = hit.Value, hit.Match
	return f
}

func (f *finding) refused(flag model.Flag, reason string) *finding {
	f.flag, f.status, f.reason = flag, model.FlagInfos[flag].Status, reason
	return f
}

// applyNames does what the listener does to header names with underscores.
func (p *parsed) applyNames(policy model.NamePolicy) (refusal string) {
	var kept []Header
	for _, h := range p.headers {
		if !strings.Contains(h.Name, "_") || policy == model.NameKeep {
			kept = append(kept, h)
			continue
		}
		if policy != model.NameDrop {
			return fmt.Sprintf("underscore in the header name %s", h.Name)
		}
	}
	p.headers = kept
	return ""
}

// prefix returns the prefix that the request matched by, empty if it matched otherwise.
func (f *finding) prefix() string {
	if f.match.Path.Type != model.MatchPrefix {
		return ""
	}
	return f.match.Path.Value
}

// Explain says what happens to a request and why. The error says what is wrong with the
// question.
func (e *Explainer) Explain(r Request) (model.Explanation, error) {
	p, err := r.parse()
	if err != nil {
		return model.Explanation{}, err
	}
	if p.streams() {
		return e.explainStream(p), nil
	}
	f := e.find(p)
	x := e.explain(p, f)
	if f.table != nil {
		x.Lost, x.LostMore = f.lost()
	}
	return x, nil
}

// explain says what happens to a request that took its way to f, without who lost.
func (e *Explainer) explain(p *parsed, f *finding) model.Explanation {
	x := model.Explanation{
		Version: e.snapshot.Version, Revision: e.snapshot.Revision,
		Hostname: f.hostname, Reason: f.reason, Status: f.status, Flag: f.flag.String(),
	}
	if f.listener == nil {
		return x
	}
	x.Listener = f.listener.Name
	if f.table != nil {
		x.Table = f.table.model.Name
	}
	if f.route == nil {
		x.Policy = f.listener.Policy()
		return x
	}
	x.Route, x.Rule, x.Origin, x.Match = f.route.Name, f.route.Rule, f.route.Origin, f.match.Shown()
	e.destination(&x, f, p)
	return x
}

// destination says what the route does with the request.
func (e *Explainer) destination(x *model.Explanation, f *finding, p *parsed) {
	r := f.route
	common := e.shares(x, &r.Split)
	x.Policy = append(f.listener.Policy(), model.EffectivePolicy(nil, r, common)...)
	switch {
	case p.isPreflight() && r.CORS != nil:
		x.Status, x.Reason = http.StatusOK, "a CORS preflight, which the route's CORS policy answers"
	case r.Refusal != nil:
		x.Status, x.Flag, x.Reason = r.Refusal.Status, r.Refusal.Flag, r.Refusal.Reason
	case r.Redirect != nil:
		x.Status, x.Location = redirectOf(f, p)
	case total(&r.Split) == 0:
		x.Status, x.Flag, x.Reason = model.FlagInfos[model.FlagNC].Status, model.FlagNC.String(), "no backend has any weight"
	default:
		x.ForwardedHost, x.ForwardedPath = forwarded(f, p)
		if refusal := refusedBy(&r.Split); refusal != nil {
			x.Status, x.Flag, x.Reason = refusal.Status, refusal.Flag, refusal.Reason
		} else if x.Arm != "" && !e.hasHosts(x.Cluster) {
			x.Status, x.Flag, x.Reason = model.FlagInfos[model.FlagUH].Status, model.FlagUH.String(), "the backend has no endpoint with weight"
		}
	}
}

// shares says how a split divides what it gets, and returns the cluster whose policy is that of
// every arm, if there is one.
func (e *Explainer) shares(x *model.Explanation, s *model.Split) *model.Cluster {
	x.Arms = e.arms(s)
	common := e.commonCluster(x.Arms)
	if len(x.Arms) == 1 {
		x.Arm, x.Cluster, x.Hosts = x.Arms[0].Name, x.Arms[0].Cluster, e.hosts(x.Arms[0].Cluster)
		return common
	}
	for i := range x.Arms {
		a := &x.Arms[i]
		a.Hosts = e.hosts(a.Cluster)
		if common == nil {
			a.Policy = model.EffectivePolicy(nil, nil, e.clusters[a.Cluster])
		}
	}
	return common
}

// refusedBy returns the answer that every arm with weight gives in place of a backend; nil if
// one forwards, or they answer differently.
func refusedBy(s *model.Split) (common *model.Refusal) {
	for i, weight := range s.Resting() {
		arm := &s.Arms[i]
		switch {
		case weight == 0:
		case arm.Refusal == nil || common != nil && (arm.Refusal.Status != common.Status || arm.Refusal.Flag != common.Flag):
			return nil
		case common == nil:
			common = arm.Refusal
		}
	}
	return common
}

// hasHosts reports whether a cluster has somewhere to send requests to. What DNS answers is
// not known here, and endpoints that are not ready may be all there is.
func (e *Explainer) hasHosts(cluster string) bool {
	if c := e.clusters[cluster]; c != nil && c.DNS != nil {
		return true
	}
	set := e.endpoints[cluster]
	return set != nil && slices.ContainsFunc(set.Endpoints, func(at model.Endpoint) bool { return at.Weight > 0 })
}

// commonCluster returns a cluster whose policy is that of every arm that forwards, nil if they
// differ.
func (e *Explainer) commonCluster(arms []model.ArmShare) *model.Cluster {
	var common *model.Cluster
	for i := range arms {
		c := e.clusters[arms[i].Cluster]
		switch {
		case c == nil:
		case common == nil:
			common = c
		case !slices.Equal(model.EffectivePolicy(nil, nil, common), model.EffectivePolicy(nil, nil, c)):
			return nil
		}
	}
	return common
}

func (p *parsed) isPreflight() bool {
	return p.method == http.MethodOptions && len(p.values("origin")) > 0 && len(p.values("access-control-request-method")) > 0
}

// redirectOf returns status and Location of a redirecting route.
func redirectOf(f *finding, p *parsed) (status int, location string) {
	to := uri.CompileLocation(f.route.Redirect)
	status = f.route.Redirect.Status
	if status == 0 {
		status = http.StatusFound
	}
	return status, string(to.Append(nil, uri.Requested{
		Scheme: p.scheme, Host: f.query.Host, Port: f.listener.Address.Port(),
		Path: f.query.Path, Query: f.query.Query, HasQuery: p.hasQuery, Prefix: f.prefix(),
	}))
}

// forwarded returns the Host and the path with its query that a backend gets.
func forwarded(f *finding, p *parsed) (host, path string) {
	host, path = p.authority, string(f.query.Path)
	if w := f.route.Rewrite; w != nil {
		if w.Hostname != "" {
			host = w.Hostname
		}
		path = string(uri.CompileChange(w.Path).Append(nil, f.query.Path, f.prefix()))
	}
	if p.hasQuery {
		path += "?" + p.query
	}
	return host, path
}

func total(s *model.Split) (sum uint64) {
	for i := range s.Arms {
		sum += uint64(s.Arms[i].Weight)
	}
	return sum
}

func (e *Explainer) arms(s *model.Split) []model.ArmShare {
	whole := total(s)
	arms := make([]model.ArmShare, len(s.Arms))
	for i, weight := range s.Resting() {
		a := &s.Arms[i]
		arms[i] = model.ArmShare{Name: a.Name, Cluster: a.Cluster, Weight: a.Weight, Release: s.RoleOf(a.Name)}
		if whole > 0 {
			arms[i].Share = float64(weight) / float64(whole)
		}
		if a.Refusal != nil {
			arms[i].Refusal = a.Refusal.Reason
		}
	}
	return arms
}

// hosts lists the addresses of a cluster that may be chosen.
func (e *Explainer) hosts(cluster string) []string {
	if c := e.clusters[cluster]; c != nil && c.DNS != nil {
		return []string{fmt.Sprintf("%s:%d (by DNS)", c.DNS.Hostname, c.DNS.Port)}
	}
	set := e.endpoints[cluster]
	if set == nil {
		return nil
	}
	var hosts []string
	more := 0
	for _, at := range set.Endpoints {
		switch {
		case at.Weight == 0 || at.Unready:
		case len(hosts) == maxHosts:
			more++
		default:
			hosts = append(hosts, at.Address.String())
		}
	}
	if more > 0 {
		hosts[maxHosts-1] = fmt.Sprintf("and %d more", more+1)
	}
	return hosts
}
