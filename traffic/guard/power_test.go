package guard

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/model"
)

// A regression is how often requests of both arms fail, each by itself.
type regression struct {
	borne          float64
	base, excess   float64 // stable's share of failures, and what the canary's is above
	share          float64 // the canary's, of requests
	rows           int     // consecutiveFailures
	after          int     // outcomes of the canary before it went bad
	runs, patience int     // how often it is simulated, for so many outcomes of the canary at most
}

// outcomes feeds requests until the guard has tripped or n of them were the canary's, and returns how many
// were. Of each both tests hear the same.
func (g regression) outcomes(j *Judge, r *rand.Rand, fails float64, n int) (canary int, tripped bool) {
	var beside uint64
	for canary < n {
		if r.Float64() >= g.share {
			if beside += one; r.Float64() < g.base {
				beside++
			}
			continue
		}
		for _, place := range []int{first, final, every} { // as Stable and StableRow do, one by one
			j.arm.at(0)[place].Add(beside)
		}
		beside = 0
		user := uint16(r.Uint64())
		canary++
		bad := r.Float64() < fails
		if j.Row(user, int64(canary), bad) || j.Canary(user, outcome(bad)) {
			return canary, true
		}
	}
	return canary, false
}

// found is how many requests of the canary it takes, in the middle and in 95 of 100 cases; trips is in
// how many cases it tripped at all.
type found struct{ median, p95, trips int }

func (g regression) simulate() found {
	r := rand.New(rand.NewPCG(11, uint64(g.runs)))
	guard := model.Guard{
		Errors:              &model.ErrorGuard{MaxDifference: g.borne, Alpha: 0.001},
		ConsecutiveFailures: g.rows, Stages: 4,
	}
	var took []int
	trips := 0
	warm := New(guard, 1)
	g.outcomes(warm, r, g.base, g.after)
	for range g.runs {
		j := New(guard, 1)
		j.continues(warm)
		n, tripped := g.outcomes(j, r, min(1, g.base+g.excess), g.patience)
		if took = append(took, n); tripped {
			trips++
		}
	}
	slices.Sort(took)
	return found{took[len(took)/2], took[len(took)*95/100], trips}
}

// continues takes over what another judge of one shard has seen.
func (j *Judge) continues(other *Judge) {
	j.tests, j.health = other.tests, other.health
	j.row.stable = other.row.stable
	for i := range j.arm[0].of {
		j.arm[0].of[i].Store(other.arm[0].of[i].Load())
	}
}

func (f found) cell(g regression) string {
	if f.trips == 0 {
		return "none"
	}
	in := func(n int) string {
		if n >= g.patience {
			return fmt.Sprintf("> %d", g.patience)
		}
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s / %s", in(f.median), in(f.p95))
}

// powerTable simulates excesses of failures over several baselines, with the shares 1, 10 and 50 %.
func powerTable(t *testing.T, like regression, excesses []float64, judge func(g regression, f found)) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| canary fails more by | stable fails | 1 % | 10 % | 50 % |\n|---|---|---|---|---|\n")
	for _, excess := range excesses {
		for _, base := range []float64{0, 0.001, 0.01} {
			fmt.Fprintf(&b, "| %v points | %v %% |", 100*excess, 100*base)
			for _, s := range shares {
				g := like
				g.base, g.excess, g.share = base, excess, s.share
				if g.runs, g.patience = 200, 2000; excess < 0.05 {
					g.runs, g.patience = 30, 10_000
				}
				if excess <= g.borne {
					g.patience = 5000
				}
				f := g.simulate()
				judge(g, f)
				fmt.Fprintf(&b, " %s |", f.cell(g))
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// TestPower: how many requests of the canary it takes to catch one that fails more often than stable.
func TestPower(t *testing.T) {
	if testing.Short() || racing {
		t.Skip("simulates for seconds")
	}
	t.Parallel()
	onPage(t, "power", powerTable(t, regression{}, []float64{0.005, 0.01, 0.05, 0.5, 1}, func(g regression, f found) {
		if g.excess >= 0.05 && f.trips < g.runs*9/10 {
			t.Errorf("%+v tripped in %d of %d runs", g, f.trips, g.runs)
		}
		if g.excess == 0.05 && g.base == 0 && g.share < 0.5 && (f.median > 150 || f.p95 > 400) {
			t.Errorf("%+v takes %+v, want 150 and 400", g, f)
		}
		if g.excess == 0.01 && g.base < 0.01 && g.share < 0.5 && f.trips < g.runs {
			t.Errorf("%+v tripped in %d of %d runs", g, f.trips, g.runs)
		}
	}))
}

// TestPowerBeyondWhatIsBorne: the same where a difference of one point is borne, which itself trips
// nothing.
func TestPowerBeyondWhatIsBorne(t *testing.T) {
	if testing.Short() || racing {
		t.Skip("simulates for seconds")
	}
	t.Parallel()
	like := regression{borne: 0.01}
	onPage(t, "power beyond one point", powerTable(t, like, []float64{0.01, 0.05, 0.5, 1}, func(g regression, f found) {
		if g.excess == 0.01 && f.trips > 0 {
			t.Errorf("%+v tripped in %d of %d runs, and it is borne", g, f.trips, g.runs)
		}
		if g.excess >= 0.5 && f.trips < g.runs {
			t.Errorf("%+v tripped in %d of %d runs", g, f.trips, g.runs)
		}
	}))
}

// TestRowsCatchAll: a canary of which all requests fail is caught by the fifth, unless it has so large a
// share that stable has hardly answered meanwhile.
func TestRowsCatchAll(t *testing.T) {
	if testing.Short() || racing {
		t.Skip("simulates for seconds")
	}
	t.Parallel()
	onPage(t, "rows", powerTable(t, regression{rows: 5}, []float64{1}, func(g regression, f found) {
		if f.median > 5 || g.share < 0.5 && f.p95 > 5 {
			t.Errorf("%+v takes %+v, want 5", g, f)
		}
	}))
}

// TestLatePower: the same as TestPower for a canary that goes bad after it was well for long.
func TestLatePower(t *testing.T) {
	if testing.Short() || racing {
		t.Skip("simulates for seconds")
	}
	t.Parallel()
	onPage(t, "late", powerTable(t, regression{after: 20_000}, []float64{0.05, 1}, func(g regression, f found) {
		if f.trips < g.runs*9/10 {
			t.Errorf("%+v tripped in %d of %d runs", g, f.trips, g.runs)
		}
	}))
}

// slower are the ways in which a canary's latency is worse than stable's.
var slower = []struct {
	name   string
	caught bool
	took   func(r *rand.Rand, d time.Duration) time.Duration
}{
	{"twice as slow", true, func(_ *rand.Rand, d time.Duration) time.Duration { return 2 * d }},
	{"three times as slow", true, func(_ *rand.Rand, d time.Duration) time.Duration { return 3 * d }},
	{"3 % hang", true, func(r *rand.Rand, d time.Duration) time.Duration {
		if r.Float64() < 0.03 {
			return time.Minute
		}
		return d
	}},
	{"10 % hang", true, func(r *rand.Rand, d time.Duration) time.Duration {
		if r.Float64() < 0.1 {
			return time.Minute
		}
		return d
	}},
	{"1.4 times as slow, which is borne", false, func(_ *rand.Rand, d time.Duration) time.Duration { return d * 7 / 5 }},
}

// TestLatencyPower: how many requests of the canary it takes to catch one that is slower. The bounds
// have been learned before.
func TestLatencyPower(t *testing.T) {
	if testing.Short() || racing {
		t.Skip("simulates for seconds")
	}
	t.Parallel()
	var b strings.Builder
	b.WriteString("| the canary | 1 % | 10 % | 50 % |\n|---|---|---|---|\n")
	for _, s := range slower {
		fmt.Fprintf(&b, "| %s |", s.name)
		for _, share := range shares {
			g := regression{share: share.share, runs: 40, patience: 5000}
			r := rand.New(rand.NewPCG(5, 5))
			var took []int
			for range g.runs {
				took = append(took, g.slow(r, s.took))
			}
			slices.Sort(took)
			f := found{took[g.runs/2], took[g.runs*95/100], slices.Index(took, g.patience)}
			if f.trips < 0 {
				f.trips = g.runs
			}
			if s.caught && f.trips < g.runs/2 || !s.caught && f.trips > 0 {
				t.Errorf("%s at %v: %+v", s.name, g.share, f)
			}
			fmt.Fprintf(&b, " %s |", f.cell(g))
		}
		b.WriteString("\n")
	}
	onPage(t, "latency", b.String())
}

// slow returns how many requests of the canary it took.
func (g regression) slow(r *rand.Rand, took func(*rand.Rand, time.Duration) time.Duration) int {
	j := New(latencyOnly, 1)
	for range 2000 {
		j.answer(lognormal(r))
		j.Unhealthy()
	}
	for canary := 0; ; {
		if r.Float64() >= g.share {
			j.answer(lognormal(r))
			continue
		}
		if canary++; canary >= g.patience || j.answerCanary(uint16(r.Uint64()%model.Buckets), took(r, lognormal(r))) {
			return canary
		}
	}
}
