package proxy

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/overload"
)

// scope is the state of what requests are counted at. It lives as long as some route's policy
// names it, whatever snapshots come.
type scope struct {
	name    string
	gate    *overload.Gate
	counts  [4]*telemetry.Protection // by overload.Why; the first is nil
	tenants *overload.Busiest
	spec    atomic.Pointer[model.Overload] // the newest
}

// maxTenants is how many of a scope's tenants are counted apart.
const maxTenants = 100

// overloads are the scopes, and the throttles of clusters. Requests do not look into it.
type overloads struct {
	mu        sync.Mutex
	scopes    map[string]*scope
	throttles map[string]*overload.Throttle // by cluster
}

// throttle is what an arm knows of its cluster's.
type throttle struct {
	state *overload.Throttle
	count *telemetry.Protection
}

// scope returns the scope that a route's policy names, made if need be and told what the
// policy says; nil for a policy that bounds nothing.
func (o *overloads) scope(p *Proxy, m *model.Overload) *scope {
	if m.Limit <= 0 && m.Adaptive == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	c := overload.Config{Limit: m.Limit, Adaptive: m.Adaptive, Queue: m.Queue, Observe: m.Mode == model.ModeObserve}
	s := o.scopes[m.Scope]
	if s == nil {
		s = &scope{name: m.Scope, gate: overload.NewGate(c, p.cfg.Random()), tenants: overload.NewBusiest(maxTenants)}
		if o.scopes == nil {
			o.scopes = map[string]*scope{}
		}
		o.scopes[m.Scope] = s
	} else if m.Mode != model.ModeDisabled {
		s.gate.Configure(c)
	}
	for why, kind := range map[overload.Why]telemetry.ProtectionKind{
		overload.WhyConcurrency: telemetry.ProtectConcurrency,
		overload.WhyPriority:    telemetry.ProtectPriority,
		overload.WhyQueue:       telemetry.ProtectQueue,
	} {
		if s.counts[why] == nil {
			s.counts[why] = p.cfg.Metrics.Protection(m.Scope, kind)
		}
	}
	s.spec.Store(m)
	return s
}

// throttle returns the throttle of an arm's cluster; nil where the route has none.
func (o *overloads) throttle(p *Proxy, m *model.Overload, cluster string) *throttle {
	if m == nil || m.Throttle == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.throttles[cluster]
	if t == nil {
		t = overload.NewThrottle(m.Throttle.Window)
		if o.throttles == nil {
			o.throttles = map[string]*overload.Throttle{}
		}
		o.throttles[cluster] = t
	}
	t.SetWindow(m.Throttle.Window)
	if m.Mode == model.ModeDisabled {
		return nil
	}
	return &throttle{state: t, count: p.cfg.Metrics.Protection(cluster, telemetry.ProtectThrottle)}
}

// retain forgets the scopes and throttles that no route of a snapshot has.
func (o *overloads) retain(s *model.Snapshot) {
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
func (o *overloads) list() []*scope {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := make([]*scope, 0, len(o.scopes))
	for _, s := range o.scopes {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *scope) int { return cmp.Compare(a.name, b.name) })
	return list
}

// OverloadStatus is how one scope stands.
type OverloadStatus struct {
	Scope    string
	Mode     model.Mode
	Adaptive bool
	overload.Status
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

// Overloads returns how every scope stands, by name.
func (p *Proxy) Overloads() []OverloadStatus {
	now := time.Duration(transport.Now())
	var list []OverloadStatus
	for _, s := range p.overloads.list() {
		spec := s.spec.Load()
		st := OverloadStatus{Scope: s.name, Mode: spec.Mode, Adaptive: spec.Adaptive != nil, Status: s.gate.Status(now)}
		heat := s.gate.Heat(now)
		for i := range spec.Degrade {
			st.Steps = append(st.Steps, spec.Degrade[i].At)
			if heat.Active(spec.Degrade[i].At, func() uint64 { return 0 }) {
				st.Active++
			}
		}
		st.Others = s.tenants.Each(func(name string, n uint64) {
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
func (p *Proxy) Throttles() []ThrottleStatus {
	now := time.Duration(transport.Now())
	o := &p.overloads
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

// overloadStates is Overloads as metrics want it.
func (p *Proxy) overloadStates() []telemetry.OverloadState {
	var list []telemetry.OverloadState
	for _, s := range p.Overloads() {
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
