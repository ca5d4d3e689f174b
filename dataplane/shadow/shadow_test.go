package shadow

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newSet has one cluster, shadow, whose host refuses connections after a second.
func newSet(t *testing.T) *Set {
	metrics := telemetry.NewMetrics(2)
	clusters := cluster.New(cluster.Config{
		Dial: func(context.Context, netip.AddrPort) (net.Conn, error) {
			time.Sleep(time.Second)
			return nil, errors.New("refused")
		},
		Shards: 2, Random: rand.Uint64, Metrics: metrics, Log: slog.New(slog.DiscardHandler),
	})
	err := clusters.Apply(
		[]*model.Cluster{{Name: "shadow", ConnectTimeout: time.Minute, Balancing: model.Balancing{Algorithm: model.LeastRequest}}},
		[]*model.EndpointSet{{Cluster: "shadow", Endpoints: []model.Endpoint{{Address: netip.MustParseAddrPort("10.0.0.1:80"), Weight: 1}}}},
	)
	if err != nil {
		t.Fatal(err)
	}
	return NewSet(Config{
		Context: t.Context(), Clusters: clusters, Metrics: &metrics.Mirrors, Report: func(fault any) { t.Error(fault) },
		Shards: 2, Mirrors: model.ShadowLimits{InFlight: 1, Body: 10},
	})
}

// shadowed is a route with one Shadow.
func shadowed(change func(s *model.Shadow)) *model.Route {
	s := model.Shadow{
		Name: "ns/next", Cluster: "shadow", Share: 1, Limits: model.ShadowLimits{InFlight: 20, Body: 10},
		Compare: &model.Compare{Status: true},
	}
	change(&s)
	return &model.Route{Name: "ns/r/0", Shadows: []model.Shadow{s}, Split: model.Split{Arms: []model.Arm{{Name: "up", Cluster: "up", Weight: 1}}}}
}

// TestCrewGoesHome: the goroutines of copies are there for those that come next, end when there is nothing to do, and
// with the proxy.
func TestCrewGoesHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t)
		place := &s.Of(shadowed(func(*model.Shadow) {}))[0]
		send := func(n int) {
			for range n {
				c := place.Copy(&Original{Method: []byte("GET")})
				if c == nil {
					t.Fatalf("%+v", s.Reports())
				}
				c.Send()
			}
		}
		workers := func() (n int64) {
			synctest.Wait()
			for i := range s.crews {
				n += s.crews[i].all.Load()
			}
			return n
		}
		send(20)
		if n := workers(); n != 20 {
			t.Errorf("%d workers for 20 copies", n)
		}
		time.Sleep(2 * time.Second)
		send(20)
		if n := workers(); n != 20 {
			t.Errorf("%d workers after 20 more", n)
		}
		time.Sleep(crewIdle + 2*time.Second)
		if n := workers(); n != 0 {
			t.Errorf("%d workers when there is nothing to do", n)
		}
		if got := s.Reports()[0].Copies; got.InFlight != 0 || got.Failed != 40 {
			t.Errorf("%+v", got)
		}
		send(1) // one is at work, and ends with the proxy
		s.Wait()
		if n := workers(); n != 0 {
			t.Errorf("%d workers after the end", n)
		}
	})
}

// TestDropped: what is not copied is counted by reason, and takes nobody's place.
func TestDropped(t *testing.T) {
	get := []byte("GET")
	for reason, test := range map[dropReason]struct {
		change func(s *model.Shadow)
		of     Original
	}{
		dropUnresolved: {func(s *model.Shadow) { s.Refusal = &model.Refusal{} }, Original{Method: get}},
		dropUpgrade:    {func(*model.Shadow) {}, Original{Method: get, Upgrading: true}},
		dropBody:       {func(*model.Shadow) {}, Original{Method: get, Body: 11}},
		dropCopy:       {func(*model.Shadow) {}, Original{Method: get, Copied: true}},
		dropInFlight:   {func(s *model.Shadow) { s.Limits.InFlight = 0 }, Original{Method: get}},
		"":             {func(*model.Shadow) {}, Original{Method: get, Body: 10}},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSet(t)
			place := &s.Of(shadowed(test.change))[0]
			c := place.Copy(&test.of)
			got := s.Reports()[0].Copies
			switch {
			case reason == "":
				if c == nil || got.InFlight != 1 || len(got.Dropped) != 0 {
					t.Errorf("%+v", got)
				}
			case c != nil || got.InFlight != 0 || len(got.Dropped) != 1 || got.Dropped[0].Reason != string(reason) || got.Dropped[0].Count != 1:
				t.Errorf("%s: %+v", reason, got)
			}
			if !s.Reset("ns/next") || s.Reset("ns/other") || len(s.Reports()[0].Copies.Dropped) != 0 {
				t.Errorf("%s: %+v after a reset", reason, s.Reports())
			}
			if s.Retain(&model.Snapshot{}); len(s.Reports()) != 0 {
				t.Errorf("%+v is remembered", s.Reports())
			}
		})
	}
}

// TestBodiesThatNeverCome: who waits for the rest of a body is sent when it is whole, and dropped when it is too long or never
// comes.
func TestBodiesThatNeverCome(t *testing.T) {
	for name, test := range map[string]struct {
		parts  []string
		whole  bool
		reason string // empty: it is sent
	}{
		"whole":      {[]string{"abc", "de"}, true, ""},
		"too long":   {[]string{"abcdef", "ghijk"}, false, "body"},
		"unfinished": {[]string{"abc"}, false, "unfinished"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSet(t)
			place := &s.Of(shadowed(func(*model.Shadow) {}))[0]
			h := new(Tap)
			c := place.Copy(&Original{Method: []byte("PUT")})
			h.Compare(place, c, time.Now(), []byte("/x"))
			h.Await(c, 0)
			for i, p := range test.parts {
				h.Pass([]byte(p), test.whole && i == len(test.parts)-1)
			}
			h.Close()
			time.Sleep(2 * time.Second)
			got := s.Reports()[0]
			dropped := ""
			if len(got.Copies.Dropped) > 0 {
				dropped = got.Copies.Dropped[0].Reason
			}
			if dropped != test.reason || (got.Copies.Failed == 1) != (test.reason == "") || got.Copies.InFlight != 0 || got.Comparison.Uncompared != 1 {
				t.Errorf("%s: %+v, %+v", name, got.Copies, got.Comparison)
			}
			s.Wait()
		})
	}
}
