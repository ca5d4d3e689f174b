package health

import (
	"cmp"
	"math"
	"slices"
	"time"

	"weir.dev/weir/model"
)

// Rule is a way to find out that a host does worse than it should.
type Rule uint8

// The rules, as model.Outlier has them.
const (
	NoRule Rule = iota
	Consecutive5xx
	ConsecutiveLocal
	FailureShare
	SuccessRateDeviation
	SlowerThanMedian
	Rules // how many there are, for arrays indexed by Rule
)

var ruleNames = [Rules]string{"", "consecutive5xx", "consecutiveLocal", "failureShare", "successRateDeviation", "slowerThanMedian"}

// String returns the rule's name as policies write it.
func (r Rule) String() string { return ruleNames[r] }

// On reports whether the rule is switched on.
func (r Rule) On(o *model.Outlier) bool {
	switch r {
	case Consecutive5xx:
		return o.Consecutive5xx > 0
	case ConsecutiveLocal:
		return o.ConsecutiveLocal > 0
	case FailureShare:
		return o.FailureShare > 0
	case SuccessRateDeviation:
		return o.SuccessRateDeviation > 0
	case SlowerThanMedian:
		return o.SlowerThanMedian > 0
	}
	return false
}

// Compares reports whether any of the rules that judge whole intervals is on.
func Compares(o *model.Outlier) bool {
	return FailureShare.On(o) || SuccessRateDeviation.On(o) || SlowerThanMedian.On(o)
}

// Row returns the rule that is broken when length results of a kind have come in a row, or
// NoRule: with each as many as the rule says, so that a host which stays in is judged again.
func Row(o *model.Outlier, r Result, length uint32) Rule {
	switch {
	case length == 0:
	case r == Faulty && o.Consecutive5xx > 0 && int64(length)%int64(o.Consecutive5xx) == 0:
		return Consecutive5xx
	case r == Unanswered && o.ConsecutiveLocal > 0 && int64(length)%int64(o.ConsecutiveLocal) == 0:
		return ConsecutiveLocal
	}
	return NoRule
}

const (
	// LeastCompared is how many hosts an interval must have judged by before they are compared:
	// of two that differ nobody can say which is the odd one.
	LeastCompared = 3
	// leastFailures and leastGap keep SuccessRateDeviation from ejecting for bad luck. Where
	// nobody else fails the deviation is tiny, and one failure of ten thousand is far below the mean.
	leastFailures = 3
	leastGap      = 0.01
	// leastSlowness is the difference of medians that anybody would notice: where the others
	// answer in 100 µs, who takes 400 µs is not to be ejected for that.
	leastSlowness = time.Millisecond
)

// DeviationReach returns the greatest number of standard deviations that one of so many hosts
// can be away from the mean of all: √(n-1), when all the others are alike. It is 1.41 with
// three hosts, 2 with five and 3 with ten: a SuccessRateDeviation from there on ejects nobody.
func DeviationReach(hosts int) float64 { return math.Sqrt(float64(max(hosts-1, 0))) }

// Sample is how the tries at one host ended in an interval.
type Sample struct {
	Ended  [Results]uint64
	Median time.Duration // of the latencies of those that were Served; 0 without any
}

func (s *Sample) total() uint64 { return s.Ended[Served] + s.failures() }

func (s *Sample) failures() uint64 { return s.Ended[Faulty] + s.Ended[Unanswered] }

// success returns the share of tries that were served.
func (s *Sample) success() float64 { return float64(s.Ended[Served]) / float64(s.total()) }

// Finding is a host that breaks a rule.
type Finding struct {
	Host int // its place among the samples
	Rule Rule
	// By is how badly: the share of failures, or of successes below what the deviation allows, or
	// by how many times the median is exceeded. Numbers of one rule compare.
	By float64
}

// Judge compares what the hosts of a cluster did in an interval and returns those that break a
// rule, each once, in the order in which they should be ejected while there is room: the
// rules as they follow below, and of one rule the worst host first. Hosts with fewer than
// MinRequests tries are neither found nor compared with.
//
// FailureShare finds a host whose failed tries are that share of its own, and at least twice
// the share that the best quarter of the others has. It needs no other host. Worked example,
// 0.85: of 40 tries 34 failed, and it is found; of 40 tries 33, and it is not. Where
// all hosts fail more than half of their tries nobody is.
//
// SuccessRateDeviation finds a host whose share of successes is more than so many standard
// deviations below the mean of all, as Envoy's success rate detection does, by at least a
// hundredth and with at least three failures. Worked example, 1.9: ten hosts have 100 tries each, nine
// with 99 successes and one with 80. The mean is 0.971, the deviation
// √((9·0.019² + 0.171²)/10) = 0.057, the bound 0.971 - 1.9·0.057 = 0.863: the one is found.
//
// SlowerThanMedian finds a host whose median latency is more than so many times the median of
// the hosts' medians, and at least a millisecond more. Medians of medians do not move with the
// one that is slow, as means do. Only answers that were no failures count: a host of which all
// tries time out is found by the others, or by ConsecutiveLocal. Worked example, 3.0: the
// medians are 10, 11, 12, 13 and 60 ms, theirs is 12 ms, and 60 ms is more than 36 ms.
//
// The latter two need LeastCompared hosts.
func Judge(o *model.Outlier, samples []Sample) []Finding {
	least := uint64(max(o.MinRequests, 1))
	var comparable, answering []int
	for i := range samples {
		if samples[i].total() >= least {
			comparable = append(comparable, i)
		}
		if samples[i].Ended[Served] >= least {
			answering = append(answering, i)
		}
	}
	found := failing(o, samples, comparable)
	if len(comparable) >= LeastCompared {
		found = append(found, deviating(o, samples, comparable)...)
	}
	if len(answering) >= LeastCompared {
		found = append(found, slow(o, samples, answering)...)
	}
	slices.SortStableFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), -cmp.Compare(a.By, b.By))
	})
	seen := make([]bool, len(samples))
	return slices.DeleteFunc(found, func(f Finding) bool {
		again := seen[f.Host]
		seen[f.Host] = true
		return again
	})
}

func failing(o *model.Outlier, samples []Sample, hosts []int) (found []Finding) {
	if !FailureShare.On(o) {
		return nil
	}
	const rounding = 1e-9 // 0.55 × 100 is a little more than 55
	shares := make([]float64, len(hosts))
	for at, i := range hosts {
		shares[at] = 1 - samples[i].success()
	}
	peers := NewPeers(shares)
	for _, i := range hosts {
		if share := 1 - samples[i].success(); share >= o.FailureShare-rounding && peers.Worse(share) {
			found = append(found, Finding{i, FailureShare, share})
		}
	}
	return found
}

func deviating(o *model.Outlier, samples []Sample, hosts []int) (found []Finding) {
	if !SuccessRateDeviation.On(o) {
		return nil
	}
	n := float64(len(hosts))
	mean, variance := 0.0, 0.0
	for _, i := range hosts {
		mean += samples[i].success() / n
	}
	for _, i := range hosts {
		d := samples[i].success() - mean
		variance += d * d / n
	}
	bound := mean - o.SuccessRateDeviation*math.Sqrt(variance)
	for _, i := range hosts {
		s := &samples[i]
		if rate := s.success(); rate < bound && mean-rate >= leastGap && s.failures() >= leastFailures {
			found = append(found, Finding{i, SuccessRateDeviation, bound - rate})
		}
	}
	return found
}

func slow(o *model.Outlier, samples []Sample, hosts []int) (found []Finding) {
	if !SlowerThanMedian.On(o) {
		return nil
	}
	medians := make([]time.Duration, len(hosts))
	for at, i := range hosts {
		medians[at] = samples[i].Median
	}
	slices.Sort(medians)
	middle := medians[(len(medians)-1)/2] // the lower one: the bound is not set by a slow half
	for _, i := range hosts {
		own := samples[i].Median
		if float64(own) > o.SlowerThanMedian*float64(middle) && own-middle >= leastSlowness {
			found = append(found, Finding{i, SlowerThanMedian, float64(own) / float64(max(middle, 1))})
		}
	}
	return found
}
