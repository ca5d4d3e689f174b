package telemetry

import (
	"testing"
	"time"
)

func TestVisitSeesWhatWasUsed(t *testing.T) {
	m := NewMetrics(2)
	m.Route("idle")
	for name, n := range map[string]int{"a": 1, "b": 3} {
		for range n {
			for _, s := range []*Series{m.Route(name), m.Cluster("cluster/" + name), m.Host("cluster/"+name, "10.0.0.1:80")} {
				s.Begin(1)
				s.End(1, &Outcome{Code: 200, Duration: time.Millisecond})
			}
		}
	}
	got := map[string]uint64{}
	m.VisitRoutes(func(name string, s *Stats) {
		got[name] = s.Requests
		m.Route("made while visiting " + name) // no lock is held
	})
	m.VisitClusters(func(name string, s *Stats) { got[name] = s.Requests })
	m.VisitHosts(func(cluster, address string, s *Stats) { got[cluster+" "+address] = s.Requests })
	want := map[string]uint64{"a": 1, "b": 3, "cluster/a": 1, "cluster/b": 3, "cluster/a 10.0.0.1:80": 1, "cluster/b 10.0.0.1:80": 3}
	if len(got) != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for key, n := range want {
		if got[key] != n {
			t.Errorf("%s: %d requests, want %d", key, got[key], n)
		}
	}
	if s, ok := m.ClusterStats("cluster/b"); !ok || s.Requests != 3 {
		t.Errorf("ClusterStats: %v %v", s.Requests, ok)
	}
	if _, ok := m.ClusterStats("cluster/none"); ok {
		t.Error("a cluster that nobody made has stats")
	}
}
