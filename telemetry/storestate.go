package telemetry

// StoreState is how the store of time series stands. It comes from who owns it.
type StoreState struct {
	Open           bool
	Series         uint64 // of the last hour
	Bytes          int64  // on disk
	Samples        uint64 // that were kept
	Refused        uint64 // samples that were not: too many series, or of a time that has passed
	Failures       uint64 // to open, write or close
	Queries        uint64
	QueriesRefused uint64
}

// WatchStore has the metrics of the store of time series read from f at every scrape.
func (m *Metrics) WatchStore(f func() StoreState) { m.store.Store(&f) }

func (e *emitter) store(m *Metrics) {
	watch := m.store.Load()
	if watch == nil {
		return
	}
	s := (*watch)()
	e.value(famStoreOpen, truth(s.Open))
	e.value(famStoreSeries, float64(s.Series))
	e.value(famStoreBytes, float64(s.Bytes))
	e.value(famStoreSamples, float64(s.Samples), "kept")
	e.value(famStoreSamples, float64(s.Refused), "refused")
	e.value(famStoreFailures, float64(s.Failures))
	e.value(famStoreQueries, float64(s.Queries), "answered")
	e.value(famStoreQueries, float64(s.QueriesRefused), "refused")
}

// ObjectiveState is what an objective's requests came to so far. It comes from who owns it.
type ObjectiveState struct {
	Name      string  // namespace/name
	Objective float64 // the share that is to be good, 0 to 1
	Good, Bad float64 // requests, or parts of some where a bound divides a bucket
}

// WatchObjectives has the metrics of objectives read from f at every scrape.
func (m *Metrics) WatchObjectives(f func() []ObjectiveState) { m.objectives.Store(&f) }

func (e *emitter) objectives(m *Metrics) {
	watch := m.objectives.Load()
	if watch == nil {
		return
	}
	for i, s := range (*watch)() {
		if i >= SeriesLimit {
			return
		}
		e.value(famObjectiveEvents, s.Good, s.Name, "good")
		e.value(famObjectiveEvents, s.Bad, s.Name, "bad")
		e.value(famObjective, s.Objective, s.Name)
	}
}
