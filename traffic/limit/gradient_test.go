package limit

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// service is a model of what is behind the limit: so many workers, a line before them, and
// service times that are exponential.
type service struct {
	random  *rand.Rand
	workers int
	mean    time.Duration
	sigma   float64 // of times that are log-normal; 0: they are exponential
	busy    int
	line    []time.Duration // when each came
	ends    ends
}

type end struct{ at, came time.Duration }

type ends []end

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].at < e[j].at }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(v any)        { *e = append(*e, v.(end)) }
func (e *ends) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}

func (s *service) start(now, came time.Duration) {
	s.busy++
	takes := s.random.ExpFloat64()
	if s.sigma > 0 {
		takes = math.Exp(s.sigma*s.random.NormFloat64() - s.sigma*s.sigma/2)
	}
	heap.Push(&s.ends, end{now + time.Duration(takes*float64(s.mean)), came})
}

func (s *service) arrive(now time.Duration) {
	if s.busy < s.workers {
		s.start(now, now)
	} else {
		s.line = append(s.line, now)
	}
}

func (s *service) finish() end {
	e := heap.Pop(&s.ends).(end)
	s.busy--
	for s.busy < s.workers && len(s.line) > 0 {
		came := s.line[0]
		s.line = s.line[1:]
		s.start(e.at, came)
	}
	return e
}

// run offers requests at a rate until a time, and returns what was served in a second and took
// on average over the last quarter, and how the limit stood in it, at least and at most.
type figures struct {
	perSecond, latency float64
	low, high          int
}

func run(g *Gradient, s *service, from, until time.Duration, rate float64) (f figures) {
	return runAndWatch(g, s, from, until-(until-from)/4, until, rate)
}

// runAndWatch is run with another time from which on it counts.
func runAndWatch(g *Gradient, s *service, from, watched, until time.Duration, rate float64) (f figures) {
	inFlight := len(s.ends) + len(s.line)
	served, sum := 0.0, 0.0
	f.low = 1 << 30
	next := from
	for {
		if len(s.ends) > 0 && s.ends[0].at <= next {
			e := s.finish()
			if e.at >= watched {
				served++
				sum += (e.at - e.came).Seconds()
				f.low, f.high = min(f.low, g.Limit()), max(f.high, g.Limit())
			}
			g.Observe(e.at, e.at-e.came, inFlight, Answered)
			inFlight--
			continue
		}
		if next >= until {
			break
		}
		if inFlight < g.Limit() {
			inFlight++
			s.arrive(next)
		} else {
			g.Press()
		}
		next += time.Duration(s.random.ExpFloat64() / rate * 1e9)
	}
	f.perSecond = served / (until - watched).Seconds()
	f.latency = sum / served
	return f
}

// TestUntriedIsUnknown: a limit that nobody comes near does not grow.
func TestUntriedIsUnknown(t *testing.T) {
	g := NewGradient(10, 1000)
	for i := range 10_000 {
		g.Observe(time.Duration(i)*10*time.Millisecond, time.Millisecond, 3, Answered)
	}
	if n := g.Limit(); n != 20 {
		t.Errorf("the limit is %d with three in flight", n)
	}
	for i := range 10_000 {
		g.Observe(time.Duration(i+10_000)*10*time.Millisecond, time.Millisecond, g.Limit(), Answered)
	}
	if n := g.Limit(); n != 1000 {
		t.Errorf("the limit is %d of 1000 while all is fast and busy", n)
	}
}

// TestTimeoutsLower: failures that say "too much" lower the limit without any latency, and those
// that say nothing do not.
func TestTimeoutsLower(t *testing.T) {
	for _, test := range []struct {
		o    Outcome
		want int
	}{{Dropped, 5}, {Ignored, 100}} {
		g := NewGradient(5, 1000)
		g.Bound(100, 1000)
		g.Bound(5, 1000)
		for i := range 1000 {
			g.Observe(time.Duration(i)*10*time.Millisecond, time.Second, 3, test.o)
		}
		if n := g.Limit(); n != test.want {
			t.Errorf("outcome %d: the limit is %d, want %d", test.o, n, test.want)
		}
	}
}

// TestBounds: whatever comes, the limit stays within its bounds, which may change.
func TestBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		low, high := rapid.IntRange(-5, 50).Draw(t, "min"), rapid.IntRange(-5, 200).Draw(t, "max")
		g := NewGradient(low, high)
		now := time.Duration(0)
		for range rapid.IntRange(0, 400).Draw(t, "n") {
			now += time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "gap"))
			g.Observe(now, time.Duration(rapid.Int64Range(-1, 1e11).Draw(t, "took")), rapid.IntRange(0, 500).Draw(t, "in"),
				Outcome(rapid.IntRange(0, 2).Draw(t, "outcome")))
			if rapid.IntRange(0, 50).Draw(t, "edit") == 0 {
				low, high = rapid.IntRange(-5, 50).Draw(t, "min"), rapid.IntRange(-5, 200).Draw(t, "max")
				g.Bound(low, high)
			}
			if n := g.Limit(); n < max(low, 1) || n > max(high, low, 1) {
				t.Fatalf("the limit is %d, of %d to %d", n, low, high)
			}
		}
	})
}

// TestManyAtOnce is for the race detector.
func TestManyAtOnce(t *testing.T) {
	g := NewGradient(5, 100)
	var all sync.WaitGroup
	for k := range 8 {
		all.Go(func() {
			for i := range 5000 {
				g.Observe(time.Duration(i)*time.Millisecond, time.Duration(k+1)*time.Millisecond, k, Outcome(i%3))
				g.State()
				if i%1000 == 0 {
					g.Bound(1+k, 100+k)
				}
			}
		})
	}
	all.Wait()
}
