package cluster

import (
	"crypto/tls"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// BenchmarkExchange is the cost of all of it under contention: go test -cpu 1,2,4.
func BenchmarkExchange(b *testing.B) {
	for _, a := range algorithms {
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

// BenchmarkPick is the choice alone over 100 hosts: one group, and levels with zones.
func BenchmarkPick(b *testing.B) {
	sets := map[string]*model.EndpointSet{
		"one group": endpoints(equal(100)...),
		"groups": changed(equal(100), func(i int, e *model.Endpoint) {
			e.Zone, e.Priority, e.Unready = "abc"[i%3:i%3+1], uint32(i/50), i%2 == 0
		}),
	}
	for _, a := range algorithms {
		for name, set := range sets {
			b.Run(string(a)+"/"+name, func(b *testing.B) {
				s := New(Config{Zone: "a"})
				apply(b, s, balanced(model.Balancing{Algorithm: a, ZoneAware: true, BoundedLoad: 1.25}), set)
				c := s.Cluster("c")
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for key := uint64(0); pb.Next(); key++ {
						if _, err := c.Pick(Request{Hash: key, Hashed: true}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

// BenchmarkEnd is the end of a try, with outliers detected by every rule and without.
func BenchmarkEnd(b *testing.B) {
	for name, spec := range map[string]*model.Cluster{"plain": testCluster(), "judged": judged()} {
		b.Run(name, func(b *testing.B) {
			s := New(Config{Shards: 2})
			apply(b, s, spec, endpoints(1, 1))
			h := pick(b, s.Cluster("c"))
			o := Outcome{Latency: 3 * time.Millisecond}
			now := transport.Now()
			for b.Loop() {
				h.Begin()
				h.End(now, o)
			}
		})
	}
}

// BenchmarkEjection is a host of a thousand that changes its health: a new picker.
func BenchmarkEjection(b *testing.B) {
	set := &model.EndpointSet{Cluster: "c"}
	for i := range 1000 {
		set.Endpoints = append(set.Endpoints, model.Endpoint{Address: address(fmt.Sprintf("10.0.%d.%d:80", i/250, i%250)), Weight: 1})
	}
	for _, a := range algorithms {
		b.Run(string(a), func(b *testing.B) {
			s := New(Config{})
			apply(b, s, balanced(model.Balancing{Algorithm: a}), set)
			healthy := false
			for b.Loop() {
				setHealthy(s, set.Endpoints[500].Address, healthy)
				healthy = !healthy
			}
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

// BenchmarkFresh is a new connection with its handshake, the host's half included.
func BenchmarkFresh(b *testing.B) {
	ca := newAuthority(b, "our CA")
	up := serve(b, &tls.Config{Certificates: []tls.Certificate{keyPair(b, ca.issue(b))}})
	for _, resumed := range []bool{false, true} {
		name := "full"
		if resumed {
			name = "resumed"
		}
		b.Run(name, func(b *testing.B) {
			s := New(Config{Dial: dialTCP})
			apply(b, s, secured(&model.UpstreamTLS{Hostname: "a.test", CAs: ca.pem}), at(up.address))
			h := pick(b, s.Cluster("c"))
			b.ReportAllocs()
			for b.Loop() {
				if !resumed {
					h.tls.Store(nil)
				}
				if _, err := ask(b, h); err != nil {
					b.Fatal(err)
				}
				h.drop(h.common.shards[0].outdated(0))
			}
		})
	}
}
