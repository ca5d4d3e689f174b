package stats

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestScaleWorkedExample(t *testing.T) {
	s := Scale{Unit: 50 * time.Microsecond, Bits: 1, Buckets: 43}
	for i, upper := range []time.Duration{50, 100, 150, 200, 300, 400, 600, 800} {
		if got := s.Upper(i); got != upper*time.Microsecond {
			t.Errorf("bucket %d ends at %v, want %v µs", i, got, int64(upper))
		}
	}
	if got := s.Bucket(230 * time.Microsecond); got != 4 {
		t.Errorf("230 µs are in bucket %d, want 4", got)
	}
}

// TestEveryDurationHasItsBucket: of every scale, a duration is in the bucket whose bounds are
// around it, and no bucket but those of the first units is wider than it should be.
func TestEveryDurationHasItsBucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Scale{
			Unit: time.Duration(rapid.IntRange(1, 100_000).Draw(t, "unit")),
			Bits: rapid.IntRange(0, 5).Draw(t, "bits"),
		}
		s.Buckets = rapid.IntRange(2<<s.Bits+1, 200).Draw(t, "buckets")
		d := time.Duration(rapid.Int64().Draw(t, "d"))
		b := s.Bucket(d)
		if b < 0 || b >= s.Buckets {
			t.Fatalf("%v is in bucket %d of %d", d, b, s.Buckets)
		}
		low := time.Duration(0)
		if b > 0 {
			if low = s.Upper(b - 1); d <= low {
				t.Fatalf("%v is in bucket %d, which begins above %v", d, b, low)
			}
		}
		if b == s.Buckets-1 {
			return
		}
		if d > s.Upper(b) {
			t.Fatalf("%v is in bucket %d, which ends at %v", d, b, s.Upper(b))
		}
		if width := s.Upper(b) - low; width > s.Unit && width > low>>s.Bits {
			t.Fatalf("bucket %d from %v is %v wide", b, low, width)
		}
	})
}

func TestQuantileIsNearTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		durations := rapid.SliceOfN(rapid.Int64Range(int64(64*time.Microsecond), int64(time.Minute)), 1, 300).Draw(t, "durations")
		q := rapid.SampledFrom([]float64{0, 0.5, 0.95, 1}).Draw(t, "q")
		var c Counts
		for _, d := range durations {
			c.Observe(time.Duration(d))
		}
		slices.Sort(durations)
		at := 0
		for float64(at+1) < q*float64(len(durations)) {
			at++
		}
		want, got := float64(durations[at]), float64(c.Quantile(q))
		if got < want*(1-0.126) || got > want*(1+0.126) {
			t.Fatalf("quantile %v is %v, want %v", q, time.Duration(got), time.Duration(want))
		}
	})
}

func TestQuantileOfNothingAndOfTheEndless(t *testing.T) {
	var c Counts
	if got := c.Quantile(0.5); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
	c.Observe(time.Hour)
	if got := c.Quantile(0.5); got < 67*time.Second || got > 68*time.Second {
		t.Errorf("of an hour: %v, want where the last bucket begins, 67 s", got)
	}
}

func TestLatenciesLoseNothing(t *testing.T) {
	l := NewLatencies(3)
	var got Counts
	const each, writers = 20_000, 4
	var work sync.WaitGroup
	for w := range writers {
		work.Go(func() {
			for i := range each {
				l.Observe(w, time.Duration(i)*time.Microsecond)
			}
		})
	}
	done := make(chan struct{})
	go func() { work.Wait(); close(done) }()
	for drained := false; !drained; {
		select {
		case <-done:
			drained = true
		default:
		}
		l.Drain(&got)
	}
	if got.Count() != each*writers {
		t.Errorf("%d of %d", got.Count(), each*writers)
	}
	if n := testing.AllocsPerRun(100, func() { l.Observe(1, time.Second) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRecentWorkedExample(t *testing.T) {
	at := func(seconds float64) int64 { return int64(seconds * float64(time.Second)) }
	r := NewRecent(2, 6, 10*time.Second)
	if d, n := r.Quantile(at(0), 0.5); d != 0 || n != 0 {
		t.Errorf("at first: %v of %d", d, n)
	}
	for s := 5; s < 70; s += 10 {
		r.Quantile(at(float64(s)), 0.5) // somebody looks at times
		r.Observe(s, time.Second)
		r.Quantile(at(float64(s)+2), 0.5)
	}
	for _, step := range []struct {
		at   float64
		want uint64
	}{{69, 6}, {70, 5}, {119, 1}, {120, 0}, {500, 0}} {
		if _, n := r.Quantile(at(step.at), 0.5); n != step.want {
			t.Errorf("at %v s there are %d, want %d", step.at, n, step.want)
		}
	}
	r.Observe(0, time.Second)
	if _, n := r.Quantile(at(500.5), 0.5); n != 0 {
		t.Error("it is not looked at once a tenth of a slice")
	}
	if d, n := r.Quantile(at(501), 0.5); n != 1 || d < 900*time.Millisecond || d > 1100*time.Millisecond {
		t.Errorf("afterwards: %v of %d", d, n)
	}
	if d, n := r.Quantile(at(3), 0.5); n != 1 || d == 0 {
		t.Error("a clock that is behind loses what was counted")
	}
}

func TestRecentUnderConcurrency(t *testing.T) {
	r := NewRecent(4, 6, time.Second)
	var work sync.WaitGroup
	for w := range 4 {
		work.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(w)))
			for i := range 20_000 {
				r.Observe(w, time.Duration(random.Int64N(int64(time.Second))))
				r.Quantile(int64(i)*int64(10*time.Microsecond), 0.95)
			}
		})
	}
	work.Wait()
	d, n := r.Quantile(int64(time.Second)-1, 0.95)
	if n != 80_000 || d < 900*time.Millisecond || d > time.Second {
		t.Errorf("%v of %d", d, n)
	}
}
