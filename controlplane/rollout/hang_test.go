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
		if err := bounded(Command{Do: Pause, By: "ann"}); err != nil || !r.loop.Unsaved() {
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

// slowed is a rig whose store is on a disk that takes so long for each write.
func slowed(t *testing.T, folder string, each time.Duration) *rig {
	r := newRig(t, folder)
	s, err := r.keeper.Try()
	if err != nil {
		t.Fatal(err)
	}
	s.Hinder(func() error {
		time.Sleep(each)
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.broken
	})
	r.loop.Begin()
	return r
}

// fail has writes to a slow disk come to an error from now on; nil: to none.
func (r *rig) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = err
}

// whats are what the history has.
func (r *rig) whats() string {
	var list []string
	for _, e := range r.loop.History("shop/checkout") {
		list = append(list, e.What)
	}
	return strings.Join(list, ", ")
}

// TestSlowDisk: on a disk that takes longer for each write than anybody waits for it, a release gets to its end:
// each decision is made once, and acted on once it is written.
func TestSlowDisk(t *testing.T) {
	for _, each := range []time.Duration{3 * time.Second, 20 * time.Second} {
		t.Run(each.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := slowed(t, t.TempDir(), each)
				began := time.Now()
				r.loop.Plan(plans(nil))
				if s, _ := r.loop.Status("shop/checkout"); s.Decided != "started, share 1%" || s.Unsaved || s.Phase != Waiting || r.share(r.knob()) != 0 {
					t.Errorf("before it is on disk: %+v", s)
				}
				for range 2000 {
					r.sleep(time.Second)
					r.loop.look()
					var kept State
					if _, err := r.loop.store.Read(stateBucket, "shop/checkout", &kept); err != nil || r.knob().Generation > kept.Generation {
						t.Fatalf("proxies have generation %d, the disk %d: %v", r.knob().Generation, kept.Generation, err)
					}
				}
				if s, _ := r.loop.Status("shop/checkout"); s.Phase != Succeeded || s.Decided != "" || s.Problem != "" || r.loop.Unsaved() {
					t.Errorf("after %v: %+v", time.Since(began), s)
				}
				if got := r.whats(); got != "started, stage 2, stage 3, succeeded" {
					t.Errorf("history: %s", got)
				}
				if n := strings.Count(r.log.String(), "cannot be written down"); n != 1 {
					t.Errorf("the log says %d times that nothing can be written:\n%s", n, r.log)
				}
				if err := r.keeper.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestCommandsOnSlowDisk: a promotion is decided once and takes effect when it is written; an abort that comes before
// that takes effect at once, and the promotion never does.
func TestCommandsOnSlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		r := slowed(t, folder, 10*time.Second)
		looks := func(n int) {
			for range n {
				r.sleep(time.Second)
				r.loop.look()
			}
		}
		give := func(do Verb) error { return r.loop.Command("shop/checkout", Command{Do: do, By: "ann"}) }
		r.loop.Plan(plans(nil))
		written := func() {
			for looks(1); r.loop.writing != nil; {
				looks(1)
			}
		}
		written()
		r.phase(Progressing)
		if err := give(Promote); err != nil {
			t.Errorf("promote: %v", err)
		}
		if s, _ := r.loop.Status("shop/checkout"); s.Decided != "stage 2, share 10%" || s.Unsaved || s.Stage != 1 || s.Problem == "" {
			t.Errorf("before it is on disk: %+v", s)
		}
		if err := give(Promote); !errors.Is(err, state.ErrHangs) || !strings.Contains(err.Error(), "earlier") {
			t.Errorf("promote beside a promotion: %v", err)
		}
		written()
		if s, _ := r.loop.Status("shop/checkout"); s.Stage != 2 || s.Decided != "" || r.share(r.knob()) != 1000 {
			t.Errorf("once it is on disk: %+v", s)
		}
		if err := give(Promote); err != nil {
			t.Errorf("promote: %v", err)
		}
		if err := give(Abort); err != nil || r.share(r.knob()) != 0 {
			t.Errorf("abort beside a promotion: %v, %+v", err, r.knob())
		}
		if s, _ := r.loop.Status("shop/checkout"); s.Phase != Aborted || !s.Unsaved || s.Decided != "" {
			t.Errorf("after the abort: %+v", s)
		}
		looks(9) // the promotion is through, and the abort is being written
		if s, _ := r.loop.Status("shop/checkout"); s.Phase != Aborted || !s.Unsaved || r.share(r.knob()) != 0 {
			t.Errorf("after what was before the abort is written: %+v", s)
		}
		written()
		if s, _ := r.loop.Status("shop/checkout"); s.Phase != Aborted || s.Unsaved || r.loop.Unsaved() {
			t.Errorf("once the abort is on disk: %+v", s)
		}
		if got := r.whats(); got != "started, stage 2, stage 3, succeeded, aborted, withdrawn" {
			t.Errorf("history: %s", got)
		}
		if err := r.keeper.Close(); err != nil {
			t.Error(err)
		}
		second := newRig(t, folder)
		second.loop.Begin()
		second.loop.Plan(plans(nil))
		second.phase(Aborted)
		if got := second.whats(); got != "started, stage 2, stage 3, succeeded, aborted, withdrawn" {
			t.Errorf("the next process's history: %s", got)
		}
		if err := second.keeper.Close(); err != nil {
			t.Error(err)
		}
	})
}
