package guard

import (
	"math"
	"math/rand/v2"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/traffic/sample"
)

// A world is users whose requests fail for reasons that have nothing to do with the arm that they
// are in: whatever alarm is raised in it is false. Time is counted in seconds and passes by itself.
type world struct {
	name string
	// rate is requests a second of both arms together, about perSecond, and failing the probability that a
	// request fails, at a time.
	rate, failing func(now float64) float64
	// activity is how much one user asks for beside others.
	activity func(user int) float64
	// session is how many requests of a user follow one another on average, and brokenSession the
	// probability that all of one fail.
	session       float64
	brokenSession float64
	// slowness is what latencies are multiplied by, at a time; nil: nobody looks at them.
	slowness func(now float64) float64
	// brokenUsers is the share of users of whom every request fails.
	brokenUsers float64
	users       int // 0: worldUsers
}

const (
	worldUsers = 4096
	perSecond  = 100.0
	spacing    = 10 // seconds between tested requests of a user, as the proxy has it
	sessions   = 64 // at a time
)

func always(v float64) func(float64) float64 { return func(float64) float64 { return v } }

func alike(int) float64 { return 1 }

// worlds are all that a canary that is as good as stable has to live through.
var worlds = []world{
	{name: "nothing ever fails", failing: always(0)},
	{name: "steady, 0.5 % fail", failing: always(0.005)},
	{name: "users in bursts that fail as a whole", failing: always(0.001), session: 20, brokenSession: 0.01},
	{name: "drift from 0.1 % to 8 %", failing: func(now float64) float64 { return min(0.08, 0.001+now*0.0002) }},
	{name: "shared outages, partial and total", failing: outages},
	{
		name:    "waves of load and failures",
		rate:    func(now float64) float64 { return perSecond * (1 + 0.9*math.Sin(now/20)) },
		failing: func(now float64) float64 { return 0.02 * (1 + math.Sin(now/20+1)) },
	},
	{name: "a few users ask for most", failing: always(0.01), activity: func(u int) float64 { return 1 / float64(u+1) }},
	{name: "one user in 500 always fails", failing: always(0.001), brokenUsers: 0.002},
	{name: "latency comes and goes", failing: always(0), slowness: func(now float64) float64 { return 2 + math.Sin(now/20) }},
	{name: "sudden slowness, shared", failing: always(0), slowness: func(now float64) float64 { return 1 + 9*math.Floor(math.Mod(now/30, 2)) }},
}

// outages come every 40 seconds and last for 8: a half of the requests fails, then all do.
func outages(now float64) float64 {
	at := math.Mod(now, 80)
	switch {
	case at > 20 && at < 28:
		return 0.5
	case at > 60 && at < 68:
		return 1
	}
	return 0.001
}

type worldUser struct {
	user   sample.User
	broken bool
}

// run feeds so many requests of a world to a judge, and returns which tests raised the alarm.
func (w world) run(r *rand.Rand, guard model.Guard, share float64, requests int) (alarm string) {
	j := New(guard, 1)
	rate, session, activity := w.rate, w.session, w.activity
	if rate == nil {
		rate = always(perSecond)
	}
	if activity == nil {
		activity = alike
	}
	users := w.drawn(r, activity)
	var open [sessions]struct {
		user worldUser
		bad  bool
	}
	for i := range open {
		open[i].user = users[r.IntN(len(users))]
	}
	var tested [2][model.Numbers]float64 // of either arm
	canaries := uint16(share * model.Buckets)
	now := float64(spacing)
	for range requests {
		now += r.ExpFloat64() / rate(now-spacing)
		s := &open[r.IntN(sessions)]
		if r.Float64()*session < 1 {
			s.user, s.bad = users[r.IntN(len(users))], r.Float64() < w.brokenSession
		}
		failed := s.bad || s.user.broken || r.Float64() < w.failing(now-spacing)
		// A retry helps half of those that fail.
		o := Outcome{verdict(failed), verdict(failed && (s.bad || s.user.broken || r.Uint64()&1 == 0))}
		number, isCanary, of := s.user.user.Number(), s.user.user.Bucket() < canaries, &tested[0]
		if isCanary {
			of = &tested[1]
		}
		counts := now-of[number] >= spacing
		if counts {
			of[number] = now
		}
		if !isCanary {
			j.StableRow(0, o.Final == Bad)
		}
		if counts && !isCanary {
			j.Stable(0, number, o)
		}
		tripped := isCanary && (j.Row(number, int64(now*1e9), o.Final == Bad) || counts && j.Canary(number, o))
		if w.slowness != nil {
			took := time.Duration(w.slowness(now-spacing) * float64(lognormal(r)))
			tripped = j.timed(number, isCanary, counts, took) || tripped
		}
		if tripped {
			trip, _ := j.Tripped()
			return trip.Test.Name
		}
	}
	return ""
}

// timed feeds how long a request took.
func (j *Judge) timed(user uint16, isCanary, counts bool, took time.Duration) (tripped bool) {
	b := j.Bounds()
	if !isCanary {
		j.StableTook(0, took)
	}
	switch {
	case !counts || b.Epoch == 0:
		return false
	case isCanary:
		return j.CanaryLate(user, b.Epoch, took > b.Canary)
	}
	j.StableLate(0, user, b.Epoch, took > b.Stable)
	return false
}

// drawn returns users to draw from, so often as they ask.
func (w world) drawn(r *rand.Rand, activity func(int) float64) []worldUser {
	n := w.users
	if n == 0 {
		n = worldUsers
	}
	var sum float64
	for u := range n {
		sum += activity(u)
	}
	var all []worldUser
	var owed float64
	for u := range n {
		user := worldUser{sample.User(r.Uint64()), r.Float64() < w.brokenUsers}
		for owed += float64(n) * activity(u) / sum; owed >= 1; owed-- {
			all = append(all, user)
		}
	}
	return all
}

// lognormalTable has the quantiles of a lognormal distribution with a p99 of 5.1 times its median.
var lognormalTable = func() (table [4096]float64) {
	for i := range table {
		p := (float64(i) + 0.5) / float64(len(table))
		table[i] = math.Exp(0.7 * math.Sqrt2 * math.Erfinv(2*p-1))
	}
	return table
}()
