package guard

import (
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
		for ; round < late+10 && !tripped; round++ { // in each every user asks once
			for _, b := range r.Perm(10_000) {
				user, bad := uint16(b), b%50 == 0
				if user >= 1000 {
					j.Stable(0, user, outcome(bad))
					continue
				}
				bad = bad || round >= late && b%20 == 1
				tripped = tripped || j.Canary(user, outcome(bad))
			}
		}
		if !tripped || round <= late {
			t.Errorf("bad from round %d on: after %d rounds tripped is %v", late, round, tripped)
		}
	}
}

// TestSpokenUsers: who has failed is left out, as long as no more than an eighth of all have failed since, and never
// more than a quarter.
func TestSpokenUsers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var c crowd
	var order []uint16 // who failed, the newest last
	heard := map[uint16]bool{}
	for range 20_000 {
		user, bad := uint16(r.IntN(6000)), r.IntN(3) == 0
		out := c.failed[final].has(user)
		if c.hears(final, user, verdict(bad), false) == out {
			t.Fatalf("user %d is heard, and left out is %v", user, out)
		}
		if out {
			continue
		}
		if heard[user] = true; bad {
			order = append(order, user)
		}
		part := max(len(heard)/partSpoken, fewSpoken)
		for _, u := range order[max(0, len(order)-len(heard)/partSpoken/2):] {
			if !c.failed[final].has(u) {
				t.Fatalf("%d of %d have failed, and %d of the newest is not left out", len(order), len(heard), u)
			}
		}
		n := 0
		for u := range uint16(model.Numbers) {
			if c.failed[final].has(u) {
				n++
			}
		}
		if n > 2*part {
			t.Fatalf("%d of %d are left out", n, len(heard))
		}
	}
	if n := int(c.all.Load()); n != len(heard) || c.failed[first].has(order[len(order)-1]) {
		t.Errorf("%d of %d were heard; the other test leaves out %v", n, len(heard), c.failed[first].has(order[len(order)-1]))
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
		if got := j.Row(7, 1, true); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestManyUsersWhoAlwaysFail: the same where each user asks again and again for long, so that any difference between
// the users whom chance has given to the arms would show in the end.
func TestManyUsersWhoAlwaysFail(t *testing.T) {
	if racing || testing.Short() {
		t.Skip("millions of requests")
	}
	g := model.Guard{Errors: &model.ErrorGuard{Alpha: 0.01}}
	for _, w := range []world{
		{name: "2 % of 2,000", users: 2_000, brokenUsers: 0.02},
		{name: "2 % of 20,000", users: 20_000, brokenUsers: 0.02},
		{name: "6 % of 20,000", users: 20_000, brokenUsers: 0.06},
		{name: "1 % of 100,000", users: 100_000, brokenUsers: 0.01},
	} {
		for _, share := range []float64{0.01, 0.1, 0.5, 0.9} {
			t.Run(w.name, func(t *testing.T) {
				t.Parallel()
				w.failing, w.rate = always(0.001), always(3300)
				for i := range uint64(4) {
					if alarm := w.run(rand.New(rand.NewPCG(12, i)), g, share, 1_500_000); alarm != "" {
						t.Errorf("share %v, run %d: %s raised an alarm", share, i, alarm)
					}
				}
			})
		}
	}
}
