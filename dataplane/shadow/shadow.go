// Package shadow sends copies of requests to other clusters: for the mirrors of a route, whose answers nobody looks
// at, and for its Shadows, whose answers may be compared with the one that the client gets. It bounds, sends and
// counts copies and has answers compared; what a copy says, and which requests there are, is the proxy's.
package shadow

import (
	"context"
	"slices"
	"sync"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/compare"
)

// Config is what a Set needs from outside.
type Config struct {
	Context  context.Context // of dials and waits: it ends when draining has taken too long
	Clusters *cluster.Set
	Metrics  *telemetry.Mirrors
	Report   func(fault any) // hears of panics, which are contained
	Shards   int
	Mirrors  model.ShadowLimits // of the mirrors of all routes together
}

// Set holds the Shadows that a route has, by name, whatever snapshots come; and those who send copies: bounded in
// number, ignored in outcome, and without any effect on the request that they copy.
type Set struct {
	cfg         Config
	watch       func() error // bound once: an error once draining has taken too long
	crews       []crew       // by shard
	copies      sync.Pool    // of *Copy
	comparisons sync.Pool    // of *comparison
	over        chan struct{}
	work        sync.WaitGroup
	mirrors     state // what mirrors of all routes share

	mu     sync.Mutex
	states map[string]*state // of Shadows, by name
}

// NewSet returns one without Shadows.
func NewSet(cfg Config) *Set {
	s := &Set{cfg: cfg, watch: cfg.Context.Err, crews: make([]crew, cfg.Shards), over: make(chan struct{})}
	s.copies.New = func() any { return new(Copy) }
	s.comparisons.New = func() any { return new(comparison) }
	for i := range s.crews {
		s.crews[i].jobs = make(chan job, maxCrew)
	}
	s.mirrors.mirrors = cfg.Metrics
	s.mirrors.limits.Store(&cfg.Mirrors)
	return s
}

// Wait ends those who send copies, who finish what they have. No copy may be made after.
func (s *Set) Wait() {
	close(s.over)
	s.work.Wait()
}

// Shadow is a place that copies of a route's requests go to.
type Shadow struct {
	of       *Set
	state    *state
	share    policy.Share
	methods  []string         // nil: all
	target   string           // the cluster's name; empty: what it refers to does not resolve
	cluster  *cluster.Cluster // nil: there is none of that name
	edit     *policy.HeaderEdit
	compare  *compare.Comparer // nil: answers are read and forgotten
	latency  bool
	baseline bool
	beside   bool // the route's requests go to the same cluster: copies are to leave room for them
}

// Of makes the shadows of a route, when the route is compiled: its mirrors first.
func (s *Set) Of(m *model.Route) []Shadow {
	if len(m.Mirrors) == 0 && len(m.Shadows) == 0 {
		return nil
	}
	edit := policy.CompileHeaderEdit(m.RequestHeaders)
	var list []Shadow
	for i := range m.Mirrors {
		at := &m.Mirrors[i]
		list = append(list, Shadow{
			of: s, state: &s.mirrors, share: policy.CompileMirror(at), edit: edit,
			target: at.Cluster, cluster: s.cfg.Clusters.Cluster(at.Cluster),
		})
	}
	for i := range m.Shadows {
		at := &m.Shadows[i]
		made := Shadow{of: s, state: s.state(at), share: policy.CompileShare(at.Share), methods: at.Methods, edit: edit}
		if at.Refusal == nil {
			made.target, made.cluster = at.Cluster, s.cfg.Clusters.Cluster(at.Cluster)
		}
		if at.Compare != nil {
			made.compare, _ = compare.Compile(at.Compare) // the control plane has refused what is wrong
			made.latency, made.baseline = at.Compare.Latency, at.Compare.Baseline
		}
		list = append(list, made)
	}
	for i := range list {
		list[i].beside = slices.ContainsFunc(m.Split.Arms, func(a model.Arm) bool { return a.Cluster == list[i].target })
	}
	return list
}

// Current reports whether the cluster that it looked up is still the one of its name.
func (s *Shadow) Current() bool {
	return s.target == "" || s.cluster == s.of.cfg.Clusters.Cluster(s.target)
}

// Edit is what the route changes of the fields of its requests, copies included.
func (s *Shadow) Edit() *policy.HeaderEdit { return s.edit }

// Chooses reports whether a request is to be copied: one of the methods, and of the share.
func (s *Shadow) Chooses(method []byte, random func() uint64) bool {
	return (s.methods == nil || slices.Contains(s.methods, string(method))) && s.share.Chosen(random())
}

// Original is what is to be known of a request that may be copied.
type Original struct {
	Method    []byte
	Client    transport.Ends
	Shard     int
	Body      int64 // bytes of its body that are known of: its length, or what has come
	Upgrading bool  // it asks for a tunnel
	Copied    bool  // it is a copy itself, and copied no further: a shadow that leads back would have no end
}

// Copy returns a copy without its bytes, and takes a place for it; nil, counted by reason, if the request is not copied.
func (s *Shadow) Copy(r *Original) *Copy {
	limit := s.state.limits.Load()
	var why dropReason
	switch {
	case s.cluster == nil:
		why = dropUnresolved
	case r.Upgrading:
		why = dropUpgrade
	case r.Body > limit.Body:
		why = dropBody
	case r.Copied:
		why = dropCopy
	case !s.state.take(limit.InFlight):
		why = dropInFlight
	default:
		c := s.of.copy(r, s.state)
		c.cluster, c.beside = s.cluster, s.beside
		return c
	}
	s.state.drop(why)
	return nil
}
