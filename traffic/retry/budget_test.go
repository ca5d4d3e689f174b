package retry

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir.dev/weir/model"
)

const milli = int64(time.Millisecond)

func TestWorkedExample(t *testing.T) {
	b := NewBudget(2)
	spec := &model.RetryBudget{Share: 0.2, MinPerSecond: 3}
	b.Configure(spec)
	for i := range int64(100) {
		b.First(i*20*milli, int(i))
	}
	now := 2000 * milli
	for i := range 50 {
		if may, _ := b.Take(now, nil); !may {
			t.Fatalf("retry %d was denied", i+1)
		}
	}
	if may, _ := b.Take(now, nil); may {
		t.Fatal("a 51st retry")
	}
	if first, retries := b.Use(now); first != 100 || retries != 50 {
		t.Fatalf("it counts %d and %d", first, retries)
	}
	if got := b.Remaining(12_400*milli, nil); got != 0 {
		t.Fatalf("%d retries while those of before count", got)
	}
	if got := b.Remaining(12_500*milli, nil); got != 30 {
		t.Fatalf("%d retries when all is forgotten", got)
	}
}

func TestTheStricterHolds(t *testing.T) {
	for _, c := range []struct {
		name       string
		own, route *model.RetryBudget
		want       int64
	}{
		{"neither", nil, nil, Unlimited},
		{"the cluster's", &model.RetryBudget{Share: 0.1}, nil, 10},
		{"the route's", nil, &model.RetryBudget{Share: 0.3, MinPerSecond: 1}, 40},
		{"the cluster's is stricter", &model.RetryBudget{Share: 0.29}, &model.RetryBudget{MinPerSecond: 5}, 29},
		{"the route's is stricter", &model.RetryBudget{MinPerSecond: 5}, &model.RetryBudget{Share: 0.01}, 1},
		{"no retries at all", &model.RetryBudget{}, &model.RetryBudget{Share: 1}, 0},
	} {
		b := NewBudget(1)
		b.Configure(c.own)
		for range 100 {
			b.First(0, 0)
		}
		if got := b.Remaining(0, c.route); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestRetriesOfOthersCount(t *testing.T) {
	b := NewBudget(1)
	for range 100 {
		b.First(0, 0)
	}
	for range 15 {
		b.Take(0, nil) // of a route without a budget
	}
	if got := b.Remaining(0, &model.RetryBudget{Share: 0.2}); got != 5 {
		t.Errorf("%d remain, want 5", got)
	}
	b.Configure(&model.RetryBudget{Share: 0.16})
	if got := b.Remaining(0, nil); got != 1 {
		t.Errorf("after an edit %d remain, want 1", got)
	}
}

// TestModesOfBudgets: each of two budgets acts as its own mode says. One that observes denies nothing,
// and would have denied as many as it denies when it enforces and nothing else has changed.
func TestModesOfBudgets(t *testing.T) {
	spec := func(share float64, m model.Mode) *model.RetryBudget { return &model.RetryBudget{Share: share, Mode: m} }
	const enforce, observe, disabled = model.ModeEnforce, model.ModeObserve, model.ModeDisabled
	for _, c := range []struct {
		name       string
		own, route *model.RetryBudget
		may, would int // of 50 retries after 100 first tries; would: of those made, how many would be denied
		left       int64
	}{
		{"enforced", spec(0.1, enforce), nil, 10, 0, 0},
		{"observed", spec(0.1, observe), nil, 50, 40, 0},
		{"disabled", spec(0.1, disabled), nil, 50, 0, Unlimited},
		{"the route's observed", nil, spec(0.2, observe), 50, 30, 0},
		{"both observed: one count of each", spec(0.1, observe), spec(0.2, observe), 50, 40, 0},
		{"the stricter observed", spec(0.1, observe), spec(0.3, enforce), 30, 20, 0},
		{"the looser observed", spec(0.3, observe), spec(0.1, enforce), 10, 0, 0},
		{"the stricter disabled", spec(0, disabled), spec(0.4, enforce), 40, 0, 0},
	} {
		b := NewBudget(1)
		b.Configure(c.own)
		for range 100 {
			b.First(0, 0)
		}
		made, beyond := 0, 0
		for range 50 {
			if may, within := b.Take(0, c.route); may {
				if made++; !within {
					beyond++
				}
			}
		}
		if made != c.may || beyond != c.would || b.Remaining(0, c.route) != c.left {
			t.Errorf("%s: %d made, of which %d would not be, and %d are left", c.name, made, beyond, b.Remaining(0, c.route))
		}
		if _, retries := b.Use(0); retries != int64(made) {
			t.Errorf("%s: %d are counted", c.name, retries)
		}
	}
}

// TestEnforceAfterObserve: what was made while a budget observed counts once it enforces.
func TestEnforceAfterObserve(t *testing.T) {
	b := NewBudget(1)
	b.Configure(&model.RetryBudget{MinPerSecond: 1, Mode: model.ModeObserve})
	for range 15 {
		b.Take(0, nil)
	}
	b.Configure(&model.RetryBudget{MinPerSecond: 1})
	if may, _ := b.Take(0, nil); may {
		t.Error("a 16th of 10 is let through")
	}
	if may, _ := b.Take(10_500*milli, nil); !may {
		t.Error("none is let through when all is forgotten")
	}
}

// TestPretendedRetries: those that only would be made count for what observes, and not for what acts.
func TestPretendedRetries(t *testing.T) {
	b := NewBudget(1)
	route := &model.RetryBudget{MinPerSecond: 1, Mode: model.ModeObserve}
	for range 8 {
		if !b.Pretend(0, route) {
			t.Fatal("it would be denied too soon")
		}
	}
	for i, want := range []bool{true, true, false} {
		if may, within := b.Take(0, route); !may || within != want {
			t.Errorf("retry %d: made %v, within %v", i+1, may, within)
		}
	}
	if b.Pretend(0, route) {
		t.Error("one more would be let through")
	}
	if _, retries := b.Use(0); retries != 3 {
		t.Errorf("%d are counted as made", retries)
	}
	for i := range 7 {
		if may, _ := b.Take(0, &model.RetryBudget{MinPerSecond: 1}); !may {
			t.Errorf("retry %d is denied for what nobody has sent", i+4)
		}
	}
}

func TestANilBudgetCountsNothing(t *testing.T) {
	var b *Budget
	b.First(0, 0)
}

// TestAgainstOracle: with every try in a list, a retry that is let through never breaks the
// rule, and one is let through whenever the rule holds with half a second to spare at both ends.
func TestAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := &model.RetryBudget{
			Share:        float64(rapid.IntRange(0, 100).Draw(t, "percent")) / 100,
			MinPerSecond: rapid.IntRange(0, 3).Draw(t, "floor"),
		}
		b := NewBudget(rapid.IntRange(1, 4).Draw(t, "shards"))
		b.Configure(spec)
		var first, retries []int64
		within := func(list []int64, since int64) (n int) {
			for _, at := range list {
				if at > since {
					n++
				}
			}
			return n
		}
		bound := func(n int) int { return int(spec.Share*float64(n)+1e-6) + 10*spec.MinPerSecond }
		start := int64(rapid.IntRange(0, 1<<40).Draw(t, "start"))
		now := start
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				now += int64(rapid.IntRange(0, 12_000).Draw(t, "long")) * milli
			case 1, 2:
				now += int64(rapid.IntRange(0, 700).Draw(t, "short")) * milli
			case 3, 4, 5:
				b.First(now, rapid.IntRange(0, 9).Draw(t, "shard"))
				first = append(first, now)
			default:
				took, _ := b.Take(now, nil)
				if after := within(retries, now-int64(Window)) + 1; took && after > bound(within(first, now-int64(Window))) {
					t.Fatalf("retry %d of the last 10 s, bound %d", after, bound(within(first, now-int64(Window))))
				}
				if after := within(retries, now-int64(Window+slice)) + 1; !took && after <= bound(within(first, now-int64(Window-slice))) {
					t.Fatalf("denied, though it would be only the %dth", after)
				}
				if took {
					retries = append(retries, now)
				}
			}
		}
		if allowed := float64(len(first))*spec.Share + float64(10*spec.MinPerSecond)*(float64(now-start)/float64(Window)+1); float64(len(retries)) > allowed+1e-6 {
			t.Fatalf("%d retries after %d first tries", len(retries), len(first))
		}
	})
}

// TestExactAtTheBound: however many ask at once, exactly as many retries go through as the
// budget has, and no first try is lost.
func TestExactAtTheBound(t *testing.T) {
	const workers, each = 8, 20_000
	b := NewBudget(3)
	b.Configure(&model.RetryBudget{Share: 0.25, MinPerSecond: 1})
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := range int64(each) {
				b.First(i/1000*100*milli, w)
			}
		})
	}
	group.Wait()
	var let atomic.Int64
	for range workers {
		group.Go(func() {
			for range each {
				if may, _ := b.Take(1900*milli, nil); may {
					let.Add(1)
				}
			}
		})
	}
	group.Wait()
	if first, retries := b.Use(1900 * milli); first != workers*each || retries != workers*each/4+10 || let.Load() != retries {
		t.Errorf("%d first tries, %d retries, %d let through", first, retries, let.Load())
	}
}

// TestBothAtOnce: while first tries come from everywhere, the rule holds at each retry.
func TestBothAtOnce(t *testing.T) {
	b := NewBudget(4)
	b.Configure(&model.RetryBudget{Share: 0.2})
	var begun, let, clock atomic.Int64
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			for range 5000 {
				begun.Add(1) // before: what is counted has begun
				b.First(clock.Add(milli/100), w)
				if may, _ := b.Take(clock.Load(), nil); may {
					n := let.Add(1)
					if float64(n) > 0.2*float64(begun.Load())+1e-6 {
						t.Errorf("%d retries of %d first tries", n, begun.Load())
					}
				}
			}
		})
	}
	group.Wait()
	if let.Load() < 3000 {
		t.Errorf("only %d retries", let.Load())
	}
}

func TestAClockThatIsBehind(t *testing.T) {
	b := NewBudget(1)
	b.Configure(&model.RetryBudget{Share: 0.5})
	for range 10 {
		b.First(100_000*milli, 0)
	}
	b.First(100_000*milli-int64(slices)*int64(slice), 0) // the same slot, a whole window before
	if first, _ := b.Use(100_000 * milli); first != 10 {
		t.Errorf("%d first tries", first)
	}
	for range 5 {
		b.Take(99_000*milli, nil)
	}
	soon, _ := b.Take(99_000*milli, nil)
	late, _ := b.Take(109_900*milli, nil)
	if soon || late {
		t.Error("a retry that was counted late is forgotten early")
	}
}

func TestBackoff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &model.Retry{On: []model.RetryOn{}, BackoffBase: 25 * time.Millisecond, BackoffMax: 250 * time.Millisecond}
		n, bits := rapid.IntRange(1, 100).Draw(t, "n"), rapid.Uint64().Draw(t, "bits")
		bound := 250 * time.Millisecond
		if n <= 4 {
			bound = 25 * time.Millisecond << (n - 1)
		}
		if d := Backoff(r, n, bits); d < 0 || d > bound {
			t.Fatalf("retry %d waits %v of %v", n, d, bound)
		}
		if d := Backoff(r, n, uint64(bound)); d != bound {
			t.Fatalf("the bound is never reached: %v", d)
		}
		own := &model.Retry{Backoff: 10 * time.Millisecond}
		if d := Backoff(own, n, bits); d < 10*time.Millisecond || d > 20*time.Millisecond {
			t.Fatalf("a rule's own retry waits %v", d)
		}
	})
	if d := Backoff(&model.Retry{}, 1, math.MaxUint64); d != 0 {
		t.Errorf("without a backoff it is %v", d)
	}
}

func BenchmarkFirst(b *testing.B) {
	budget := NewBudget(2)
	var next atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		shard := int(next.Add(1))
		for pb.Next() {
			budget.First(int64(time.Hour), shard)
		}
	})
}

func BenchmarkTake(b *testing.B) {
	budget := NewBudget(2)
	spec := &model.RetryBudget{Share: 0.2}
	for b.Loop() {
		budget.Take(int64(time.Hour), spec)
	}
}
