package proxy

import (
	"bufio"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// TestOneOfTen has the first of ten hosts die, or hang, with no retries at all: as soon as it is
// ejected nobody notices it any more.
func TestOneOfTen(t *testing.T) {
	for _, test := range []struct {
		name   string
		serves func(net.Conn, *bufio.Reader)
		failed int64 // at most, until it is ejected
	}{
		{"dead", func(c net.Conn, _ *bufio.Reader) { c.Close() }, 8},
		{"hangs", silent, 30},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				snap := recommended(t)
				route := snap.RouteTables[0].Entries[0].Route
				route.Retry, route.Overload = nil, nil
				route.Hash = model.HashOf(route)
				s := newStage(t, n, snap)
				s.first.Store(&test.serves)
				s.run(500, shopper, 25*time.Second)
				t.Log("bad   ", s.curve(25, unserved))
				if n := s.metrics.Protection("up", telemetry.ProtectOutlier+"consecutiveLocal").Acted(); n != 1 {
					t.Errorf("%d ejections", n)
				}
				if early := int64(s.sum(0, 5, unserved)); early == 0 || early > test.failed {
					t.Errorf("%d requests failed, want %d at most", early, test.failed)
				}
				if late := s.sum(5, 25, unserved); late > 0 {
					t.Errorf("%.0f requests failed after it was ejected", late)
				}
			})
		})
	}
}

// TestClassesInOverload: of four classes that ask for the same, the more important one is served
// better, and the highest as if nothing were.
func TestClassesInOverload(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		s := newStage(t, n, believing(recommended(t)))
		s.all(4, 1)
		var good, bad [model.Classes]atomic.Int64
		done := make(chan struct{})
		for class := model.ClassSheddable; class < model.Classes; class++ {
			c := shopper
			c.fields, c.good, c.bad, c.again = "X-Weir-Priority: "+class.String()+"\r\n", &good[class], &bad[class], 0
			go func() { s.run(shoppers/4, c, 20*time.Second); done <- struct{}{} }()
		}
		time.Sleep(8 * time.Second) // until the limit has been found
		for class := range good {
			good[class].Store(0)
			bad[class].Store(0)
		}
		last := 0.0
		for range model.Classes - 1 {
			<-done
		}
		for class := model.ClassSheddable; class < model.Classes; class++ {
			share := float64(good[class].Load()) / float64(good[class].Load()+bad[class].Load())
			t.Logf("%v: %.1f %% served", class, 100*share)
			if share < last {
				t.Errorf("%v is served worse than what is less important", class)
			}
			last = share
		}
		if last < 0.98 {
			t.Errorf("%.1f %% of the most important requests were served", 100*last)
		}
		s.nobodyEjected()
	})
}

// TestTenantsInOverload: one tenant asks for nine times as much as the other. What there is is shared by
// turns, so the modest one has nearly all it asks for.
func TestTenantsInOverload(t *testing.T) {
	inFull(t) // TestClassesInOverload is its like
	inBubble(t, func(t *testing.T, n *network) {
		snap := recommended(t)
		route := snap.RouteTables[0].Entries[0].Route
		route.Overload.Queue.FairBy = []model.Key{{Source: model.KeyHeader, Name: "x-tenant"}}
		route.Hash = model.HashOf(route)
		s := newStage(t, n, snap)
		s.all(4, 1)
		var good, bad [2]atomic.Int64
		done := make(chan struct{})
		for i, tenant := range []string{"loud", "modest"} {
			c := shopper
			c.fields, c.good, c.bad, c.again = "X-Tenant: "+tenant+"\r\n", &good[i], &bad[i], 0
			go func() { s.run(shoppers*(9-8*i)/10, c, 20*time.Second); done <- struct{}{} }()
		}
		time.Sleep(8 * time.Second)
		for i := range good {
			good[i].Store(0)
			bad[i].Store(0)
		}
		<-done
		<-done
		share := func(i int) float64 { return float64(good[i].Load()) / float64(good[i].Load()+bad[i].Load()) }
		t.Logf("loud %.1f %% served, modest %.1f %%", 100*share(0), 100*share(1))
		if share(1) < 0.85 || share(0) > 0.7 {
			t.Errorf("the loud tenant has %.1f %% of what it asks for, the modest one %.1f %%", 100*share(0), 100*share(1))
		}
		s.nobodyEjected()
	})
}

// chain starts proxies, each before the other, the last before a host.
func (n *network) chain(t *testing.T, length int, host string, edit func(*model.Snapshot, *model.Route)) *rig {
	next := host
	var r *rig
	for i := range length {
		route := to("next")
		route.Timeouts.Request = time.Second
		route.Retry = &model.Retry{Attempts: 2, Codes: []int{503}, Backoff: time.Millisecond}
		snap := snapshotOf(map[string]string{"next": next}, route)
		edit(snap, snap.RouteTables[0].Entries[0].Route)
		snap.Listeners[0].Address = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(8081+i))
		r = n.rig(t, snap, Config{})
		next = r.addr
	}
	return r
}

// TestChain has three proxies in a row, each of which makes three tries, and a host at the end that
// refuses: where callers are trusted it sees the tries of one tier, where they are not those of
// all three, multiplied.
func TestChain(t *testing.T) {
	for name, test := range map[string]struct {
		edit func(*model.Snapshot, *model.Route)
		want int
	}{
		"trusted":     {func(s *model.Snapshot, _ *model.Route) { trusts(s) }, 3},
		"strangers":   {func(*model.Snapshot, *model.Route) {}, 27},
		"budget only": {func(_ *model.Snapshot, r *model.Route) { r.Retry.Budget = &model.RetryBudget{Share: 0.2} }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				m := n.marked(t, slices.Repeat([]string{"HTTP/1.1 503 Busy\nContent-Length: 4\n\nbusy"}, 27), 0, upA)
				n.chain(t, 3, upA, test.edit).patient().send(get("/")).want(503, "", "")
				synctest.Wait()
				if len(m.heads) != test.want {
					t.Errorf("the host had %d tries, want %d", len(m.heads), test.want)
				}
			})
		})
	}
}

// TestChainOfDeadlines: through two proxies what is left shrinks with each try of the first, and when
// nothing is left no host works on the request.
func TestChainOfDeadlines(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		m := n.marked(t, slices.Repeat([]string{"HTTP/1.1 503 Busy\nContent-Length: 4\n\nbusy"}, 9), 399*time.Millisecond, upA)
		first := n.chain(t, 2, upA, func(s *model.Snapshot, r *model.Route) {
			trusts(s)
			r.Retry.Backoff = 0
		})
		began := time.Now()
		first.patient().send(get("/")).want(504, "PT", "")
		if took := time.Since(began); took > 1010*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		first.patient().send("GET / HTTP/1.1\nHost: h\nX-Weir-Timeout-Ms: 0\n\n").want(504, "PT", "")
		synctest.Wait()
		if got := m.sent("X-Weir-Timeout-Ms"); got != "1000 601 202" {
			t.Errorf("the host was told %q", got)
		}
		if got := first.metrics.Protection("ns/to-next/0", telemetry.ProtectDeadline).Acted(); got != 1 {
			t.Errorf("%d were refused for their deadlines", got)
		}
		time.Sleep(time.Second) // until the host has done what it began
	})
}
