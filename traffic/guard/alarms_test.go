package guard

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"weir.dev/weir/model"
)

// runsOfEach is how often each world is lived through with each share: 10,000 runs in all.
const runsOfEach = 334

// shares are the canary's, and how many requests of both arms are one run.
var shares = []struct {
	share    float64
	requests int
}{{0.01, 30_000}, {0.1, 12_000}, {0.5, 6_000}}

// alarms is how many of the runs in one world had a false one.
type alarms struct{ often, seldom, rows int } // of the tests at alpha 5 % and 0.1 %, of rows

// live returns the alarms of so many runs.
func (w world) live(runs int, share float64, requests int) (a alarms) {
	guard := func(alpha float64) model.Guard {
		g := model.Guard{Errors: &model.ErrorGuard{Alpha: alpha}, ConsecutiveFailures: 5}
		if w.slowness != nil {
			g = model.Guard{Latency: &model.LatencyGuard{Quantile: 0.99, MaxRatio: 1, Alpha: alpha}}
		}
		return g
	}
	for i := range runs {
		again := func(alpha float64) string {
			return w.run(rand.New(rand.NewPCG(7, uint64(i))), guard(alpha), share, requests)
		}
		switch again(0.05) {
		case "":
			continue // and so there is none at 0.1 %
		case "consecutiveFailures":
			a.rows++
			continue
		}
		a.often++
		if alarm := again(0.001); alarm != "" && alarm != "consecutiveFailures" {
			a.seldom++
		}
	}
	return a
}

// TestFalseAlarms: of a canary that is as good as stable the tests raise an alarm no more often than
// they were asked to, even where nothing at all is borne, in any of the worlds. Half of alpha is kept for
// the fleet, so these have the other half.
func TestFalseAlarms(t *testing.T) {
	runs := runsOfEach
	if testing.Short() || racing {
		runs = 20
	}
	found := make([][]alarms, len(worlds))
	t.Run("worlds", func(t *testing.T) {
		for i, w := range worlds {
			found[i] = make([]alarms, len(shares))
			for k, s := range shares {
				t.Run(fmt.Sprintf("%s/%v", w.name, s.share), func(t *testing.T) {
					t.Parallel()
					a := w.live(runs, s.share, s.requests)
					found[i][k] = a
					if most := atMost(runs, 0.025); a.often > most {
						t.Errorf("%d false alarms in %d runs at alpha 5 %%, %d at most", a.often, runs, most)
					}
				})
			}
		}
	})
	var all alarms
	for _, of := range found {
		for _, a := range of {
			all.often += a.often
			all.seldom += a.seldom
			all.rows += a.rows
		}
	}
	n := runs * len(worlds) * len(shares)
	if a, b, c := atMost(n, 0.025), atMost(n, 0.0005), atMost(n, 0.005); all.often > a || all.seldom > b || all.rows > c {
		t.Errorf("false alarms in %d runs: %+v; %d, %d and %d at most", n, all, a, b, c)
	}
	if runs == runsOfEach {
		onPage(t, "false alarms", alarmTable(found, all, n))
	}
}

// atMost is how many alarms of probability p come in n runs, but for one time in a thousand.
func atMost(n int, p float64) int {
	mean := float64(n) * p
	return int(mean + 3.1*math.Sqrt(mean*(1-p)) + 1)
}

func alarmTable(found [][]alarms, all alarms, n int) string {
	var b strings.Builder
	b.WriteString("| both arms alike | 1 % | 10 % | 50 % |\n|---|---|---|---|\n")
	for i, w := range worlds {
		fmt.Fprintf(&b, "| %s |", w.name)
		for _, a := range found[i] {
			fmt.Fprintf(&b, " %d", a.often)
			if a.rows > 0 {
				fmt.Fprintf(&b, ", row %d", a.rows)
			}
			b.WriteString(" |")
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "\nFalse alarms of the tests in %d runs of each, at `confidence: 95%%`: %d in %d runs, %.2f %%, where half of 5 %% may be.\n"+
		"At `confidence: 99.9%%`, in the same runs: %d, where %.0f may be. Rows (`consecutiveFailures: 5`): %d.\n",
		runsOfEach, all.often, n, 100*float64(all.often)/float64(n), all.seldom, 0.0005*float64(n), all.rows)
	return b.String()
}

// TestHourWithoutAlarm: an hour of 2,000 requests a second, with every test at its most sensitive.
func TestHourWithoutAlarm(t *testing.T) {
	if testing.Short() || racing {
		t.Skip("seven million requests")
	}
	const rate = 2000
	w := world{rate: always(rate), failing: always(0.002), slowness: always(1)}
	g := model.Guard{
		Errors:  &model.ErrorGuard{Alpha: 0.001},
		Latency: &model.LatencyGuard{Quantile: 0.99, MaxRatio: 1, Alpha: 0.001}, ConsecutiveFailures: 5, Stages: 4,
	}
	for _, s := range shares {
		t.Run(fmt.Sprint(s.share), func(t *testing.T) {
			t.Parallel()
			if alarm := w.run(rand.New(rand.NewPCG(3, 3)), g, s.share, 3600*rate); alarm != "" {
				t.Errorf("%s raised an alarm", alarm)
			}
		})
	}
}

// TestRowsInSuddenOutages: a half of everything fails from one moment on, and the canary has half of the
// traffic, which is where rows are worst. docs/guard.md has the figure.
func TestRowsInSuddenOutages(t *testing.T) {
	const outages = 4000
	r := rand.New(rand.NewPCG(9, 9))
	trips := 0
	for range outages {
		j := New(model.Guard{ConsecutiveFailures: 5}, 1)
		for i := range 600 {
			failed := i > 200 && r.Uint64()&1 == 0
			if r.Uint64()&1 == 0 {
				j.StableRow(0, failed)
			} else if j.Row(uint16(i), int64(i), failed) {
				trips++
				break
			}
			j.Unhealthy()
		}
	}
	if want := outages / 200; trips > want*3/2 || trips < want/3 {
		t.Errorf("%d rows in %d outages, and the page says %d", trips, outages, want)
	}
}
