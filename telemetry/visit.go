package telemetry

// VisitRoutes calls visit with what every route's series counted, but for those that never
// counted anything. The stats are valid until visit returns. No lock is held
// while it works.
func (m *Metrics) VisitRoutes(visit func(name string, s *Stats)) {
	visitUsed(&m.routes, visit)
}

// VisitClusters is VisitRoutes for clusters.
func (m *Metrics) VisitClusters(visit func(name string, s *Stats)) {
	visitUsed(&m.clusters, visit)
}

// VisitHosts is VisitRoutes for the hosts of clusters.
func (m *Metrics) VisitHosts(visit func(cluster, address string, s *Stats)) {
	visitUsed(&m.hosts, func(k hostKey, s *Stats) { visit(k.cluster, k.address, s) })
}

// VisitStreams is VisitRoutes for stream routes.
func (m *Metrics) VisitStreams(visit func(name string, s *Stats)) {
	visitUsed(&m.streams, visit)
}

// ClusterStats returns what a cluster's series counted; false if there is none.
func (m *Metrics) ClusterStats(name string) (Stats, bool) { return m.clusters.stats(name) }

// visitUsed gathers the series under the lock, which the control path waits for, and reads
// them after it.
func visitUsed[K comparable](t *table[K], visit func(K, *Stats)) {
	type entry struct {
		key    K
		series *Series
	}
	var used []entry
	t.each(func(key K, s *Series) {
		if s.used() {
			used = append(used, entry{key, s})
		}
	})
	var stats Stats // one for all: what visit gets a pointer to is on the heap
	for _, e := range used {
		stats = e.series.Snapshot()
		visit(e.key, &stats)
	}
}

// used says whether anything was ever counted.
func (s *Series) used() bool {
	for i := range s.cells {
		if s.cells[i].Load() != nil {
			return true
		}
	}
	return false
}
