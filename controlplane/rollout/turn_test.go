package rollout

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/controlplane/state"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// many are plans that differ in their names.
func many(n int) []translate.RolloutPlan {
	var list []translate.RolloutPlan
	for i := range n {
		list = append(list, plans(func(p *translate.RolloutPlan) {
			p.Name = fmt.Sprintf("shop/r%04d", i)
			p.Release.Name = p.Name
		})...)
	}
	return list
}

// TestMany: however many Rollouts move at once, proxies are told once.
func TestMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir())
		r.start()
		defer r.end()
		r.loop.Plan(many(300))
		r.mu.Lock()
		if r.tunes != 1 || len(r.knobs) != 300 {
			t.Errorf("proxies were told %d times, and have %d knobs", r.tunes, len(r.knobs))
		}
		r.mu.Unlock()
		r.sleep(125 * time.Second)
		k := r.knob()
		r.mu.Lock()
		if r.tunes != 2 || r.share(k) != 1000 {
			t.Errorf("after two minutes proxies have been told %d times; %+v", r.tunes, k)
		}
		r.mu.Unlock()
		r.loop.mu.Lock()
		defer r.loop.mu.Unlock()
		var kept State
		if _, err := r.loop.store.Read(stateBucket, "shop/r0299", &kept); err != nil || kept.Generation != 2 {
			t.Errorf("%+v is kept: %v", kept, err)
		}
	})
}

// brokenStore takes nothing.
func brokenStore(t *testing.T) *state.Store {
	s, err := state.Open("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	return s
}

// TestTogether: of two decisions that cannot be written down at the same time, the one that takes from a
// canary is done, and the other is as if it had not been made.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "")
		r.loop.Begin()
		r.loop.Plan(many(2))
		was := r.tunes
		r.loop.store = brokenStore(t)
		r.loop.step("shop/r0000", Event{Command: &Command{Do: Abort, By: "ann"}})
		r.loop.step("shop/r0001", Event{Command: &Command{Do: Promote, By: "ann"}})
		if err := r.loop.settle(); err == nil {
			t.Error("all is said to be written down")
		}
		if r.share(r.knobs[0]) != 0 || r.share(r.knobs[1]) != 100 || r.knobs[1].Generation != 1 || r.tunes != was+1 {
			t.Errorf("proxies have %+v", r.knobs)
		}
		if strings.Count(r.log.String(), "what=aborted") != 1 || strings.Contains(r.log.String(), "stage 2") {
			t.Errorf("log:\n%s", r.log)
		}
	})
}

// TestTripBesideSuccess: a proxy that trips while success is being written down is believed.
func TestTripBesideSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "")
		r.start()
		defer r.end()
		r.loop.Plan(plans(func(p *translate.RolloutPlan) { p.Stages = []translate.PlannedStage{{Share: model.Buckets}} }))
		r.phase(Succeeded)
		r.mu.Lock()
		r.trip = &model.ReleaseTrip{At: time.Now(), Reason: "17 of 20 failed"}
		r.mu.Unlock()
		r.sleep(2 * time.Second)
		r.phase(Aborted)
	})
}

// TestNoRoomForHistory: decisions are made and kept without it.
func TestNoRoomForHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "")
		r.loop.Begin()
		r.loop.Plan(plans(nil))
		put := func(name string, value any) error {
			var b state.Batch
			b.Put("others", name, value)
			return r.loop.store.Commit(&b)
		}
		if err := put("spare", strings.Repeat("x", 800)); err != nil {
			t.Fatal(err)
		}
		long := strings.Repeat("x", 1<<20-2)
		for i, length := 0, len(long); length > 0; i++ { // until not even one letter fits in
			if put(fmt.Sprint(i), long[:length]) != nil {
				length /= 2
			}
		}
		if err := put("spare", ""); err != nil {
			t.Fatal(err)
		}
		pause := Command{Do: Pause, By: "ann", Reason: strings.Repeat("y", 500)}
		if err := r.loop.Command("shop/checkout", pause); err != nil {
			t.Fatal(err)
		}
		var kept State
		if _, err := r.loop.store.Read(stateBucket, "shop/checkout", &kept); err != nil || kept.Phase != Paused {
			t.Errorf("%s is kept: %v", kept.Phase, err)
		}
		if h := r.loop.History("shop/checkout"); len(h) != 1 {
			t.Errorf("history %+v", h)
		}
		if !strings.Contains(r.log.String(), "the state is full") {
			t.Errorf("log:\n%s", r.log)
		}
	})
}
