package rollout

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"weir.dev/weir/controlplane/state"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// TestAnyDisk gives commands, versions, edits and freezes while the disk is now quick, now slow and now broken. The
// canary never gets more than is on disk, nor more while it is frozen or not written down; once the disk is quick all that was decided is on it; and no stage of a run was entered twice.
func TestAnyDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(struct{ rapid.TB }{t}, func(rt *rapid.T) { // a bubble has no deadline
			r := newRig(t, t.TempDir())
			s, err := r.keeper.Try()
			if err != nil {
				rt.Fatal(err)
			}
			var each atomic.Int64
			var broken atomic.Bool
			s.Hinder(func() error {
				time.Sleep(time.Duration(each.Load()))
				if broken.Load() {
					return errors.New("the disk is broken")
				}
				return nil
			})
			r.loop.Begin()
			list := plans(nil)
			kept := func() (was State) {
				if _, err := s.Read(stateBucket, "shop/checkout", &was); err != nil {
					rt.Fatal(err)
				}
				return was
			}
			had := 0
			look := func() {
				r.sleep(time.Second)
				r.loop.look()
			}
			ops := map[string]func(*rapid.T){
				"disk": func(rt *rapid.T) {
					each.Store(int64(rapid.SampledFrom([]time.Duration{0, time.Second, 3 * time.Second, 15 * time.Second}).Draw(rt, "each")))
					broken.Store(rapid.IntRange(0, 3).Draw(rt, "broken") == 0)
				},
				"look": func(rt *rapid.T) {
					for range rapid.IntRange(1, 150).Draw(rt, "looks") {
						look()
					}
				},
				"command": func(rt *rapid.T) {
					err := r.loop.Command("shop/checkout", Command{Do: rapid.SampledFrom(Verbs).Draw(rt, "do"), By: "ann"})
					var refused *Refusal
					if err != nil && !errors.As(err, &refused) && !errors.Is(err, state.ErrHangs) && !errors.Is(err, ErrUnknown) && !broken.Load() {
						rt.Fatal(err)
					}
				},
				"version": func(rt *rapid.T) {
					of := *list[0].Release
					of.Subject = model.Hash(rapid.SampledFrom([]string{"v1", "v2", "v3"}).Draw(rt, "version"))
					list = plans(nil)
					list[0].Release = &of
					r.loop.Plan(list)
				},
				"edit": func(rt *rapid.T) {
					list = plans(func(p *translate.RolloutPlan) {
						p.Release = list[0].Release
						p.Stages[1].Share = rapid.SampledFrom([]int{200, 1000}).Draw(rt, "stage 2")
						if rapid.Bool().Draw(rt, "gate") {
							withGate(p)
						}
					})
					if gone := rapid.IntRange(0, 4).Draw(rt, "gone") == 0; gone {
						r.loop.Plan(nil)
					} else {
						r.loop.Plan(list)
					}
				},
				"freeze": func(rt *rapid.T) {
					r.mu.Lock()
					defer r.mu.Unlock()
					r.frozen = Freeze{}
					if rapid.Bool().Draw(rt, "frozen") {
						r.frozen = Freeze{"shop/slo", "the budget is used up"}
					}
				},
				"": func(rt *rapid.T) {
					k, was := r.knob(), kept()
					if share := r.share(k); share > had && (k.Run > was.Run || k.Run == was.Run && k.Generation > was.Generation) {
						rt.Fatalf("proxies have run %d, generation %d, with %d instead of %d; on disk is %+v", k.Run, k.Generation, share, had, was)
					}
					had = r.share(k)
				},
			}
			r.loop.Plan(list)
			rt.Repeat(ops)
			each.Store(0)
			broken.Store(false)
			r.loop.Plan(list)
			for range 40 {
				look()
			}
			now, _ := r.loop.Status("shop/checkout")
			if was := kept(); r.loop.Unsaved() || now.Decided != "" || now.Problem != "" || was.Phase != now.Phase || was.Run != now.Run || was.Generation != now.Generation {
				rt.Fatalf("on disk is %+v of %+v", was, now)
			}
			seen := map[Entry]bool{}
			for _, e := range r.loop.History("shop/checkout") {
				step := Entry{Run: e.Run, What: e.What, Share: e.Share}
				if seen[step] && (strings.HasPrefix(e.What, "stage ") || e.What == "started" || e.What == "succeeded") {
					rt.Fatalf("%s is in the history of run %d twice: %s", e.What, e.Run, r.whats())
				}
				if seen[step] = true; e.What == "withdrawn" || e.What == "edited" { // then a stage may be entered again
					clear(seen)
				}
			}
			if err := r.keeper.Close(); err != nil {
				rt.Fatal(err)
			}
		})
	})
}

// TestWrittenTooLate: what comes while a slow disk writes a promotion down holds for it, too, whoever it comes from;
// the history says that it came to nothing.
func TestWrittenTooLate(t *testing.T) {
	for name, meanwhile := range map[string]func(*testing.T, *rig){
		"another stage": func(_ *testing.T, r *rig) {
			r.loop.Plan(plans(func(p *translate.RolloutPlan) { p.Stages[1].Share = 200 }))
		},
		"a gate":  func(_ *testing.T, r *rig) { r.loop.Plan(plans(withGate)) },
		"deleted": func(_ *testing.T, r *rig) { r.loop.Plan(nil) },
		"frozen": func(_ *testing.T, r *rig) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.frozen = Freeze{"shop/slo", "the budget is used up"}
		},
		"paused": func(t *testing.T, r *rig) {
			if err := r.loop.Command("shop/checkout", Command{Do: Pause, By: "ann"}); err != nil {
				t.Error(err)
			}
		},
		"broken": func(_ *testing.T, r *rig) { r.fail(errors.New("the disk is broken")) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				folder := t.TempDir()
				r := slowed(t, folder, 10*time.Second)
				written := func() {
					for range 30 {
						r.sleep(time.Second)
						if r.loop.look(); r.share(r.knob()) > 100 {
							t.Fatalf("proxies have %+v; %s", r.knob(), r.whats())
						}
					}
				}
				r.loop.Plan(plans(nil))
				written()
				if err := r.loop.Command("shop/checkout", Command{Do: Promote, By: "ann"}); err != nil {
					t.Error(err)
				}
				meanwhile(t, r)
				written()
				r.fail(nil)
				written()
				written()
				if got := r.whats(); !strings.Contains(got, "withdrawn") {
					t.Errorf("history: %s", got)
				}
				if s, there := r.loop.Status("shop/checkout"); there && (s.Unsaved || s.Decided != "" || s.Problem != "") {
					t.Errorf("at the end: %+v", s)
				}
				var kept State
				if _, err := r.loop.store.Read(stateBucket, "shop/checkout", &kept); err != nil || kept.Share > 100 {
					t.Errorf("on disk is %+v: %v", kept, err)
				}
				if err := r.keeper.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestSlowFigures: while a disk is slow with what nobody decided nothing is amiss, but for what is decided then; and
// once it is quick again a restart loses no more than before.
func TestSlowFigures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, t.TempDir())
		s, err := r.keeper.Try()
		if err != nil {
			t.Fatal(err)
		}
		var each atomic.Int64
		s.Hinder(func() error { time.Sleep(time.Duration(each.Load())); return nil })
		r.loop.Begin()
		looks := func(n int) {
			for range n {
				r.sleep(time.Second)
				r.loop.look()
			}
		}
		r.loop.Plan(plans(func(p *translate.RolloutPlan) { p.Stages[0].For = time.Hour }))
		each.Store(int64(10 * time.Minute))
		for looks(1); r.loop.writing == nil; {
			looks(1)
		}
		if s, _ := r.loop.Status("shop/checkout"); s.Problem != "" || s.Unsaved || r.loop.Unsaved() {
			t.Errorf("while figures are written: %+v", s)
		}
		if err := r.loop.Command("shop/checkout", Command{Do: Promote, By: "ann"}); !errors.Is(err, state.ErrHangs) {
			t.Errorf("promote: %v", err)
		}
		if s, _ := r.loop.Status("shop/checkout"); s.Problem == "" || s.Unsaved {
			t.Errorf("while a promotion finds no disk: %+v", s)
		}
		each.Store(0)
		looks(600 + int((maxRest+2*saveEvery)/time.Second))
		var kept State
		if _, err := s.Read(stateBucket, "shop/checkout", &kept); err != nil || r.loop.rollouts["shop/checkout"].Elapsed-kept.Elapsed > saveEvery {
			t.Errorf("on disk the stage has lasted %v of %v: %v", kept.Elapsed, r.loop.rollouts["shop/checkout"].Elapsed, err)
		}
		if err := r.keeper.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestAbortWhilePauseIsWritten: what overtakes a decision that acts already leaves it in the history, once.
func TestAbortWhilePauseIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := slowed(t, t.TempDir(), 10*time.Second)
		looks := func(n int) {
			for range n {
				r.sleep(time.Second)
				r.loop.look()
			}
		}
		r.loop.Plan(plans(nil))
		looks(30)
		for _, do := range []Verb{Pause, Abort} {
			if err := r.loop.Command("shop/checkout", Command{Do: do, By: "ann"}); err != nil {
				t.Errorf("%s: %v", do, err)
			}
		}
		looks(40)
		if got := r.whats(); got != "started, paused, aborted" || r.loop.Unsaved() {
			t.Errorf("history: %s", got)
		}
		if err := r.keeper.Close(); err != nil {
			t.Error(err)
		}
	})
}
