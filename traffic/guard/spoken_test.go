package guard

import (
	"math"
	"math/rand/v2"
	"testing"

	"weir.dev/weir/model"
)

// TestUsersWhoAlwaysFail: some users fail whatever serves them, each of them as often as they ask. Which
// arm has more of them is chance, and no alarm comes of it however long it goes on.
func TestUsersWhoAlwaysFail(t *testing.T) {
	if racing {
		t.Skip("millions of requests")
	}
	w := world{failing: always(0.001), brokenUsers: 0.02, rate: always(1000)}
	g := model.Guard{Errors: &model.ErrorGuard{Alpha: 0.01}}
	runs, requests := 60, 150_000
	if testing.Short() {
		runs = 20
	}
	alarms := 0
	for i := range runs {
		if w.run(rand.New(rand.NewPCG(11, uint64(i))), g, 0.1, requests) != "" {
			alarms++
		}
	}
	if most := atMost(runs, 0.005); alarms > most {
		t.Errorf("%d false alarms in %d runs at alpha 1 %%, %d at most", alarms, runs, most)
	}
}

// TestCanaryThatFailsSomeUsers: one in 50 fails wherever they are, and of the canary's one in 20 more. That is
// found, whether it is so from the beginning or comes late.
func TestCanaryThatFailsSomeUsers(t *testing.T) {
	for _, late := range []int{0, 40} {
		r := rand.New(rand.NewPCG(5, uint64(late)))
		j := New(model.Guard{Errors: &model.ErrorGuard{Alpha: 0.001}, Stages: 4}, 1)
		round, tripped := 0, false
		for ; round < late+10 && !tripped; round++ { // in each every bucket asks once
			for _, b := range r.Perm(model.Buckets) {
				bucket, bad := uint16(b), b%50 == 0
				if bucket >= 1000 {
					j.Stable(0, outcome(bad))
					continue
				}
				bad = bad || round >= late && b%20 == 1
				tripped = tripped || j.Canary(bucket, outcome(bad))
			}
		}
		if !tripped || round <= late {
			t.Errorf("bad from round %d on: after %d rounds tripped is %v", late, round, tripped)
		}
	}
}

// TestSpokenUsers: who has failed is left out, but no more than the root of all, and those the newest.
func TestSpokenUsers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var s spoken
	var order []uint16 // who failed, the newest last
	heard := map[uint16]bool{}
	for range 20_000 {
		bucket := uint16(r.IntN(6000))
		if s.has(bucket) {
			continue
		}
		s.hear(bucket)
		heard[bucket] = true
		if r.IntN(3) > 0 {
			s.add(bucket)
			order = append(order, bucket)
		}
		most := max(int(math.Sqrt(float64(len(heard)))), 4)
		if s.all != len(heard) || s.kept > most {
			t.Fatalf("%d of %d are left out, of %d", s.kept, s.all, len(heard))
		}
		for i, b := range order {
			if out := i >= len(order)-s.kept; out && !s.has(b) {
				t.Fatalf("%d is not left out, %d after it are", b, len(order)-i-1)
			}
		}
		order = order[max(0, len(order)-mostSpoken):]
	}
	var bits int
	for b := range uint16(model.Buckets) {
		if s.failed.has(b) {
			bits++
		}
	}
	if bits != s.kept || s.kept != int(math.Sqrt(float64(len(heard)))) {
		t.Errorf("%d are left out, and %d counted", bits, s.kept)
	}
}

// TestRowOfOne: whoever wants the first failure to count has it count, once stable is known to be well.
func TestRowOfOne(t *testing.T) {
	for name, test := range map[string]struct {
		stable, bad int
		want        bool
	}{
		"nothing is known of stable": {0, 0, false},
		"stable is well":             {20, 0, true},
		"stable is not":              {20, 10, false},
	} {
		j := New(model.Guard{ConsecutiveFailures: 1}, 1)
		for i := range test.stable {
			j.StableRow(0, i%2 == 0 && i/2 < test.bad)
		}
		if got := j.Row(7, true); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
