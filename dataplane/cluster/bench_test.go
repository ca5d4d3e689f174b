package cluster

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"weir.dev/weir/model"
)

// BenchmarkExchange is the cost of all of it under contention: go test -cpu 1,2,4.
func BenchmarkExchange(b *testing.B) {
	for _, a := range []model.Algorithm{model.RoundRobin, model.LeastRequest, model.PeakEWMA} {
		b.Run(string(a), func(b *testing.B) {
			n := &network{}
			s := New(Config{Dial: n.dial, Shards: runtime.GOMAXPROCS(0)})
			apply(b, s, testCluster(func(c *model.Cluster) { c.Balancing.Algorithm = a }), endpoints(1, 1, 1, 1))
			c := s.Cluster("c")
			var next sync.Mutex
			shard := 0
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				next.Lock()
				mine := shard
				shard++
				next.Unlock()
				ctx := b.Context()
				for pb.Next() {
					exchange(ctx, c, mine)
				}
			})
		})
	}
}

// BenchmarkApply is a snapshot of many clusters with one endpoint each: all new, and with
// one of them changed.
func BenchmarkApply(b *testing.B) {
	const many = 10000
	var clusters []*model.Cluster
	var sets []*model.EndpointSet
	for i := range many {
		e := endpoints(1)
		e.Cluster = fmt.Sprintf("backend/default/b%05d", i)
		c := testCluster(func(c *model.Cluster) { c.Name = e.Cluster })
		clusters, sets = append(clusters, c), append(sets, e)
	}
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			if err := New(Config{Shards: 2}).Apply(clusters, sets); err != nil {
				b.Fatal(err)
			}
		}
	})
	s := New(Config{Shards: 2})
	if err := s.Apply(clusters, sets); err != nil {
		b.Fatal(err)
	}
	b.Run("one changed", func(b *testing.B) {
		changed := [2]*model.EndpointSet{endpoints(1), endpoints(2)}
		i := 0
		for b.Loop() {
			changed[i%2].Cluster = clusters[0].Name
			sets[0] = changed[i%2]
			i++
			if err := s.Apply(clusters, sets); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("sweep", func(b *testing.B) {
		for b.Loop() {
			s.tend()
		}
	})
}
