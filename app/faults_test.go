package app

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"weir.dev/weir/console"
	"weir.dev/weir/controlplane/slo"
	"weir.dev/weir/model"
)

// controlled is a faultControl of two policies, and what it has tuned and kept.
type controlled struct {
	faultControl
	tuned []string
	kept  map[string]faultStop
	fails error
}

func newControlled() *controlled {
	c := &controlled{}
	c.faultControl = faultControl{
		log: slog.New(slog.DiscardHandler),
		faults: func() []model.FaultState {
			fault := func(policy, name, route string) model.FaultState {
				m := &model.Fault{Policy: policy, Name: name, Key: policy + "/" + name + "@1", Delay: time.Second, Expires: time.Now().Add(time.Hour)}
				return model.FaultState{Fault: m, Routes: []string{route}, Stopped: slices.Contains(c.tuned, m.Key)}
			}
			return []model.FaultState{fault("shop/a", "x", "shop/cart/0"), fault("shop/a", "y", "shop/cart/0"), fault("shop/b", "x", "shop/pay/0")}
		},
		tune: func() error { c.tuned = c.stopped(); return c.fails },
		keep: func(stops map[string]faultStop) error { c.kept = stops; return c.fails },
	}
	return c
}

func TestStopFaults(t *testing.T) {
	c := newControlled()
	order := func(resume bool, policies ...string) int {
		t.Helper()
		n, err := c.stop(console.FaultOrder{Policies: policies, Resume: resume, Stop: console.Stop{By: "alice"}})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := order(false, "shop/a"); n != 2 || len(c.tuned) != 2 || len(c.kept) != 2 {
		t.Errorf("%d stopped; tuned %q, kept %v", n, c.tuned, c.kept)
	}
	if n := order(false); n != 3 || len(c.tuned) != 3 {
		t.Errorf("all: %d stopped; tuned %q", n, c.tuned)
	}
	if n := order(false, "shop/none"); n != 0 {
		t.Errorf("none: %d stopped", n)
	}
	if n := order(true, "shop/b"); n != 1 || len(c.tuned) != 2 {
		t.Errorf("%d resumed; tuned %q", n, c.tuned)
	}
	list := c.list(time.Now())
	if list[0].State != console.FaultStopped || list[0].Stop.By != "alice" || list[2].State != console.FaultActive || list[2].Does != "delay 1s" {
		t.Errorf("list %+v", list)
	}
	if again := newControlled(); true {
		if err := again.restore(c.kept); err != nil || len(again.tuned) != 2 {
			t.Errorf("error %v; tuned %q", err, again.tuned)
		}
		if got := again.stopped(); len(got) != 2 {
			t.Errorf("after a restart %q are stopped", got)
		}
	}
	c.fails = errors.New("disk full")
	if _, err := c.stop(console.FaultOrder{}); err == nil || len(c.tuned) != 3 || len(c.kept) != 3 {
		t.Errorf("error %v; tuned %q, kept %v", err, c.tuned, c.kept)
	}
}

// TestStopsInOrder: an order that comes while another is carried out is not undone by that.
func TestStopsInOrder(t *testing.T) {
	c := newControlled()
	begun, overtaken := make(chan struct{}), make(chan struct{})
	first := sync.OnceFunc(func() {
		close(begun)
		select {
		case <-overtaken: // it must not be
		case <-time.After(50 * time.Millisecond):
		}
	})
	c.tune = func() error {
		keys := c.stopped()
		if len(keys) == 2 {
			first()
		}
		c.tuned = keys
		return nil
	}
	var orders sync.WaitGroup
	stop := func(policy string) {
		if _, err := c.stop(console.FaultOrder{Policies: []string{policy}}); err != nil {
			t.Error(err)
		}
	}
	orders.Go(func() { stop("shop/a") })
	<-begun
	stop("shop/b")
	close(overtaken)
	orders.Wait()
	if len(c.tuned) != 3 || len(c.kept) != 3 {
		t.Errorf("tuned %q, kept %v", c.tuned, c.kept)
	}
}

// TestStopsAreForgotten: what expired a day ago is not remembered for ever.
func TestStopsAreForgotten(t *testing.T) {
	c := newControlled()
	old, recent := time.Now().Add(-25*time.Hour), time.Now().Add(-23*time.Hour)
	if err := c.restore(map[string]faultStop{"old": {Expires: old}, "recent": {Expires: recent}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.stop(console.FaultOrder{Policies: []string{"shop/b"}}); err != nil {
		t.Fatal(err)
	}
	if _, kept := c.kept["old"]; kept || len(c.kept) != 2 {
		t.Errorf("kept %v", c.kept)
	}
}

// TestFaultsHeedObjectives: an objective in trouble stops the faults on what it is about, and no
// others.
func TestFaultsHeedObjectives(t *testing.T) {
	snapshot := &model.Snapshot{RouteTables: []*model.RouteTable{{Entries: []model.Entry{
		{Route: &model.Route{Name: "shop/pay/0", Split: model.Split{Arms: []model.Arm{{Cluster: "backend/shop/pay"}}}}},
	}}}}
	for _, test := range []struct {
		name   string
		status slo.Status
		want   []string
	}{
		{"healthy", slo.Status{Name: "shop/cart", State: slo.Healthy, Routes: []string{"shop/cart/0"}}, nil},
		{"nobody can tell", slo.Status{Name: "shop/cart", State: slo.NoData, Routes: []string{"shop/cart/0"}}, nil},
		{"burns", slo.Status{Name: "shop/cart", State: slo.Burning, Routes: []string{"shop/cart/0"}}, []string{"shop/a/x@1", "shop/a/y@1"}},
		{"has burned", slo.Status{Name: "shop/cart", State: slo.Burning, Routes: []string{"shop/cart/0"}, Until: new(time.Now())}, nil},
		{"was exhausted", slo.Status{Name: "shop/cart", State: slo.Exhausted, Routes: []string{"shop/cart/0"}, Until: new(time.Now())}, nil},
		{"exhausted, of a backend", slo.Status{Name: "shop/pay", State: slo.Exhausted, Clusters: []string{"backend/shop/pay"}}, []string{"shop/b/x@1"}},
		{"of another backend", slo.Status{Name: "shop/pay", State: slo.Exhausted, Clusters: []string{"backend/shop/mail"}}, nil},
	} {
		c := newControlled()
		if err := c.heed([]slo.Status{test.status}, snapshot); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(c.tuned, test.want) {
			t.Errorf("%s: stopped %q, want %q", test.name, c.tuned, test.want)
		}
	}
}
