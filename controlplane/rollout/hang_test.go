package rollout

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/controlplane/state"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// stuck is a write that does not end until it is let go.
type stuck chan struct{}

func (s stuck) MarshalJSON() ([]byte, error) {
	<-s
	return json.Marshal("at last")
}

// TestDiskThatHangs: an abort and a trip act on the proxies before they look at the disk, whatever that does, and
// answer soon; nothing gets more meanwhile; and all of it is on disk once that goes on.
func TestDiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		r := newRig(t, folder)
		r.loop.Begin() // what Run does is done here, since a lock that waits stops the bubble's clock
		list := func(subject model.Hash) []translate.RolloutPlan {
			list := append(plans(nil), plans(func(p *translate.RolloutPlan) { p.Name = "shop/other" })...)
			for i := range list {
				own := *list[i].Release
				own.Name, own.Subject = list[i].Name, subject
				list[i].Release = &own
			}
			return list
		}
		r.loop.Plan(list("v1"))
		r.sleep(5 * time.Second)
		r.loop.look()

		disk := make(stuck)
		hung := make(chan struct{})
		go func() {
			var b state.Batch
			b.Put("others", "a", disk)
			_ = r.loop.store.Commit(&b) // late, as it is
			close(hung)
		}()
		synctest.Wait()
		knobOf := func(name string) model.ReleaseKnob {
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, k := range r.knobs {
				if k.Release == name {
					return k
				}
			}
			t.Fatalf("%s has no knob", name)
			return model.ReleaseKnob{}
		}
		bounded := func(c Command) error {
			t.Helper()
			began := time.Now()
			err := r.loop.Command("shop/checkout", c)
			if took := time.Since(began); took > 3*state.Patience {
				t.Errorf("%s took %v", c.Do, took)
			}
			return err
		}
		if err := bounded(Command{Do: Promote, By: "ann"}); !errors.Is(err, state.ErrHangs) || r.share(knobOf("shop/checkout")) != 100 {
			t.Errorf("a promotion that is not on disk: %v, %+v", err, r.knobs)
		}
		if err := bounded(Command{Do: Pause, By: "ann"}); !errors.Is(err, state.ErrHangs) {
			t.Errorf("pause: %v", err)
		}
		if err := bounded(Command{Do: Abort, By: "ann", Reason: "orders are down"}); err != nil || r.share(knobOf("shop/checkout")) != 0 {
			t.Errorf("abort: %v, %+v", err, r.knobs)
		}
		if s, _ := r.loop.Status("shop/checkout"); s.Phase != Aborted || !s.Unsaved || !r.loop.Unsaved() || !strings.Contains(s.Problem, "has not answered") {
			t.Errorf("%+v", s)
		}
		r.mu.Lock()
		r.trip = &model.ReleaseTrip{At: time.Now(), Reason: "17 of 20 failed"}
		r.mu.Unlock()
		r.loop.look()
		if s, _ := r.loop.Status("shop/other"); s.Phase != Aborted || r.share(knobOf("shop/other")) != 0 {
			t.Errorf("after a trip: %+v", s)
		}
		for range 10 {
			r.sleep(time.Minute)
			r.loop.look()
		}
		r.loop.Plan(list("v2")) // would begin anew
		if len(r.knobs) != 0 && r.share(r.knob()) != 0 {
			t.Errorf("more is given than is written down: %+v", r.knobs)
		}

		r.mu.Lock()
		r.trip = nil
		r.mu.Unlock()
		r.loop.Plan(list("v1"))
		close(disk)
		<-hung
		synctest.Wait()
		r.loop.look()
		for _, s := range r.loop.Statuses() {
			if s.Unsaved || s.Problem != "" {
				t.Errorf("when the disk goes on: %+v", s)
			}
		}
		if r.loop.Unsaved() {
			t.Error("something is not on disk still")
		}
		if err := r.keeper.Close(); err != nil {
			t.Error(err)
		}
		second := newRig(t, folder)
		second.loop.Begin()
		second.loop.Plan(list("v1"))
		var what []string
		for _, e := range second.loop.History("shop/checkout") {
			what = append(what, e.What)
		}
		if text := strings.Join(what, ", "); !strings.Contains(text, "aborted") {
			t.Errorf("the history is %s", text)
		}
		if err := second.keeper.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestAbortActsFirst: before the disk has had any time at all.
func TestAbortActsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "")
		r.loop.Begin()
		r.loop.Plan(plans(nil))
		disk := make(stuck)
		go func() {
			var b state.Batch
			b.Put("others", "a", disk)
			_ = r.loop.store.Commit(&b)
		}()
		synctest.Wait()
		began := time.Now()
		done := make(chan time.Time)
		go func() {
			if err := r.loop.Command("shop/checkout", Command{Do: Abort, By: "ann"}); err != nil {
				t.Error(err)
			}
			done <- time.Now()
		}()
		synctest.Wait()
		if now := time.Now(); r.share(r.knob()) != 0 && now.Equal(began) {
			t.Errorf("proxies go on with %+v", r.knob())
		}
		if took := (<-done).Sub(began); took == 0 || took > 2*state.Patience {
			t.Errorf("it took %v", took)
		}
		close(disk)
	})
}
