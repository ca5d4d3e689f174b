package telemetry

// FaultStats is what one injected fault did. It comes from who owns it.
type FaultStats struct {
	Policy, Fault string
	Injected      uint64 // requests that met it
	Active        bool   // neither stopped nor expired
}

// WatchFaults has the metrics of faults read from f at every scrape.
func (m *Metrics) WatchFaults(f func() []FaultStats) { m.faults.Store(&f) }

func (e *emitter) faults(m *Metrics) {
	watch := m.faults.Load()
	if watch == nil {
		return
	}
	type name struct{ policy, fault string }
	seen := map[name]bool{}
	for _, s := range (*watch)() {
		at := name{s.Policy, s.Fault}
		if seen[at] || len(seen) >= SeriesLimit {
			continue // a fault stands once on the page, or the whole page fails
		}
		seen[at] = true
		e.value(famFaults, float64(s.Injected), s.Policy, s.Fault)
		active := 0.0
		if s.Active {
			active = 1
		}
		e.value(famFaultsActive, active, s.Policy, s.Fault)
	}
}
