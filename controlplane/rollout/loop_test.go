package rollout

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/controlplane/state"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// rig is a loop with a proxy that does what it is told: each second it gives both arms requests in
// proportion to their buckets.
type rig struct {
	t      *testing.T
	keeper *state.Keeper
	loop   *Loop
	trips  chan struct{}
	log    *strings.Builder
	end    func()

	mu     sync.Mutex
	knobs  []model.ReleaseKnob
	secret []byte
	tunes  int
	since  time.Time
	trip   *model.ReleaseTrip
	frozen Freeze
	slo    Verdict
	broken error // what a write to a slow disk comes to
}

func newRig(t *testing.T, folder string) *rig {
	r := &rig{t: t, trips: make(chan struct{}, 1), log: new(strings.Builder), slo: Pass}
	log := slog.New(slog.NewTextHandler(r.log, nil))
	r.keeper = state.NewKeeper(folder, log)
	r.loop = NewLoop(Config{Keeper: r.keeper, Tune: r.tune, Observe: r.observe, Trips: r.trips, Objectives: r, Log: log})
	return r
}

// start runs the loop until the rig's end, which leaves the store to others.
func (r *rig) start() {
	r.loop.Begin()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { r.loop.Run(ctx); close(done) }()
	r.end = func() {
		cancel()
		<-done
		if err := r.keeper.Close(); err != nil {
			r.t.Error(err)
		}
	}
}

func (r *rig) tune(knobs []model.ReleaseKnob, secret []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(knobs) != len(r.knobs) || len(knobs) > 0 && knobs[0].Generation != r.knobs[0].Generation {
		r.since = time.Now()
	}
	r.knobs, r.secret = knobs, secret
	r.tunes++
	return nil
}

func (r *rig) observe() []model.ReleaseObservation {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []model.ReleaseObservation
	for _, k := range r.knobs {
		o := model.ReleaseObservation{Release: k.Release, Subject: k.Subject, Run: k.Run, Generation: k.Generation, Since: r.since, Trip: r.trip}
		seconds := uint64(time.Since(r.since) / time.Second)
		o.Canary.Requests = uint64(r.share(k)) * seconds / 10
		o.Stable.Requests = uint64(model.Buckets-r.share(k)) * seconds / 10
		list = append(list, o)
	}
	return list
}

func (r *rig) share(k model.ReleaseKnob) (n int) {
	for _, b := range k.Ranges {
		if b.Arm == "canary" {
			n += int(b.To) - int(b.From)
		}
	}
	return n
}

func (r *rig) Judge(name string) (Verdict, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.slo, name + " says so"
}

func (r *rig) say(v Verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slo = v
}

func (r *rig) Frozen(string) (owner, reason string, frozen bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.frozen.Owner, r.frozen.Reason, r.frozen != Freeze{}
}

// knob is what the proxy goes by for the first release.
func (r *rig) knob() model.ReleaseKnob {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.knobs) == 0 {
		return model.ReleaseKnob{}
	}
	return r.knobs[0]
}

func (r *rig) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (r *rig) phase(want Phase) {
	r.t.Helper()
	s := r.loop.Statuses()
	if len(s) != 1 || s[0].Phase != want {
		r.t.Errorf("%+v, want %s", s, want)
	}
}

func plans(change func(*translate.RolloutPlan)) []translate.RolloutPlan {
	p := defaultPlan()
	if change != nil {
		change(p)
	}
	return []translate.RolloutPlan{*p}
}

func withGate(p *translate.RolloutPlan) {
	p.Gates = []translate.PlannedGate{{Name: "slo", SLO: "shop/checkout"}}
}

// TestLoop goes from nothing to everything, with a gate.
func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "")
		r.start()
		defer r.end()
		r.loop.Plan(nil)
		if r.tunes != 1 {
			t.Errorf("proxies were told %d times, want once that there is nothing", r.tunes)
		}
		r.loop.Plan(plans(withGate))
		if r.share(r.knob()) != 100 {
			t.Fatalf("when Plan returns proxies have %v", r.knobs)
		}
		r.loop.Plan(plans(withGate))
		if r.tunes != 2 {
			t.Errorf("proxies were told %d times, want 2", r.tunes)
		}
		r.sleep(119 * time.Second)
		if r.share(r.knob()) != 100 {
			t.Error("the second stage began too early")
		}
		r.sleep(5 * time.Second)
		if r.share(r.knob()) != 1000 {
			t.Errorf("after two minutes: %+v", r.loop.Statuses())
		}
		r.say(Inconclusive)
		r.sleep(6 * time.Minute)
		r.phase(Holding)
		r.say(Pass)
		r.sleep(20 * time.Second)
		r.phase(Succeeded)
		if k := r.knob(); r.share(k) != model.Buckets || k.Running {
			t.Errorf("knob %+v", k)
		}
		var what []string
		for _, e := range r.loop.History("shop/checkout") {
			what = append(what, e.What)
		}
		if want := []string{"started", "stage 2", "held by gate/slo", "stage 3", "succeeded"}; !slices.Equal(what, want) {
			t.Errorf("history %q, want %q", what, want)
		}
	})
}

// TestTripWakes: a trip is written down and answered at once, not at the next look.
func TestTripWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "")
		r.start()
		defer r.end()
		r.loop.Plan(plans(nil))
		r.sleep(1500 * time.Millisecond)
		before := time.Now()
		r.mu.Lock()
		r.trip = &model.ReleaseTrip{At: before, Reason: "17 of 20 failed"}
		r.mu.Unlock()
		r.trips <- struct{}{}
		synctest.Wait()
		if k := r.knob(); r.share(k) != 0 || k.Generation != 2 || k.Running || !time.Now().Equal(before) {
			t.Errorf("knob %+v after %v", k, time.Since(before))
		}
		r.phase(Aborted)
		if s, _ := r.loop.Status("shop/checkout"); s.Trip == nil || s.Blocking.Message != "17 of 20 failed" {
			t.Errorf("status %+v", s)
		}
	})
}

// TestRestart: a new process goes on where the last one was, and one beside it never acts.
func TestRestart(t *testing.T) {
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		first := newRig(t, folder)
		first.start()
		first.loop.Plan(plans(nil))
		first.sleep(3 * time.Minute)
		if first.share(first.knob()) != 1000 {
			t.Fatalf("%+v", first.loop.Statuses())
		}

		second := newRig(t, folder)
		second.start()
		second.loop.Plan(plans(nil))
		second.sleep(10 * time.Minute) // the first one goes on to the end
		if len(second.knobs) > 0 || second.tunes != 1 {
			t.Errorf("the second one has told its proxy %d times: %v", second.tunes, second.knobs)
		}
		second.phase(Waiting)
		if s := second.loop.Statuses(); !strings.Contains(s[0].Problem, "another process") {
			t.Errorf("it says %q", s[0].Problem)
		}
		var refusal *Refusal
		if err := second.loop.Command("shop/checkout", Command{Do: Abort, By: "ann"}); !errors.As(err, &refusal) {
			t.Errorf("a command to it: %v", err)
		}
		first.phase(Succeeded)
		first.loop.Plan(plans(func(p *translate.RolloutPlan) { p.Release.Subject = "v2" }))
		first.sleep(150 * time.Second)
		knob := first.knob()
		first.end()

		second.loop.Plan(plans(func(p *translate.RolloutPlan) { p.Release.Subject = "v2" }))
		second.sleep(time.Second)
		if k := second.knob(); k.Run != 2 || k.Generation != knob.Generation || !slices.Equal(k.Ranges, knob.Ranges) {
			t.Errorf("the second one begins with %+v, the first one ended with %+v", k, knob)
		}
		second.sleep(10 * time.Minute)
		second.phase(Succeeded)
		if h := second.loop.History("shop/checkout"); h[0].What != "started" || len(h) < 6 {
			t.Errorf("history %+v", h)
		}
		second.end()
	})
}

// TestControlSideReturns: what stops and begins again in the same process reads what others have
// written meanwhile.
func TestControlSideReturns(t *testing.T) {
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, folder)
		r.start()
		r.loop.Plan(plans(nil))
		r.sleep(time.Second)
		r.end()
		r.loop.Plan(plans(nil)) // late: nobody takes the store back
		other := newRig(t, folder)
		other.start()
		other.loop.Plan(plans(nil))
		if err := other.loop.Command("shop/checkout", Command{Do: Abort, By: "ann"}); err != nil {
			t.Fatal(err)
		}
		other.end()
		r.start()
		r.phase(Aborted)
		if k := r.knob(); r.share(k) != 0 || k.Generation != 2 {
			t.Errorf("knob %+v", k)
		}
		r.end()
	})
}

// TestUnwritable: a decision that cannot be written down is not made, unless it takes from the canary.
func TestUnwritable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir())
		r.start()
		defer r.end()
		r.loop.Plan(plans(nil))
		r.sleep(time.Minute)
		r.loop.mu.Lock()
		whole := r.loop.store
		r.loop.store = brokenStore(t)
		r.loop.mu.Unlock()
		r.sleep(10 * time.Minute)
		if k := r.knob(); r.share(k) != 100 || k.Generation != 1 {
			t.Errorf("knob %+v", k)
		}
		if s := r.loop.Statuses(); s[0].Problem == "" || strings.Count(r.log.String(), "cannot be written down") != 1 {
			t.Errorf("problem %q, log:\n%s", s[0].Problem, r.log)
		}
		if err := r.loop.Command("shop/checkout", Command{Do: Promote, By: "ann"}); err == nil {
			t.Error("a promotion was said to be made")
		}
		if err := r.loop.Command("shop/checkout", Command{Do: Abort, By: "ann"}); err != nil {
			t.Errorf("abort: %v", err)
		}
		if k := r.knob(); r.share(k) != 0 {
			t.Errorf("after the abort: %+v", k)
		}
		if err := r.loop.Command("shop/checkout", Command{Do: Start, By: "ann"}); err == nil {
			t.Error("a start was said to be made")
		}
		r.loop.mu.Lock()
		r.loop.store = whole
		r.loop.mu.Unlock()
		r.sleep(2 * time.Second)
		var kept State
		if _, err := whole.Read(stateBucket, "shop/checkout", &kept); err != nil || kept.Phase != Aborted {
			t.Errorf("with room again, %s is kept: %v", kept.Phase, err)
		}
		if h := r.loop.History("shop/checkout"); len(h) != 2 || h[1].What != "aborted" {
			t.Errorf("history %+v", h)
		}
		if s := r.loop.Statuses(); s[0].Problem != "" {
			t.Errorf("problem %q", s[0].Problem)
		}
	})
}

// TestNoState: a state folder that cannot be had at the start leaves everything with stable, which is said, and why,
// and what is done about it; once it can be had the release begins.
func TestNoState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(folder, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		r := newRig(t, folder)
		r.start()
		r.loop.Plan(plans(nil))
		r.sleep(time.Minute)
		s, _ := r.loop.Status("shop/checkout")
		if want := "everything stays on stable; trying again every 5s: state folder " + folder; !strings.Contains(s.Problem, want) || s.Stable != "stable" || s.Canary != "canary" {
			t.Errorf("%+v, want %s", s, want)
		}
		var refused *Refusal
		if err := r.loop.Command("shop/checkout", Command{Do: Start, By: "ann"}); !errors.As(err, &refused) || refused.Why != s.Problem {
			t.Errorf("start: %v", err)
		}
		if k := r.knob(); k.Generation != 0 {
			t.Errorf("without the state proxies have %+v", k)
		}
		if err := os.Remove(folder); err != nil {
			t.Fatal(err)
		}
		r.sleep(retryEvery)
		if s, _ := r.loop.Status("shop/checkout"); s.Phase != Progressing || s.Problem != "" {
			t.Errorf("once it can be had: %+v", s)
		}
		r.end()
		if n := strings.Count(r.log.String(), "everything stays on stable"); n != 1 {
			t.Errorf("log:\n%s", r.log)
		}
	})
}

// TestStateIsHeld: while another process holds the state folder, the status says that it is waited for, and the release
// begins once it is let go.
func TestStateIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		holder := newRig(t, folder)
		if _, err := holder.keeper.Try(); err != nil {
			t.Fatal(err)
		}
		r := newRig(t, folder)
		r.start()
		r.loop.Plan(plans(nil))
		r.sleep(time.Minute)
		s, _ := r.loop.Status("shop/checkout")
		if want := "another process holds the state folder"; !strings.Contains(s.Problem, want) || !strings.HasSuffix(s.Problem, "taken as soon as that process lets go of it") || strings.Contains(s.Problem, "trying") {
			t.Errorf("problem %q", s.Problem)
		}
		if err := holder.keeper.Close(); err != nil {
			t.Fatal(err)
		}
		r.sleep(time.Second)
		if s, _ := r.loop.Status("shop/checkout"); s.Phase != Progressing || s.Problem != "" {
			t.Errorf("once it is let go: %+v", s)
		}
		r.end()
	})
}

// TestLost: when nobody knows how far a Rollout was, everything is stable's until somebody says so.
func TestLost(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "state.db"), []byte("not what it was"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		for range 2 {
			r := newRig(t, folder)
			r.start()
			r.loop.Plan(plans(nil))
			r.sleep(time.Hour)
			r.phase(Aborted)
			if r.share(r.knob()) != 0 {
				t.Errorf("knob %+v", r.knob())
			}
			r.end()
		}
		r := newRig(t, folder)
		r.start()
		defer r.end()
		other := plans(func(p *translate.RolloutPlan) { p.Name = "shop/new"; p.Release.Name = "shop/new" })
		r.loop.Plan(append(plans(nil), other...)) // one that is really new begins by itself
		if s := r.loop.Statuses(); s[0].Phase != Aborted || s[1].Phase != Progressing {
			t.Errorf("%+v", s)
		}
		if err := r.loop.Command("shop/checkout", Command{Do: Start, By: "ann"}); err != nil || r.share(r.knob()) != 100 {
			t.Errorf("start: %v, %+v", err, r.knob())
		}
		if err := r.loop.Command("shop/none", Command{Do: Start}); !errors.Is(err, ErrUnknown) {
			t.Errorf("a command to nobody: %v", err)
		}
	})
}

// TestFreeze: a freeze holds from the first moment on, and ends.
func TestFreeze(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "")
		r.frozen = Freeze{"shop/availability", "the budget is gone"}
		r.start()
		defer r.end()
		r.loop.Plan(plans(nil))
		r.sleep(time.Minute)
		r.phase(Waiting)
		if len(r.knobs) > 0 {
			t.Errorf("knobs %v", r.knobs)
		}
		r.mu.Lock()
		r.frozen = Freeze{}
		r.mu.Unlock()
		r.sleep(2 * time.Second)
		r.phase(Progressing)
	})
}

// TestSecret: ids of users are signed by the same secret for ever, and there is none without need.
func TestSecret(t *testing.T) {
	folder := t.TempDir()
	cookie := func(p *translate.RolloutPlan) { p.Release.Sampling.Fallback = model.FallbackCookie }
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, folder)
		r.start()
		r.loop.Plan(plans(nil))
		if r.secret != nil {
			t.Error("a secret that nobody needs")
		}
		r.loop.Plan(plans(cookie))
		was := r.secret
		r.end()
		r = newRig(t, folder)
		r.start()
		defer r.end()
		r.loop.Plan(plans(cookie))
		if len(was) != secretLength || !slices.Equal(was, r.secret) {
			t.Errorf("secrets %x and %x", was, r.secret)
		}
	})
}
