package guard

import (
	"math/rand/v2"
	"testing"
	"time"

	"weir.dev/weir/model"
)

var latencyOnly = model.Guard{Latency: &model.LatencyGuard{Quantile: 0.99, MaxRatio: 1.5, Alpha: 0.001}, Stages: 4}

// answer feeds one answer of stable that took so long.
func (j *Judge) answer(d time.Duration) {
	b := j.Bounds()
	j.StableRow(0, false)
	j.StableTook(0, d)
	if b.Epoch != 0 {
		j.StableLate(0, uint16(j.arm.sum(every).all()), b.Epoch, d > b.Stable)
	}
}

// answerCanary feeds one of the canary.
func (j *Judge) answerCanary(user uint16, d time.Duration) (tripped bool) {
	b := j.Bounds()
	j.Canary(user, Outcome{Final: Good})
	return b.Epoch != 0 && j.CanaryLate(user, b.Epoch, d > b.Canary)
}

func TestBoundsAreLearned(t *testing.T) {
	j := New(latencyOnly, 1)
	ms := func(i int) time.Duration { return time.Duration(i%100+1) * time.Millisecond }
	near := func(got, want time.Duration) bool { return got > want*9/10 && got < want*11/10 }
	for i := range 199 {
		j.answer(ms(i))
	}
	if j.Unhealthy(); j.Bounds() != (Bounds{}) {
		t.Fatalf("bounds are %+v of 199 answers", j.Bounds())
	}
	j.answer(ms(0))
	j.Unhealthy()
	b := j.Bounds()
	if !near(b.Stable, 99*time.Millisecond) || b.Canary != b.Stable*3/2 || b.Epoch != 1 {
		t.Fatalf("bounds are %+v", b)
	}
	for i := range 50_000 {
		j.answer(ms(i))
		j.Unhealthy()
	}
	if now := j.Bounds(); now != b {
		t.Errorf("bounds have moved from %+v to %+v, and latency has not", b, now)
	}
	for i := range 50_000 {
		j.answer(3 * ms(i))
		j.Unhealthy()
	}
	if now := j.Bounds(); !near(now.Stable, 297*time.Millisecond) || now.Epoch <= b.Epoch {
		t.Errorf("bounds are %+v, and latency is three times what it was", now)
	}
}

// TestVerdictsByOtherBounds say nothing.
func TestVerdictsByOtherBounds(t *testing.T) {
	j := New(latencyOnly, 1)
	for range 200 {
		j.answer(time.Millisecond)
	}
	j.Unhealthy()
	epoch := j.Bounds().Epoch
	j.StableLate(0, 0, epoch, false)
	for _, other := range []uint16{0, epoch - 1, epoch + 1} {
		j.StableLate(0, 0, other, true)
		for i := range 100 {
			if j.CanaryLate(uint16(i), other, true) {
				t.Fatalf("epoch %d counts in %d", other, epoch)
			}
		}
	}
	if sum := j.arm.sum(late); sum.all() != 1 {
		t.Errorf("%d verdicts on stable were counted", sum.all())
	}
	if c := j.tests[late].canary.all; c != 0 {
		t.Errorf("%d verdicts on the canary were counted", c)
	}
}

// TestBlockIsOfOnePairOfBounds: what was judged by the last ones is not compared with what is by these.
func TestBlockIsOfOnePairOfBounds(t *testing.T) {
	j := New(latencyOnly, 1)
	for range 200 {
		j.answer(time.Millisecond)
	}
	j.Unhealthy()
	last := j.Bounds()
	for i := range 20 { // beside nothing of stable
		j.CanaryLate(uint16(i), last.Epoch, true)
	}
	for range 50_000 {
		j.answer(time.Second)
	}
	j.Unhealthy()
	if now := j.Bounds(); now.Epoch == last.Epoch {
		t.Fatalf("bounds are still %+v", now)
	}
	if open := j.tests[late].open; open != (block{}) {
		t.Errorf("the block still has %+v", open)
	}
	if j.answerCanary(30, time.Millisecond); j.tests[late].stable.all != 0 {
		t.Errorf("verdicts on stable by the last bounds count: %+v", j.tests[late].stable)
	}
}

// lognormal returns a latency with a median of 20 ms and a p99 of 102 ms.
func lognormal(r *rand.Rand) time.Duration {
	return time.Duration(20e6 * lognormalTable[r.Uint64()%uint64(len(lognormalTable))])
}

func TestLatency(t *testing.T) {
	for _, test := range []struct {
		name   string
		canary func(r *rand.Rand, d time.Duration) time.Duration
		caught bool
	}{
		{"the same", func(_ *rand.Rand, d time.Duration) time.Duration { return d }, false},
		{"1.4 times as long", func(_ *rand.Rand, d time.Duration) time.Duration { return d * 7 / 5 }, false},
		{"twice as long", func(_ *rand.Rand, d time.Duration) time.Duration { return d * 2 }, true},
		{"one in twenty hangs", func(r *rand.Rand, d time.Duration) time.Duration {
			if r.IntN(20) == 0 {
				return time.Minute
			}
			return d
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 1))
			j, caught := New(latencyOnly, 1), 0
			for i := range 20_000 {
				// Both arms slow down together, now and then.
				slow := time.Duration(1 + i/2000%3)
				for range 9 {
					j.answer(slow * lognormal(r))
				}
				if j.answerCanary(uint16(i), slow*test.canary(r, lognormal(r))) {
					caught = i + 1
					break
				}
			}
			if (caught > 0) != test.caught {
				t.Errorf("caught after %d, %+v: %+v", caught, j.Bounds(), j.Observe())
			}
		})
	}
}
