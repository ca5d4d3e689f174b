package cluster

import (
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/health"
)

// late is what becomes of a try at a host that is slow, or hangs.
var late = Outcome{Result: health.Unanswered, Latency: 300 * time.Millisecond}

// copied is of a copy.
var copied = Outcome{Result: health.Unanswered, Copy: true}

// firstOf has the first n hosts end their tries like this.
func firstOf(n int, o Outcome) func(int) Outcome {
	return func(host int) Outcome {
		if host < n {
			return o
		}
		return good(host)
	}
}

// someOf has all hosts end this share of their tries like this, in an order that is like chance.
func someOf(share float64, o Outcome) func(int) Outcome {
	state := uint64(1)
	return func(host int) Outcome {
		state = state*6364136223846793005 + 1442695040888963407
		if float64(state>>11)/(1<<53) < share {
			return o
		}
		return good(host)
	}
}

// ejections returns how many there were.
func ejections(s *Set) (n uint64) {
	for _, h := range s.Hosts() {
		n += h.Ejections
	}
	return n
}

// TestAllAtOnceEjectNobody: what befalls all hosts is no host's fault, however it shows itself,
// how many there are, and how often they are asked.
func TestAllAtOnceEjectNobody(t *testing.T) {
	all := func(o Outcome) func(int) Outcome { return firstOf(10, o) }
	for name, test := range map[string]struct {
		hosts int
		pause time.Duration // between requests
		ends  func(int) Outcome
	}{
		"all hang":                 {10, 0, all(late)},
		"all are down":             {10, 0, all(dead)},
		"all answer 500":           {10, 0, all(bad)},
		"half of tries are late":   {10, 0, someOf(0.5, late)},
		"nine of ten are":          {10, 0, someOf(0.9, late)},
		"a third answers 500":      {10, 0, someOf(0.34, bad)},
		"two hosts":                {2, 0, all(late)},
		"three hosts":              {3, 0, someOf(0.6, late)},
		"seldom asked":             {10, time.Second, all(bad)},
		"seldom asked, two hosts":  {2, 10 * time.Second, all(late)},
		"hardly ever, three hosts": {3, 5 * time.Second, all(dead)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config := steady("")
				config.Metrics = telemetry.NewMetrics(1)
				s := running(t, config)
				apply(t, s, judged(func(c *model.Cluster) {
					c.Outlier.ConsecutiveLocal, c.Outlier.SuccessRateDeviation = 5, 0
					c.Balancing.Algorithm = model.RoundRobin
				}), endpoints(equal(test.hosts)...))
				send(t, s, test.hosts, 20*time.Second, good)
				for range 1000 {
					send(t, s, test.hosts, 10*time.Millisecond, test.ends) // one
					time.Sleep(test.pause)
				}
				if n := ejections(s); n > 0 {
					t.Errorf("%d ejections", n)
				}
				if config.Metrics.Protection("c", "outlier/shared").Acted() == 0 {
					t.Error("nobody has been judged: the test shows nothing")
				}
			})
		})
	}
}

// TestWhoHangsAmongOthersLeaves: one that hangs, or several, as soon as its row is long enough; where others
// fail now and then, after a few more.
func TestWhoHangsAmongOthersLeaves(t *testing.T) {
	rare := someOf(0.02, bad)
	for name, test := range map[string]struct {
		hosts, hang int
		others      func(int) Outcome
		within      time.Duration
	}{
		"one of ten":        {10, 1, good, time.Second},
		"five of ten":       {10, 5, good, time.Second},
		"most of ten":       {10, 7, good, time.Second},
		"one of two":        {2, 1, good, time.Second},
		"one of three":      {3, 1, good, time.Second},
		"one of ten, rare":  {10, 1, rare, 2 * time.Second},
		"one of two, rare":  {2, 1, rare, 30 * time.Second},
		"two of four, rare": {4, 2, rare, 10 * time.Second},
		"others answer 500": {10, 1, someOf(0.3, bad), time.Second},
		"others always do":  {3, 1, firstOf(3, bad), time.Second},
		"copies fail":       {10, 1, someOf(0.3, copied), time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := running(t, steady(""))
				apply(t, s, judged(only(health.ConsecutiveLocal), func(c *model.Cluster) {
					c.Outlier.ConsecutiveLocal = 5
					c.Balancing.Algorithm = model.RoundRobin
				}), endpoints(equal(test.hosts)...))
				send(t, s, test.hosts, 5*time.Second, test.others)
				send(t, s, test.hosts, test.within, func(host int) Outcome {
					if host < test.hang {
						return late
					}
					return test.others(host)
				})
				if n := ejected(s); n != min(test.hang, test.hosts/2) {
					t.Errorf("%d of %d that hang are ejected", n, test.hang)
				}
			})
		})
	}
}

// TestAftermath: after what befell all hosts none is ejected while it works off what has heaped up, and
// who still hangs then is.
func TestAftermath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t, steady(""))
		apply(t, s, judged(only(health.ConsecutiveLocal), func(c *model.Cluster) { c.Balancing.Algorithm = model.RoundRobin }), endpoints(equal(10)...))
		send(t, s, 10, 5*time.Second, firstOf(10, late))
		over := transport.Now()
		for ejected(s) == 0 && transport.Now().Sub(over) < time.Minute {
			send(t, s, 10, 100*time.Millisecond, first(late))
		}
		if took := transport.Now().Sub(over); took < 9*time.Second || took > 12*time.Second {
			t.Errorf("ejected %v after the others are well", took)
		}
	})
}

// TestOverloadComesToOneHostFirst: the lines before all hosts grow too long, before the first a quarter of
// a second earlier. It is not worse than they are. Where it alone is too slow it is ejected.
func TestOverloadComesToOneHostFirst(t *testing.T) {
	for name, alone := range map[string]bool{"all": false, "alone": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := running(t, steady(""))
				apply(t, s, judged(only(health.ConsecutiveLocal), func(c *model.Cluster) {
					c.Outlier.ConsecutiveLocal = 5
					c.Balancing.Algorithm = model.RoundRobin
				}), endpoints(equal(5)...))
				send(t, s, 5, 5*time.Second, good)
				send(t, s, 5, 280*time.Millisecond, firstOf(1, late)) // each host has a try in 50 ms
				if alone {
					send(t, s, 5, 500*time.Millisecond, firstOf(1, late))
				} else {
					send(t, s, 5, 5*time.Second, firstOf(5, late))
				}
				if n := ejections(s); n > 0 != alone {
					t.Errorf("%d ejections", n)
				}
			})
		})
	}
}
