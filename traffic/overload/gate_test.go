package overload

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/limit"
)

// visitor is one request at a gate.
type visitor struct {
	Waiter
	class    model.Class
	admitted bool
	lost     Why
}

func enter(g *Gate, now time.Duration, c model.Class, row uint64) (*visitor, Verdict) {
	v := &visitor{class: c}
	v.Wake = func(admitted bool, why Why) { v.admitted, v.lost = admitted, why }
	got := g.Enter(now, c, row, &v.Waiter)
	if got.Kind == Admitted {
		v.admitted = true
	}
	return v, got
}

func leave(g *Gate, now time.Duration, v *visitor) {
	v.admitted = false
	g.Leave(now, time.Millisecond, v.class, limit.Answered)
}

func queueOf(size int, lifo bool) *model.Queue { return &model.Queue{Size: size, LIFO: lifo} }

func TestWhatIsBeyondTheLimit(t *testing.T) {
	g := NewGate(Config{Limit: 2}, 1)
	a, _ := enter(g, 0, model.ClassCritical, 0)
	enter(g, 0, model.ClassCritical, 0)
	if _, v := enter(g, 0, model.ClassCritical, 0); v != (Verdict{Refused, WhyConcurrency}) {
		t.Errorf("the third of two: %+v", v)
	}
	leave(g, 0, a)
	if _, v := enter(g, 0, model.ClassCritical, 0); v.Kind != Admitted {
		t.Errorf("after one has left: %+v", v)
	}
	if s := g.Status(0); s.InFlight != 2 || s.Classes[model.ClassCritical].Admitted != 3 || s.Classes[model.ClassCritical].Shed != 1 {
		t.Errorf("status %+v", s)
	}
}

// TestShares fills a gate class by class: each stops at its ceiling once all have been there.
func TestShares(t *testing.T) {
	g := NewGate(Config{Limit: 100}, 1)
	// Everybody has use for the whole of what is kept.
	for c := model.ClassSheddable; c < model.Classes; c++ {
		var all []*visitor
		for range 25 {
			v, _ := enter(g, 0, c, 0)
			all = append(all, v)
		}
		for _, v := range all {
			leave(g, 0, v)
		}
	}
	for _, test := range []struct {
		class model.Class
		upTo  int
	}{
		{model.ClassSheddable, 60},
		{model.ClassSheddablePlus, 80},
		{model.ClassCritical, 95},
		{model.ClassCriticalPlus, 100},
	} {
		for {
			if _, v := enter(g, 0, test.class, 0); v.Kind != Admitted {
				if want := (Verdict{Refused, WhyPriority}); test.upTo < 100 && v != want {
					t.Errorf("%v: %+v, want %+v", test.class, v, want)
				}
				break
			}
		}
		if n := g.Status(0).InFlight; n != test.upTo {
			t.Errorf("%v was let in up to %d in flight, want %d", test.class, n, test.upTo)
		}
	}
}

// TestIdleSharesAreLent: who is alone has the whole limit, and what is kept for a class that has
// gone is lent again after a while.
func TestIdleSharesAreLent(t *testing.T) {
	g := NewGate(Config{Limit: 100}, 1)
	fill := func(now time.Duration) (all []*visitor) {
		for {
			v, got := enter(g, now, model.ClassSheddable, 0)
			if got.Kind != Admitted {
				return all
			}
			all = append(all, v)
		}
	}
	all := fill(0)
	if len(all) != 100 {
		t.Errorf("alone it got %d of 100", len(all))
	}
	if _, v := enter(g, 0, model.ClassCritical, 0); v.Kind != Refused {
		t.Errorf("there is no room: %+v", v)
	}
	for _, v := range all {
		leave(g, 0, v)
	}
	all = fill(time.Second)
	if len(all) != 98 { // twice the one that was wanted
		t.Errorf("with one Critical wanted it got %d of 100, want 98", len(all))
	}
	if _, v := enter(g, time.Second, model.ClassCritical, 0); v.Kind != Admitted {
		t.Errorf("the place is kept: %+v", v)
	} else {
		g.Leave(time.Second, 0, model.ClassCritical, limit.Ignored)
	}
	for _, v := range all {
		leave(g, time.Second, v)
	}
	for _, at := range []time.Duration{6, 11, 16, 21} {
		for _, v := range fill(at * time.Second) {
			leave(g, at*time.Second, v)
		}
	}
	if n := len(fill(26 * time.Second)); n != 100 {
		t.Errorf("long after, it got %d of 100", n)
	}
}

func TestHigherClassesComeFirst(t *testing.T) {
	g := NewGate(Config{Limit: 1, Queue: queueOf(2, false)}, 1)
	in, _ := enter(g, 0, model.ClassCritical, 0)
	low1, _ := enter(g, 0, model.ClassSheddable, 0)
	low2, v := enter(g, 0, model.ClassSheddable, 0)
	if v.Kind != Queued {
		t.Fatalf("%+v", v)
	}
	if _, v := enter(g, 0, model.ClassSheddable, 0); v != (Verdict{Refused, WhyQueue}) {
		t.Errorf("a full queue: %+v", v)
	}
	high, v := enter(g, 0, model.ClassCriticalPlus, 0)
	if v.Kind != Queued || low2.lost != WhyPriority || low1.lost != WhyNone {
		t.Errorf("the higher one: %+v; lost %v and %v", v, low1.lost, low2.lost)
	}
	leave(g, 0, in)
	if !high.admitted || low1.admitted {
		t.Errorf("admitted: high %v, low %v", high.admitted, low1.admitted)
	}
	leave(g, 0, high)
	if !low1.admitted {
		t.Error("the low one is not admitted although there is room")
	}
}

func TestOrder(t *testing.T) {
	for lifo, want := range map[bool]string{false: "0 1 2", true: "2 1 0"} {
		g := NewGate(Config{Limit: 1, Queue: queueOf(3, lifo)}, 1)
		in, _ := enter(g, 0, model.ClassCritical, 0)
		var all []*visitor
		for range 3 {
			v, _ := enter(g, 0, model.ClassCritical, 0)
			all = append(all, v)
		}
		got := ""
		for range all {
			leave(g, 0, in)
			for i, v := range all {
				if v.admitted {
					got += fmt.Sprint(i, " ")
					in = v
				}
			}
		}
		if got != want+" " {
			t.Errorf("lifo %v: %s, want %s", lifo, got, want)
		}
	}
	// A newcomer takes the place of the oldest where the youngest comes first.
	g := NewGate(Config{Limit: 1, Queue: queueOf(2, true)}, 1)
	enter(g, 0, model.ClassCritical, 0)
	oldest, _ := enter(g, 0, model.ClassCritical, 0)
	enter(g, 0, model.ClassCritical, 0)
	if _, v := enter(g, 0, model.ClassCritical, 0); v.Kind != Queued || oldest.lost != WhyQueue {
		t.Errorf("%+v, the oldest lost its place for %v", v, oldest.lost)
	}
}

// neighbours returns keys whose rows stand in one place.
func neighbours(g *Gate, n int) []uint64 {
	keys := []uint64{1}
	for key := uint64(2); len(keys) < n; key++ {
		if g.queue.place(key) == g.queue.place(1) {
			keys = append(keys, key)
		}
	}
	return keys
}

// TestTenantsAreServedAlike offers ten times as much for one tenant as for another, whose row stands in
// the same place.
func TestTenantsAreServedAlike(t *testing.T) {
	for _, lifo := range []bool{false, true} {
		g := NewGate(Config{Limit: 10, Queue: queueOf(50, lifo)}, rand.Uint64())
		keys := neighbours(g, 2)
		random := rand.New(rand.NewPCG(1, 2))
		served := map[uint64]int{}
		var all []*visitor
		rows := map[*visitor]uint64{}
		for range 20_000 {
			for range 22 {
				row := keys[0]
				if random.IntN(11) == 0 {
					row = keys[1]
				}
				v, got := enter(g, 0, model.ClassCritical, row)
				if got.Kind != Refused {
					all = append(all, v)
					rows[v] = row
				}
			}
			done := 0
			kept := all[:0]
			for _, v := range all {
				switch {
				case v.admitted && done < 2: // so both have more than their half waiting
					done++
					leave(g, 0, v)
					served[rows[v]]++
					delete(rows, v)
				case v.lost != WhyNone:
					delete(rows, v)
				default:
					kept = append(kept, v)
				}
			}
			all = kept
		}
		if ratio := float64(served[keys[0]]) / float64(served[keys[1]]); ratio > 1.05 || ratio < 0.95 {
			t.Errorf("lifo %v: %v", lifo, served)
		}
	}
}

// oracle checks after each step of anything that may happen that nobody is lost, nothing is
// exceeded, and nobody waits while there is room.
func TestGateProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(0, 6).Draw(t, "size")
		most := rapid.IntRange(1, 8).Draw(t, "limit")
		lifo := rapid.Bool().Draw(t, "lifo")
		g := NewGate(Config{Limit: most, Queue: queueOf(size, lifo)}, rapid.Uint64().Draw(t, "seed"))
		var now time.Duration
		var in, waiting []*visitor
		row := map[*visitor]uint64{}
		keys := append(neighbours(g, 3), 0)
		settle := func() {
			kept := waiting[:0]
			for _, v := range waiting {
				switch {
				case v.admitted:
					in = append(in, v)
				case v.lost == WhyNone:
					kept = append(kept, v)
				}
			}
			waiting = kept
		}
		held := func(c model.Class, of uint64) (mine, longest int) {
			n := map[uint64]int{}
			for _, v := range waiting {
				if v.class == c {
					n[row[v]]++
					longest = max(longest, n[row[v]])
				}
			}
			return n[of], longest
		}
		t.Repeat(map[string]func(*rapid.T){
			"enter": func(t *rapid.T) {
				c := model.Class(rapid.IntRange(1, 4).Draw(t, "class"))
				key := rapid.SampledFrom(keys).Draw(t, "tenant")
				mine, longest := held(c, key)
				v, got := enter(g, now, c, key)
				row[v] = key
				if got.Kind == Refused && size > 0 && longest > mine+1 {
					t.Fatalf("refused with %d waiting, while another tenant has %d", mine, longest)
				}
				for _, w := range waiting {
					if got.Kind == Refused && w.class < c && size > 0 {
						t.Fatalf("%v refused while %v waits", c, w.class)
					}
				}
				switch got.Kind {
				case Admitted:
					in = append(in, v)
				case Queued:
					waiting = append(waiting, v)
				}
				settle()
			},
			"leave": func(t *rapid.T) {
				if len(in) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(in)-1).Draw(t, "who")
				v := in[i]
				in = append(in[:i], in[i+1:]...)
				leave(g, now, v)
				settle()
			},
			"withdraw": func(t *rapid.T) {
				if len(waiting) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(waiting)-1).Draw(t, "who")
				if !g.Withdraw(&waiting[i].Waiter, true) {
					t.Fatal("whoever waits can end that")
				}
				waiting[i].lost = WhyQueue
				settle()
			},
			"time": func(t *rapid.T) {
				now += time.Duration(rapid.IntRange(0, 8000).Draw(t, "ms")) * time.Millisecond
				g.Heat(now)
			},
			"configure": func(t *rapid.T) {
				most, size = rapid.IntRange(1, 8).Draw(t, "limit"), rapid.IntRange(0, 6).Draw(t, "size")
				g.Configure(Config{Limit: most, Queue: queueOf(size, lifo)})
				settle()
			},
			"": func(t *rapid.T) {
				s := g.Status(now)
				if s.InFlight != len(in) || s.Queued != len(waiting) || g.queue.n != len(waiting) {
					t.Fatalf("in flight %d, queued %d; in truth %d, %d", s.InFlight, s.Queued, len(in), len(waiting))
				}
				if len(waiting) > size {
					t.Fatalf("%d wait where %d may", len(waiting), size)
				}
				if top := g.queue.highest(); top != 0 && s.InFlight < s.Classes[top].Ceiling {
					t.Fatalf("%v waits while there is room: %d below %d", top, s.InFlight, s.Classes[top].Ceiling)
				}
			},
		})
	})
}

// TestNeverMoreThanTheLimit lets many goroutines come and go at once.
func TestNeverMoreThanTheLimit(t *testing.T) {
	const most, size, guests = 7, 5, 40
	g := NewGate(Config{Limit: most, Queue: &model.Queue{Size: size, LIFO: true}}, 3)
	var in, peak, served atomic.Int64
	var all sync.WaitGroup
	for k := range guests {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(k), 1))
			word := make(chan bool, 1)
			w := Waiter{Wake: func(admitted bool, _ Why) { word <- admitted }}
			for i := range 2000 {
				now := time.Duration(i) * time.Millisecond
				c := model.Class(1 + random.IntN(4))
				v := g.Enter(now, c, random.Uint64N(6), &w)
				admitted := v.Kind == Admitted
				if v.Kind == Queued {
					if random.IntN(3) == 0 && g.Withdraw(&w, true) {
						continue
					}
					admitted = <-word
				}
				if !admitted {
					continue
				}
				n := in.Add(1)
				for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
				}
				served.Add(1)
				in.Add(-1)
				g.Leave(now, time.Millisecond, c, limit.Answered)
			}
		})
	}
	all.Wait()
	if s := g.Status(0); peak.Load() > most || s.InFlight != 0 || s.Queued != 0 || served.Load() == 0 {
		t.Errorf("at most %d of %d at once; %+v; served %d", peak.Load(), most, s, served.Load())
	}
}

func TestObserving(t *testing.T) {
	g := NewGate(Config{Limit: 1, Queue: queueOf(1, false), Observe: true}, 1)
	enter(g, 0, model.ClassCritical, 0)
	if _, v := enter(g, 0, model.ClassCritical, 0); v != (Verdict{Admitted, WhyConcurrency}) {
		t.Errorf("%+v", v)
	}
	// It acts from the moment it is told to, on what it has counted.
	g.Configure(Config{Limit: 3, Queue: queueOf(1, false)})
	if _, v := enter(g, 0, model.ClassCritical, 0); v != (Verdict{}) {
		t.Errorf("the third of three: %+v", v)
	}
	w, v := enter(g, 0, model.ClassCritical, 0)
	if v.Kind != Queued {
		t.Errorf("the fourth: %+v", v)
	}
	g.Configure(Config{Limit: 3, Observe: true})
	if !w.admitted {
		t.Error("who waits is let through when nothing is enforced any more")
	}
}

func TestAdmissionAllocatesNothing(t *testing.T) {
	g := NewGate(Config{Adaptive: &model.Adaptive{Min: 5, Max: 100}, Queue: queueOf(5, true)}, 1)
	now := time.Duration(0)
	if n := testing.AllocsPerRun(1000, func() {
		now += time.Millisecond
		if g.Try(now, model.ClassCritical) {
			g.Heat(now)
			g.Leave(now, time.Millisecond, model.ClassCritical, limit.Answered)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTryAndLeave(b *testing.B) {
	g := NewGate(Config{Limit: 100}, 1)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if g.Try(0, model.ClassCritical) {
				g.Leave(0, 0, model.ClassCritical, limit.Ignored)
			}
		}
	})
}

// TestHeatOfWhatAdapts: a limit that only has not been tried further makes no heat; one that the
// service has shown does.
func TestHeatOfWhatAdapts(t *testing.T) {
	g := NewGate(Config{Adaptive: &model.Adaptive{Min: 10, Max: 1000}}, 1)
	ask := func(now, took time.Duration) {
		for range 15 {
			g.Enter(now, model.ClassCritical, 0, nil)
		}
		for range 15 {
			g.Leave(now, took, model.ClassCritical, limit.Answered)
		}
		for range 10 {
			g.Enter(now, model.ClassCritical, 0, nil)
		}
		g.Heat(now)
		for range 10 {
			g.Leave(now, took, model.ClassCritical, limit.Ignored)
		}
	}
	now := time.Duration(0)
	for range 100 {
		now += 100 * time.Millisecond
		ask(now, 10*time.Millisecond)
	}
	if h := g.Heat(now).Share(); h > 0.05 {
		t.Errorf("heat %v, with 15 of %d tried and 1000 allowed", h, g.Status(now).Limit)
	}
	for range 30 { // fewer windows than a trial waits for
		now += 500 * time.Millisecond
		ask(now, time.Second)
	}
	if h := g.Heat(now).Share(); h < 0.5 {
		t.Errorf("heat %v, with 10 in flight of %d", h, g.Status(now).Limit)
	}
}
