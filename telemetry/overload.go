package telemetry

// OverloadState is how one scope of requests stands that are counted under overload. It comes
// from who owns it.
type OverloadState struct {
	Scope                   string
	Limit, InFlight, Queued int
	Heat                    float64           // 0 to 1: what steps of degradation follow
	Refused                 map[string]uint64 // by tenant, a bounded number of them
	Others                  uint64            // refusals of all other tenants
}

// WatchOverloads has the metrics of scopes read from f at every scrape.
func (m *Metrics) WatchOverloads(f func() []OverloadState) { m.overloads.Store(&f) }

func (e *emitter) overloads(m *Metrics) {
	watch := m.overloads.Load()
	if watch == nil {
		return
	}
	seen := make(map[string]bool)
	for _, s := range (*watch)() {
		if seen[s.Scope] || len(seen) >= SeriesLimit {
			continue // a scope stands once on the page, or the whole page fails
		}
		seen[s.Scope] = true
		e.value(famConcurrencyLimit, float64(s.Limit), s.Scope)
		e.value(famConcurrencyInFlight, float64(s.InFlight), s.Scope)
		e.value(famConcurrencyQueued, float64(s.Queued), s.Scope)
		e.value(famOverloadHeat, s.Heat, s.Scope)
		for tenant, n := range s.Refused {
			if tenant != Other {
				e.value(famTenantRefusals, float64(n), s.Scope, tenant)
			}
		}
		if others := s.Others + s.Refused[Other]; others > 0 {
			e.value(famTenantRefusals, float64(others), s.Scope, Other)
		}
	}
}
