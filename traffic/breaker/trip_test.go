package breaker

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir.dev/weir/model"
)

const sec = int64(time.Second)

// soonest is randomness without jitter.
func soonest() uint64 { return 0 }

func halfOf(of int) *model.Trip {
	return &model.Trip{Failures: 0.5, Of: of, OpenFor: 10 * time.Second, Probes: 2}
}

func newTrip(spec *model.Trip) *Trip {
	t := New(soonest)
	t.Configure(0, spec)
	return t
}

// run has tries end one after the other at now: + a success, - a failure. It returns what the
// breaker is then.
func (t *Trip) run(now int64, tries string) State {
	for _, r := range tries {
		if p, _, ok := t.Admit(now); ok {
			t.Done(now, p, r == '-')
		}
	}
	return t.Status(now).State
}

// TestClose: by hand a breaker is closed at once from wherever it is, and what was under way says nothing any more.
func TestClose(t *testing.T) {
	b := newTrip(halfOf(6))
	if was := b.Close(0); was != Closed {
		t.Errorf("was %v, want closed", was)
	}
	late, _, _ := b.Admit(0)
	b.run(0, "----")
	if was := b.Close(3 * sec); was != Open {
		t.Errorf("was %v, want open", was)
	}
	b.Done(3*sec, late, true)
	if s := b.run(3*sec, "--"); s != Closed {
		t.Errorf("two failures, and it is %v: it remembers what was before", s)
	}
	if s := b.run(3*sec, "-"); s != Open {
		t.Errorf("three failures, and it is %v", s)
	}
	probe, _, ok := b.Admit(13 * sec)
	if was := b.Close(13 * sec); !ok || was != HalfOpen {
		t.Errorf("was %v, want half open", was)
	}
	b.Done(14*sec, probe, true)
	if s := b.Status(14 * sec); s.State != Closed || s.Failures != 0 {
		t.Errorf("after a probe that was under way failed: %+v", s)
	}
	b.run(14*sec, "---")
	if was := b.Close(24 * sec); was != HalfOpen {
		t.Errorf("was %v, want half open, whose time has come", was)
	}
}

func TestWorkedExample(t *testing.T) {
	b := newTrip(halfOf(6))
	if s := b.run(0, "+-+-"); s != Closed {
		t.Fatalf("after two failures: %v", s)
	}
	if s := b.run(0, "-"); s != Open {
		t.Fatalf("after three failures of the last six: %v", s)
	}
	if _, wait, ok := b.Admit(3 * sec); ok || wait != 7*time.Second {
		t.Fatalf("open, and yet admitted %v; wait %v", ok, wait)
	}
	first, _, ok1 := b.Admit(10 * sec)
	second, _, ok2 := b.Admit(10 * sec)
	if _, wait, ok := b.Admit(10 * sec); !ok1 || !ok2 || ok || wait != 0 {
		t.Fatalf("want two probes and no third: %v %v %v, wait %v", ok1, ok2, ok, wait)
	}
	b.Done(11*sec, first, true)
	b.Done(11*sec, second, false) // of a round that is over
	if s := b.Status(11 * sec); s.State != Open || s.Wait != 20*time.Second || s.Since != 11*sec {
		t.Fatalf("after a failed probe: %+v", s)
	}
	if s := b.run(31*sec, "++"); s != Closed {
		t.Fatalf("after two good probes: %v", s)
	}
	if s := b.run(31*sec, "--"); s != Closed {
		t.Fatal("it remembers what was before")
	}
	if s := b.run(31*sec, "-"); s != Open {
		t.Fatal("it does not count any more")
	}
}

func TestOpeningGrowsAndIsBounded(t *testing.T) {
	b := newTrip(halfOf(6))
	now := int64(0)
	b.run(now, "---")
	var waits []string
	for range 6 {
		s := b.Status(now)
		waits = append(waits, s.Wait.String())
		now += int64(s.Wait)
		b.run(now, "-")
	}
	if got, want := strings.Join(waits, " "), "10s 20s 30s 30s 30s 30s"; got != want {
		t.Errorf("it was open for %s, want %s", got, want)
	}
	now += int64(b.Status(now).Wait)
	b.run(now, "++---")
	if w := b.Status(now).Wait; w != 10*time.Second {
		t.Errorf("after it was closed it opened for %v", w)
	}
}

func TestJitterOnlyLengthens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := New(func() uint64 { return rapid.Uint64().Draw(t, "bits") })
		b.Configure(0, halfOf(6))
		b.run(0, "---")
		if w := b.Status(0).Wait; w < 10*time.Second || w > 12500*time.Millisecond {
			t.Fatalf("open for %v", w)
		}
	})
}

func TestTriesOfBeforeSayNothing(t *testing.T) {
	b := newTrip(halfOf(6))
	var before []Pass
	for range 20 {
		p, _, _ := b.Admit(0)
		before = append(before, p)
	}
	b.run(0, "---")
	for _, p := range before[:10] {
		b.Done(sec, p, true)
	}
	p, _, _ := b.Admit(10 * sec)
	for _, p := range before[10:15] {
		b.Done(10*sec, p, true)
	}
	b.Done(10*sec, p, false)
	b.run(10*sec, "+")
	for _, p := range before[15:] {
		b.Done(10*sec, p, true)
	}
	if s := b.Status(10 * sec); s.State != Closed || s.Failures != 0 {
		t.Errorf("tries of before it opened count: %+v", s)
	}
}

func TestProbesGiveTheirPlaceBack(t *testing.T) {
	b := newTrip(halfOf(6))
	b.run(0, "---")
	for range 10 {
		p, _, ok := b.Admit(10 * sec)
		if !ok {
			t.Fatal("an excused probe keeps its place")
		}
		b.Excuse(p)
	}
	b.Admit(10 * sec)
	b.Admit(10 * sec) // neither ever ends
	if _, _, ok := b.Admit(19 * sec); ok {
		t.Error("a third probe")
	}
	if s := b.run(20*sec, "++"); s != Closed {
		t.Errorf("probes that do not end keep it %v", s)
	}
}

func TestEdits(t *testing.T) {
	b := newTrip(halfOf(10))
	b.run(0, "--+-+-")
	b.Configure(0, halfOf(20))
	if s := b.Status(0); s.Failures != 4 || s.Needed != 10 {
		t.Fatalf("more events: %+v", s)
	}
	b.Configure(0, halfOf(5)) // of -+-+- and one more to come
	if s := b.Status(0); s.Failures != 3 || s.State != Closed {
		t.Fatalf("fewer events: %+v", s)
	}
	if s := b.run(0, "-"); s != Open {
		t.Fatalf("with the next failure: %v", s)
	}
	shorter := *halfOf(5)
	shorter.OpenFor = time.Second
	b.Configure(0, &shorter)
	if w := b.Status(0).Wait; w != 1250*time.Millisecond {
		t.Errorf("still open for %v", w)
	}
	longer := *halfOf(5)
	longer.OpenFor = time.Hour
	b.Configure(0, &longer)
	if w := b.Status(0).Wait; w != 1250*time.Millisecond {
		t.Errorf("a longer time holds for the next opening, not %v", w)
	}
	b.Configure(0, nil)
	if _, _, ok := b.Admit(0); !ok || b.Status(0).State != Closed {
		t.Error("it trips although it shall not")
	}
	if s := b.run(0, "-------"); s != Closed {
		t.Error("it still trips")
	}
	b.Configure(0, halfOf(5))
	if s := b.run(0, "--"); s != Closed {
		t.Error("it has counted while it was off")
	}
}

// oracle is a Trip without any cleverness: whole lists of outcomes.
type oracle struct {
	spec     model.Trip
	state    State
	outcomes []bool
	until    int64
	growth   int64
	round    int
	passed   int
	probes   map[int]bool // in flight, of this round
}

type oraclePass struct{ round, id int }

func (o *oracle) admit(now int64, id int) (oraclePass, bool) {
	if o.state == Open && now >= o.until {
		o.state, o.passed, o.probes = HalfOpen, 0, map[int]bool{}
		o.round++
	}
	switch o.state {
	case Open:
		return oraclePass{}, false
	case HalfOpen:
		if len(o.probes) >= o.spec.Probes {
			return oraclePass{}, false
		}
		o.probes[id] = true
	}
	return oraclePass{o.round, id}, true
}

func (o *oracle) done(now int64, p oraclePass, failed bool) {
	if p.round != o.round {
		return
	}
	if o.state == HalfOpen {
		delete(o.probes, p.id)
		if failed {
			o.growth = min(2*o.growth, 3)
			o.open(now)
		} else if o.passed++; o.passed == o.spec.Probes {
			o.state, o.outcomes = Closed, nil
			o.round++
		}
		return
	}
	o.outcomes = append(o.outcomes, failed)
	last := o.outcomes[max(0, len(o.outcomes)-o.spec.Of):]
	n := 0
	for _, f := range last {
		if f {
			n++
		}
	}
	if failed && float64(n) >= o.spec.Failures*float64(o.spec.Of)-1e-9 {
		o.growth = 1
		o.open(now)
	}
}

func (o *oracle) open(now int64) {
	o.state, o.until = Open, now+int64(o.spec.OpenFor)*o.growth
	o.round++
}

func TestAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := model.Trip{
			Failures: float64(rapid.IntRange(1, 100).Draw(t, "percent")) / 100,
			Of:       rapid.IntRange(5, 200).Draw(t, "of"), OpenFor: 3600 * time.Second, // a hung probe is another test's
			Probes: rapid.IntRange(1, 5).Draw(t, "probes"),
		}
		b := newTrip(&spec)
		o := &oracle{spec: spec}
		now := int64(0)
		type try struct {
			p  Pass
			op oraclePass
		}
		var flying []try
		failing := rapid.IntRange(0, 100).Draw(t, "failing")
		for id := range rapid.IntRange(1, 600).Draw(t, "steps") {
			if rapid.IntRange(0, 50).Draw(t, "wait") == 0 {
				longest := 5
				if o.state == Open { // else a probe might count as hung
					longest = 40_000
				}
				now += int64(rapid.IntRange(0, longest).Draw(t, "seconds")) * sec
				failing = rapid.IntRange(0, 100).Draw(t, "failing")
			}
			if len(flying) == 0 || rapid.IntRange(0, 9).Draw(t, "begin") < 5 {
				p, _, ok := b.Admit(now)
				op, want := o.admit(now, id)
				if ok != want {
					t.Fatalf("step %d: admitted %v, want %v (%v)", id, ok, want, o.state)
				}
				if ok {
					flying = append(flying, try{p, op})
				}
			} else {
				at := rapid.IntRange(0, len(flying)-1).Draw(t, "which")
				f := flying[at]
				flying = slices.Delete(flying, at, at+1)
				switch n := rapid.IntRange(0, 109).Draw(t, "end"); {
				case n >= 100:
					b.Excuse(f.p)
					if f.op.round == o.round {
						delete(o.probes, f.op.id)
					}
				default:
					b.Done(now, f.p, n < failing)
					o.done(now, f.op, n < failing)
				}
			}
			b.mu.Lock()
			state := b.state
			b.mu.Unlock()
			if state != o.state {
				t.Fatalf("step %d: %v, want %v", id, state, o.state)
			}
		}
	})
}

func TestRingKeepsTheLatest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRing(rapid.IntRange(1, 150).Draw(t, "size"))
		var all []bool
		for _, step := range rapid.SliceOfN(rapid.IntRange(-150, 2), 1, 400).Draw(t, "steps") {
			if step < 0 {
				n := min(r.size, -step)
				r = r.resized(-step)
				all = all[max(0, len(all)-n):] // what a smaller ring forgot does not come back
			} else {
				all = append(all, step == 0)
				r.add(step == 0)
			}
			want := 0
			for _, failed := range all[max(0, len(all)-r.size):] {
				if failed {
					want++
				}
			}
			set := 0
			for i := range r.words {
				set += bits.OnesCount64(r.words[i].Load())
			}
			if r.failures() != want || set != want {
				t.Fatalf("%d failures, %d bits, want %d", r.failures(), set, want)
			}
		}
	})
}

// TestManyAtOnce: never more probes than may be, however many ask at once; the count of
// failures is that of the bits; and it ends closed once all is well.
func TestManyAtOnce(t *testing.T) {
	const workers, rounds = 8, 3000
	b := New(soonest)
	spec := &model.Trip{Failures: 0.3, Of: 50, OpenFor: 40, Probes: 3}
	b.Configure(0, spec)
	var clock, probes, most atomic.Int64
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := range rounds {
				now := clock.Add(1)
				if i%500 == 0 && w == 0 {
					b.Configure(now, &model.Trip{Failures: 0.3, Of: 5 + i%100, OpenFor: 1 << 30, Probes: 3})
				}
				p, _, ok := b.Admit(now)
				if !ok {
					if b.Status(now).State == Open {
						clock.Add(1 << 28)
					}
					continue
				}
				if p.kind == probe && p.era == b.era.Load() {
					most.Store(max(most.Load(), probes.Add(1)))
					probes.Add(-1)
				}
				b.Done(now, p, (i/300)%2 == 0)
			}
		})
	}
	group.Wait()
	r := b.ring.Load()
	set := 0
	for i := range r.words {
		set += bits.OnesCount64(r.words[i].Load())
	}
	if set != r.failures() {
		t.Errorf("%d failures counted, %d bits set", r.failures(), set)
	}
	now := clock.Load()
	for range 10 {
		now += int64(b.Status(now).Wait)
		b.run(now, strings.Repeat("+", 200))
	}
	if s := b.Status(now); s.State != Closed || s.Failures != 0 {
		t.Errorf("when all is well it is %v with %d failures", s.State, s.Failures)
	}
}

func TestProbesAtOnceAreBounded(t *testing.T) {
	for range 50 {
		b := newTrip(&model.Trip{Failures: 0.5, Of: 6, OpenFor: time.Hour, Probes: 3})
		b.run(0, "---")
		var let atomic.Int64
		var group sync.WaitGroup
		for range 16 {
			group.Go(func() {
				if _, _, ok := b.Admit(int64(time.Hour)); ok {
					let.Add(1)
				}
			})
		}
		group.Wait()
		if n := let.Load(); n != 3 {
			t.Fatalf("%d probes at once", n)
		}
	}
}

func TestThreshold(t *testing.T) {
	for _, c := range []struct {
		share float64
		of    int
		want  int
	}{{0.5, 20, 10}, {0.5, 5, 3}, {0.01, 5, 1}, {1, 1000, 1000}, {0.29, 100, 29}, {0.3, 10, 3}} {
		if got := threshold(&model.Trip{Failures: c.share, Of: c.of}); got != c.want {
			t.Errorf("%v of %d: %d, want %d", c.share, c.of, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		spec := model.Trip{Failures: float64(rapid.IntRange(1, 100).Draw(t, "percent")) / 100, Of: rapid.IntRange(5, 1000).Draw(t, "of")}
		n := threshold(&spec)
		if share := float64(n) / float64(spec.Of); share < spec.Failures-1e-9 || n > 1 && math.Nextafter(float64(n-1), 0)/float64(spec.Of) >= spec.Failures {
			t.Fatalf("%d", n)
		}
	})
}

func ExampleState_String() {
	fmt.Println(Closed, "·", HalfOpen, "·", Open)
	// Output: closed · half open · open
}

func BenchmarkSuccess(b *testing.B) {
	trip := newTrip(halfOf(20))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p, _, _ := trip.Admit(1)
			trip.Done(1, p, false)
		}
	})
}

func BenchmarkMixed(b *testing.B) {
	trip := newTrip(&model.Trip{Failures: 0.9, Of: 100, OpenFor: time.Second, Probes: 2})
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			p, _, _ := trip.Admit(1)
			trip.Done(1, p, i%10 == 0)
		}
	})
}
