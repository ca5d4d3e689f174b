// Package overload is what a proxy counts and has compiled for when there is too much to do: scopes with their limits,
// throttles of clusters, and what each step of degradation gives up. It refuses nobody: whose turn it is and what is answered
// is the proxy's, and the algorithms are traffic/overload's.
package overload

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	load "weir.dev/weir/traffic/overload"
)

// Scope is the state of what requests are counted at. It lives as long as some route's policy
// names it, whatever snapshots come.
type Scope struct {
	Gate    *load.Gate
	Tenants *load.Busiest // whose requests were refused

	name   string
	counts [4]*telemetry.Protection       // by load.Why; the first is nil
	spec   atomic.Pointer[model.Overload] // the newest
}

// Count counts a request that was refused, or would have been.
func (s *Scope) Count(why load.Why, mode model.Mode) { s.counts[why].Count(mode) }

// maxTenants is how many of a scope's tenants are counted apart.
const maxTenants = 100

// Set holds the scopes, and the throttles of clusters, by name. Requests do not look into it.
type Set struct {
	metrics *telemetry.Metrics
	random  func() uint64

	mu        sync.Mutex
	scopes    map[string]*Scope
	throttles map[string]*load.Throttle // by cluster
}

// NewSet returns one without scopes.
func NewSet(metrics *telemetry.Metrics, random func() uint64) *Set {
	return &Set{metrics: metrics, random: random, scopes: map[string]*Scope{}, throttles: map[string]*load.Throttle{}}
}

// Throttle is what an arm knows of its cluster's.
type Throttle struct {
	State *load.Throttle
	Count *telemetry.Protection // of refusals
}

// scope returns the scope that a route's policy names, made if need be and told what the
// policy says; nil for a policy that bounds nothing.
func (o *Set) scope(m *model.Overload) *Scope {
	if m.Limit <= 0 && m.Adaptive == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	c := load.Config{Limit: m.Limit, Adaptive: m.Adaptive, Queue: m.Queue, Observe: m.Mode == model.ModeObserve}
	s := o.scopes[m.Scope]
	if s == nil {
		s = &Scope{name: m.Scope, Gate: load.NewGate(c, o.random()), Tenants: load.NewBusiest(maxTenants)}
		o.scopes[m.Scope] = s
	} else if m.Mode != model.ModeDisabled {
		s.Gate.Configure(c)
	}
	for why, kind := range map[load.Why]telemetry.ProtectionKind{
		load.WhyConcurrency: telemetry.ProtectConcurrency,
		load.WhyPriority:    telemetry.ProtectPriority,
		load.WhyQueue:       telemetry.ProtectQueue,
	} {
		if s.counts[why] == nil {
			s.counts[why] = o.metrics.Protection(m.Scope, kind)
		}
	}
	s.spec.Store(m)
	return s
}

// Throttle returns the throttle of an arm's cluster; nil where the route has none.
func (o *Set) Throttle(m *model.Overload, cluster string) *Throttle {
	if m == nil || m.Throttle == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.throttles[cluster]
	if t == nil {
		t = load.NewThrottle(m.Throttle.Window)
		o.throttles[cluster] = t
	}
	t.SetWindow(m.Throttle.Window)
	if m.Mode == model.ModeDisabled {
		return nil
	}
	return &Throttle{State: t, Count: o.metrics.Protection(cluster, telemetry.ProtectThrottle)}
}

// Retain forgets the scopes and throttles that no route of a snapshot has.
func (o *Set) Retain(s *model.Snapshot) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.scopes) == 0 && len(o.throttles) == 0 {
		return
	}
	scopes, throttles := map[string]bool{}, map[string]bool{}
	for _, table := range s.RouteTables {
		for _, e := range table.Entries {
			m := e.Route.Overload
			if m == nil {
				continue
			}
			scopes[m.Scope] = true
			if m.Throttle != nil {
				for i := range e.Route.Split.Arms {
					throttles[e.Route.Split.Arms[i].Cluster] = true
				}
			}
		}
	}
	for name := range o.scopes {
		if !scopes[name] {
			delete(o.scopes, name)
		}
	}
	for name := range o.throttles {
		if !throttles[name] {
			delete(o.throttles, name)
		}
	}
}

// list returns the scopes by name.
func (o *Set) list() []*Scope {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.SortedFunc(maps.Values(o.scopes), func(a, b *Scope) int { return cmp.Compare(a.name, b.name) })
}

// Status is how one scope stands.
type Status struct {
	Scope    string
	Mode     model.Mode
	Adaptive bool
	load.Status
	// Steps are the shares from which each step of degradation begins, of the newest policy, and
	// Active how many of them apply now, to some requests at least.
	Steps   []float64
	Active  int
	Tenants []TenantRefusals // those refused most come first
	Others  uint64           // refusals of all other tenants
}

// TenantRefusals are the refused requests of one tenant of a scope.
type TenantRefusals struct {
	Tenant  string
	Refused uint64
}

// Statuses returns how every scope stands, by name.
func (o *Set) Statuses() []Status {
	now := time.Duration(transport.Now())
	var list []Status
	for _, s := range o.list() {
		spec := s.spec.Load()
		st := Status{Scope: s.name, Mode: spec.Mode, Adaptive: spec.Adaptive != nil, Status: s.Gate.Status(now)}
		heat := s.Gate.Heat(now)
		for i := range spec.Degrade {
			st.Steps = append(st.Steps, spec.Degrade[i].At)
			if heat.Active(spec.Degrade[i].At, func() uint64 { return 0 }) {
				st.Active++
			}
		}
		st.Others = s.Tenants.Each(func(name string, n uint64) {
			st.Tenants = append(st.Tenants, TenantRefusals{name, n})
		})
		slices.SortFunc(st.Tenants, func(a, b TenantRefusals) int {
			return cmp.Or(cmp.Compare(b.Refused, a.Refused), cmp.Compare(a.Tenant, b.Tenant))
		})
		list = append(list, st)
	}
	return list
}

// ThrottleStatus is what a cluster's throttle has counted over its window.
type ThrottleStatus struct {
	Cluster           string
	Requests, Accepts int64
}

// Throttles returns what every throttle has counted, by cluster.
func (o *Set) Throttles() []ThrottleStatus {
	now := time.Duration(transport.Now())
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []ThrottleStatus
	for name, t := range o.throttles {
		requests, accepts := t.Counts(now)
		list = append(list, ThrottleStatus{name, requests, accepts})
	}
	slices.SortFunc(list, func(a, b ThrottleStatus) int { return cmp.Compare(a.Cluster, b.Cluster) })
	return list
}

// States is Statuses as metrics want it.
func (o *Set) States() []telemetry.OverloadState {
	var list []telemetry.OverloadState
	for _, s := range o.Statuses() {
		state := telemetry.OverloadState{
			Scope: s.Scope, Limit: s.Limit, InFlight: s.InFlight, Queued: s.Queued, Heat: s.Heat, Others: s.Others,
			Refused: map[string]uint64{},
		}
		for _, t := range s.Tenants {
			state.Refused[t.Tenant] = t.Refused
		}
		list = append(list, state)
	}
	return list
}
