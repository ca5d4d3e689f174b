package explain

import (
	"fmt"
	"testing"

	"weir.dev/weir/model"
)

// manyRoutes is a snapshot of n routes, each with a host of its own or all with one.
func manyRoutes(n int, oneHost bool) *model.Snapshot {
	s := &model.Snapshot{
		Listeners:   []*model.Listener{{Name: "0.0.0.0:80", Address: anywhere, Tables: []model.TableBinding{{Table: "t"}}}},
		RouteTables: []*model.RouteTable{{Name: "t", Entries: make([]model.Entry, n)}},
	}
	for i := range n {
		host, path := fmt.Sprintf("h%d.example.com", i), "/"
		if oneHost {
			host, path = "h7.example.com", fmt.Sprintf("/p%d", i)
		}
		s.RouteTables[0].Entries[i] = model.Entry{Hostnames: []string{host}, Route: &model.Route{
			Name: fmt.Sprint("n/r/", i), Matches: []model.Match{{Path: model.PathMatch{Type: model.MatchPrefix, Value: path}}},
		}}
	}
	return s
}

// TestMany: of ten thousand routes the nearest are listed and the rest is counted.
func TestMany(t *testing.T) {
	for _, c := range []struct {
		oneHost       bool
		route         string
		listed, count int
	}{{true, "n/r/7", maxLost, 10_000 - 1 - maxLost}, {false, "n/r/7", 0, 0}} {
		x, err := New(manyRoutes(10_000, c.oneHost)).Explain(Request{URL: "http://h7.example.com/p7"})
		if err != nil {
			t.Fatal(err)
		}
		if x.Route != c.route || len(x.Lost) != c.listed || x.LostMore != c.count {
			t.Errorf("one host: %v: route %s, %d lost and %d more", c.oneHost, x.Route, len(x.Lost), x.LostMore)
		}
	}
}

func BenchmarkExplain(b *testing.B) {
	for name, oneHost := range map[string]bool{"OneHost": true, "ManyHosts": false} {
		s := manyRoutes(10_000, oneHost)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := New(s).Explain(Request{URL: "http://h7.example.com/p7"}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
