package guard

import (
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"weir.dev/weir/model"
)

var errorsOnly = model.Guard{Errors: &model.ErrorGuard{Alpha: 0.001}, Stages: 4}

func outcome(bad bool) Outcome { return Outcome{verdict(bad), verdict(bad)} }

// good feeds stable's good answers, tested as well.
func (j *Judge) good(n int) {
	for range n {
		j.Stable(0, 0, outcome(false))
		j.StableRow(0, false)
	}
}

// until feeds the canary what users from first on see, each beside so many good answers of
// stable, and returns how many it took to trip; 0: it did not within 1,000.
func (j *Judge) until(user func(i int) uint16, beside int, bad func(i int) bool) int {
	for i := range 1000 {
		j.good(beside)
		if j.Canary(user(i), outcome(bad(i))) {
			return i + 1
		}
	}
	return 0
}

func others(i int) uint16       { return uint16(i) }
func everyTime(int) bool        { return true }
func never(int) bool            { return false }
func sameUser(int) uint16       { return 7 }
func fourUsers(i int) uint16    { return uint16(i % 4) }
func twoUsers(i int) uint16     { return uint16(i % 2) }
func everyTenth(i int) bool     { return i%10 == 9 }
func everyHundredth(i int) bool { return i%100 == 50 }

func TestCanaryIsCaught(t *testing.T) {
	for _, test := range []struct {
		name    string
		user    func(int) uint16
		beside  int
		bad     func(int) bool
		atLeast int // 0: not at all
		atMost  int
	}{
		{"all fail", others, 99, everyTime, 3, 4},
		{"all fail, half of the traffic", others, 1, everyTime, 8, 20},
		{"a tenth fails", others, 9, everyTenth, 30, 120},
		{"nothing fails", others, 9, never, 0, 0},
		{"one user fails", sameUser, 99, everyTime, 0, 0},
		{"two users fail", twoUsers, 999, everyTime, 0, 0},
		{"four users fail, half of the traffic", fourUsers, 1, everyTime, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := New(errorsOnly, 1).until(test.user, test.beside, test.bad); got < test.atLeast || got > test.atMost {
				t.Errorf("it tripped at outcome %d, want %d to %d", got, test.atLeast, test.atMost)
			}
		})
	}
}

// TestOneUserIsHeardOnce: what one user adds does not count again, though others fail at times.
func TestOneUserIsHeardOnce(t *testing.T) {
	j := New(errorsOnly, 1)
	for i := range 3000 {
		for k := range 10 {
			j.Stable(0, uint16(10*i+k), outcome(everyHundredth(10*i+k)))
		}
		if j.Canary(uint16(i), outcome(everyHundredth(i))) || j.Canary(9999, outcome(true)) {
			t.Fatalf("it tripped after %d outcomes", i)
		}
	}
}

// TestSharedFailuresAreNone: both arms fail as often, from one moment on.
func TestSharedFailuresAreNone(t *testing.T) {
	for _, share := range []int{1, 2, 10} {
		j := New(errorsOnly, 1)
		for i := range 2000 {
			failed := i > 200 && i%share == 0
			for k := range 9 {
				j.Stable(0, uint16(9*i+k), outcome(failed))
				j.StableRow(0, failed)
			}
			if j.Canary(uint16(i), outcome(failed)) {
				t.Fatalf("one in %d: it tripped after %d outcomes", share, i)
			}
		}
		if got, want := j.Unhealthy(), true; got != want {
			t.Errorf("one in %d: unhealthy %v", share, got)
		}
	}
}

// TestUnhealthyStableHolds: beside a stable that fails itself, a canary that is a little worse is
// held, and one that is far worse trips.
func TestUnhealthyStableHolds(t *testing.T) {
	for _, test := range []struct {
		canary func(i int) bool
		caught bool
	}{
		{func(i int) bool { return i%3 == 0 }, false}, // 33 % beside 20 %
		{everyTime, true},
	} {
		j := New(errorsOnly, 1)
		for i := range 100 { // stable alone
			j.StableRow(0, i%5 == 0)
		}
		j.good(0)
		tripped, n := false, 0
		for i := range 20_000 {
			for k := range 10 {
				failed := (i*10+k)%5 == 0
				j.Stable(0, uint16(10*i+k), outcome(failed))
				j.StableRow(0, failed)
			}
			if i < 1 { // the first block begins before anything is known
				j.Canary(0, outcome(false))
				continue
			}
			if n++; j.Canary(uint16(i), outcome(test.canary(i))) {
				tripped = true
				break
			}
		}
		if tripped != test.caught {
			t.Errorf("tripped %v after %d outcomes, want %v: %+v", tripped, n, test.caught, j.Observe())
		}
		if test.caught && n > 200 {
			t.Errorf("it took %d outcomes", n)
		}
		if !j.Unhealthy() || !strings.Contains(j.Observe()[0].Detail, "while stable is unhealthy") {
			t.Errorf("nothing is said of stable: %+v", j.Observe())
		}
	}
}

// TestHealth: stable is unhealthy from a tenth of failures on, and until there is half of that.
func TestHealth(t *testing.T) {
	j := New(model.Guard{ConsecutiveFailures: 5}, 1)
	feed := func(n, badEvery int) {
		for i := range n {
			j.StableRow(0, badEvery > 0 && i%badEvery == 0)
			j.Unhealthy()
		}
	}
	for i, step := range []struct {
		n, badEvery int
		want        bool
	}{
		{9, 1, false}, // too few to say anything
		{500, 0, false},
		{500, 12, false},
		{500, 8, true},
		{500, 13, true}, // not well enough
		{500, 50, false},
	} {
		if feed(step.n, step.badEvery); j.Unhealthy() != step.want {
			t.Errorf("step %d: unhealthy %v", i, !step.want)
		}
	}
}

func TestRow(t *testing.T) {
	g := model.Guard{ConsecutiveFailures: 5}
	type step struct {
		stable, stableBad int // answers since
		user              uint16
		failed            bool
		before            bool // it came before all others
	}
	bad := func(stable int, user uint16) step { return step{stable: stable, user: user, failed: true} }
	fails := func(stable int, user uint16) step { // stable as well
		return step{stable: stable, stableBad: stable, user: user, failed: true}
	}
	for _, test := range []struct {
		name  string
		steps []step
		at    int // the step that trips, from 1; 0: none
	}{
		{"five in a row", []step{bad(100, 1), bad(1, 2), bad(1, 3), bad(1, 4), bad(1, 5)}, 5},
		{"a good one between", []step{bad(100, 1), bad(1, 2), bad(1, 3), bad(1, 4), {stable: 1}, bad(1, 5), bad(1, 6), bad(1, 7), bad(1, 8)}, 0},
		{"a good one that came before", []step{bad(100, 1), bad(1, 2), {stable: 1, before: true}, bad(1, 3), bad(1, 4), bad(1, 5)}, 6},
		{"one user", []step{bad(100, 1), bad(1, 1), bad(1, 1), bad(1, 1), bad(1, 1), bad(1, 1)}, 0},
		{"one user, then another", []step{bad(100, 1), bad(1, 1), bad(1, 1), bad(1, 1), bad(1, 1), bad(1, 2)}, 6},
		{"without stable", []step{bad(100, 1), bad(0, 2), bad(0, 3), bad(0, 4), bad(0, 5), bad(0, 6)}, 0},
		{"stable comes late", []step{bad(0, 1), bad(0, 2), bad(0, 3), bad(0, 4), bad(0, 5), bad(3, 6)}, 6},
		{"stable fails too", []step{bad(100, 1), fails(1, 2), fails(1, 3), fails(1, 4), fails(1, 5), fails(1, 6)}, 0},
		{"stable began to fail before", []step{{stable: 100}, fails(4, 1), bad(1, 2), bad(1, 3), bad(1, 4), bad(1, 5)}, 0},
		{"stable unhealthy, then well", []step{fails(50, 1), bad(1, 2), bad(1, 3), bad(1, 4), bad(1, 5), bad(500, 6), bad(1, 7), bad(1, 8), bad(1, 9), bad(1, 10)}, 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			j, at := New(g, 1), 0
			for i, s := range test.steps {
				for k := range s.stable {
					j.StableRow(0, k < s.stableBad)
				}
				came := int64(i + 1)
				if s.before {
					came = 0
				}
				if j.Row(s.user, came, s.failed) {
					at = i + 1
				}
				j.Unhealthy() // looks at stable, as tests do
			}
			if at != test.at {
				t.Errorf("it tripped at step %d, want %d: %+v", at, test.at, j.Observe())
			}
		})
	}
}

// TestTripsOnce: one outcome raises the alarm, and what it was about stays.
func TestTripsOnce(t *testing.T) {
	g := errorsOnly
	g.ConsecutiveFailures = 5
	j := New(g, 1)
	if _, ok := j.Tripped(); ok {
		t.Error("it has tripped before anything came")
	}
	n := j.until(others, 99, everyTime)
	was, ok := j.Tripped()
	if n == 0 || !ok || was.Test.Name != "errors/first" || was.Test.Evidence < was.Test.Boundary {
		t.Fatalf("after %d: %v, %+v", n, ok, was)
	}
	want := "first tries failed: 3 of 3 (100 %) of the canary's, but 0 of 297 (0 %) of stable's at the same time; were it no more than 0 % worse, this would come about once in 16000 times"
	if n == 3 && was.Reason != want {
		t.Errorf("the reason is %q, want %q", was.Reason, want)
	}
	for i := range 100 {
		j.good(9)
		if j.Row(uint16(i), int64(i), true) || j.Canary(uint16(i), outcome(true)) {
			t.Fatal("it tripped again")
		}
	}
	if now, _ := j.Tripped(); now != was {
		t.Errorf("it was %+v and is %+v", was, now)
	}
}

// TestAlphaIsShared: among the two tests of errors, the stages, the proxy and the fleet.
func TestAlphaIsShared(t *testing.T) {
	j := New(everything, 2)
	want := map[string]float64{
		"errors/first": math.Log(16_000), "errors/final": math.Log(16_000), "latency": math.Log(8_000), "consecutiveFailures": 5,
	}
	for _, o := range j.Observe() {
		if math.Abs(o.Boundary-want[o.Name]) > 1e-9 {
			t.Errorf("%s has the boundary %v, want %v", o.Name, o.Boundary, want[o.Name])
		}
		delete(want, o.Name)
	}
	if len(want) > 0 {
		t.Errorf("there is no %v", want)
	}
}

// TestNothingAskedFor: a guard that asks for nothing never trips, and shows nothing.
func TestNothingAskedFor(t *testing.T) {
	j := New(model.Guard{}, 0)
	for i := range 100 {
		j.good(9)
		j.StableTook(0, 1)
		j.StableLate(0, 0, 0, true)
		if j.Row(uint16(i), int64(i), true) || j.Canary(uint16(i), outcome(true)) || j.CanaryLate(uint16(i), 0, true) {
			t.Fatal("it tripped")
		}
	}
	if all := j.Observe(); len(all) > 0 || j.Bounds() != (Bounds{}) {
		t.Errorf("it shows %+v, %+v", all, j.Bounds())
	}
}

// TestAllAtOnce: from many goroutines one alone hears of the alarm, and nothing is lost.
func TestAllAtOnce(t *testing.T) {
	j := New(everything, 4)
	var trips atomic.Int32
	var wg sync.WaitGroup
	for shard := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				user := uint16(shard*2000 + i)
				j.StableTook(shard, 1e6)
				j.Stable(shard, user, outcome(false))
				j.StableRow(shard, false)
				b := j.Bounds()
				j.StableLate(shard, user, b.Epoch, false)
				for _, tripped := range []bool{
					j.Row(user, int64(i), i%3 > 0),
					j.Canary(user, outcome(i%3 > 0)),
					j.CanaryLate(user, b.Epoch, i%2 == 0),
				} {
					if tripped {
						trips.Add(1)
					}
				}
				if i%100 == 0 {
					j.Observe()
					j.Unhealthy()
				}
			}
		})
	}
	wg.Wait()
	if n := trips.Load(); n != 1 {
		t.Errorf("%d alarms", n)
	}
	if all := j.arm.sum(every); all.all() != 8000 || all.bad() != 0 {
		t.Errorf("%d answers of stable were counted, %d failures", all.all(), all.bad())
	}
}

// TestCountsRunOver: halves of a counter may.
func TestCountsRunOver(t *testing.T) {
	var before counted = (1<<32-2)<<32 | (1<<32 - 1)
	if news := before + 5*(one+1) - before; news.all() != 5 || news.bad() != 5 {
		t.Errorf("%d, %d", news.all(), news.bad())
	}
}

func TestNoAllocations(t *testing.T) {
	j := New(everything, 2)
	i := 0
	if n := testing.AllocsPerRun(2000, func() {
		i++
		b := j.Bounds()
		j.StableTook(0, 1e6)
		j.Stable(1, uint16(i), outcome(i%40 == 0))
		j.StableRow(0, false)
		j.StableLate(0, uint16(i), b.Epoch, false)
		j.Row(uint16(i), int64(i), i%5 == 0)
		j.Canary(uint16(i), outcome(i%50 == 0))
		j.CanaryLate(uint16(i), b.Epoch, false)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if slices.ContainsFunc(j.Observe(), func(o model.TestObservation) bool { return o.Name == "latency" && o.Evidence == 0 }) {
		t.Errorf("it saw nothing: %+v", j.Observe())
	}
}
