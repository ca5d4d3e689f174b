package health

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir.dev/weir/model"
)

func TestStreaksWorkedExample(t *testing.T) {
	var s Streaks
	var got []uint32
	for _, r := range []Result{Served, Faulty, Unanswered, Faulty, Unanswered, Unanswered} {
		got = append(got, s.Observe(r))
	}
	if want := []uint32{0, 1, 1, 2, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("rows of %v, want %v", got, want)
	}
	s.Observe(Served)
	if s.Observe(Faulty) != 1 || s.Observe(Unanswered) != 1 {
		t.Error("a success ends no row")
	}
	if s.Reset(); s.Observe(Faulty) != 1 {
		t.Error("a reset ends no row")
	}
}

// TestStreaksAreRows compares with looking back over everything that happened.
func TestStreaksAreRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Streaks
		var past []Result
		for range rapid.IntRange(0, 60).Draw(t, "tries") {
			r := rapid.SampledFrom([]Result{Served, Faulty, Faulty, Unanswered, Unanswered}).Draw(t, "result")
			past = append(past, r)
			want := uint32(0)
			for i := len(past) - 1; i >= 0 && r != Served; i-- {
				if past[i] == r {
					want++
				} else if past[i] == Served || r == Unanswered {
					break
				}
			}
			if got := s.Observe(r); got != want {
				t.Fatalf("after %v a row of %d, want %d", past, got, want)
			}
		}
	})
}

func TestRow(t *testing.T) {
	o := &model.Outlier{Consecutive5xx: 5, ConsecutiveLocal: 3}
	for _, tc := range []struct {
		r      Result
		length uint32
		want   Rule
	}{{Faulty, 4, NoRule}, {Faulty, 5, Consecutive5xx}, {Unanswered, 2, NoRule}, {Unanswered, 3, ConsecutiveLocal}} {
		if got := Row(o, tc.r, tc.length); got != tc.want {
			t.Errorf("%d results %d: %v, want %v", tc.length, tc.r, got, tc.want)
		}
		if got := Row(&model.Outlier{}, tc.r, tc.length); got != NoRule {
			t.Errorf("all off: %v", got)
		}
	}
}

// sample is of so many tries and failures, of which half are faulty.
func sample(tries, failures uint64, median time.Duration) Sample {
	return Sample{Ended: [Results]uint64{tries - failures, failures / 2, failures - failures/2}, Median: median}
}

func rulesOf(found []Finding) map[int]Rule {
	rules := map[int]Rule{}
	for _, f := range found {
		rules[f.Host] = f.Rule
	}
	return rules
}

func TestFailureShareWorkedExample(t *testing.T) {
	o := &model.Outlier{FailureShare: 0.85, MinRequests: 40}
	for failures, want := range map[uint64]int{34: 1, 33: 0} {
		if got := Judge(o, []Sample{sample(40, failures, 0)}); len(got) != want {
			t.Errorf("%d of 40: %v", failures, got)
		}
	}
	if got := Judge(o, []Sample{sample(39, 39, 0)}); len(got) != 0 {
		t.Errorf("too few tries: %v", got)
	}
	if got := Judge(&model.Outlier{FailureShare: 1}, []Sample{sample(0, 0, 0), sample(1, 1, 0)}); len(got) != 1 || got[0].Host != 1 {
		t.Errorf("all of them, and no MinRequests: %v", got)
	}
}

func TestSuccessRateDeviationWorkedExample(t *testing.T) {
	o := &model.Outlier{SuccessRateDeviation: 1.9, MinRequests: 100}
	samples := slices.Repeat([]Sample{sample(100, 1, 0)}, 10)
	samples[3] = sample(100, 20, 0)
	found := Judge(o, samples)
	if len(found) != 1 || found[0].Host != 3 || found[0].Rule != SuccessRateDeviation || math.Abs(found[0].By-0.063) > 0.001 {
		t.Errorf("found %v", found)
	}
	if got := Judge(o, samples[:4]); len(got) != 0 {
		t.Errorf("one of four cannot deviate by more than √3: %v", got)
	}
	o.SuccessRateDeviation = 1.7
	if got := Judge(o, samples[:4]); len(got) != 1 {
		t.Errorf("nor less: %v", got)
	}
	if got := Judge(o, samples[2:4]); len(got) != 0 {
		t.Errorf("of two hosts: %v", got)
	}
}

// TestBadLuckEjectsNobody: where no host fails, few failures deviate a lot.
func TestBadLuckEjectsNobody(t *testing.T) {
	o := &model.Outlier{SuccessRateDeviation: 1.9, MinRequests: 10}
	for failures, tries := range map[uint64]uint64{2: 10, 9: 1000} {
		samples := slices.Repeat([]Sample{sample(tries, 0, 0)}, 20)
		samples[0] = sample(tries, failures, 0)
		if got := Judge(o, samples); len(got) != 0 {
			t.Errorf("%d of %d: %v", failures, tries, got)
		}
		samples[0] = sample(tries, failures+2, 0)
		if got := Judge(o, samples); len(got) != 1 {
			t.Errorf("%d of %d: %v", failures+2, tries, got)
		}
	}
}

func TestDeviationReach(t *testing.T) {
	for n := 2; n < 30; n++ {
		samples := slices.Repeat([]Sample{sample(1000, 0, 0)}, n)
		samples[0] = sample(1000, 900, 0)
		reach := DeviationReach(n)
		if got := len(Judge(&model.Outlier{SuccessRateDeviation: reach * 1.001}, samples)); got != 0 {
			t.Errorf("%d hosts: one is further away than %v", n, reach)
		}
		if got := len(Judge(&model.Outlier{SuccessRateDeviation: reach * 0.999}, samples)); got != 1 && n >= LeastCompared {
			t.Errorf("%d hosts: none is %v away", n, reach)
		}
	}
	if DeviationReach(0) != 0 {
		t.Error("of no hosts")
	}
}

func TestSlowerThanMedianWorkedExample(t *testing.T) {
	o := &model.Outlier{SlowerThanMedian: 3, MinRequests: 10}
	var samples []Sample
	for _, ms := range []int{10, 60, 11, 12, 13} {
		samples = append(samples, sample(10, 0, time.Duration(ms)*time.Millisecond))
	}
	found := Judge(o, samples)
	if len(found) != 1 || found[0] != (Finding{1, SlowerThanMedian, 5}) {
		t.Errorf("found %v", found)
	}
	samples[1].Median = 36 * time.Millisecond
	if got := Judge(o, samples); len(got) != 0 {
		t.Errorf("three times the median: %v", got)
	}
	if got := Judge(o, []Sample{sample(10, 0, time.Second), sample(10, 0, time.Millisecond)}); len(got) != 0 {
		t.Errorf("of two hosts: %v", got)
	}
	samples[1] = sample(19, 10, time.Hour)
	if got := Judge(o, samples); len(got) != 0 {
		t.Errorf("nine answers: %v", got)
	}
	for i := range samples {
		samples[i] = sample(10, 0, 100*time.Microsecond)
	}
	samples[0].Median = 900 * time.Microsecond
	if got := Judge(o, samples); len(got) != 0 {
		t.Errorf("less than a millisecond: %v", got)
	}
}

// TestHalfThatIsSlowIsNotMeasuredByItself: of four hosts two are slow. The median is the others'.
func TestHalfThatIsSlowIsNotMeasuredByItself(t *testing.T) {
	o := &model.Outlier{SlowerThanMedian: 3}
	var samples []Sample
	for _, ms := range []int{10, 100, 100, 10} {
		samples = append(samples, sample(10, 0, time.Duration(ms)*time.Millisecond))
	}
	if got := rulesOf(Judge(o, samples)); len(got) != 2 || got[1] == 0 || got[2] == 0 {
		t.Errorf("found %v", got)
	}
}

// TestTheWorstComeFirst: there may not be room for all.
func TestTheWorstComeFirst(t *testing.T) {
	o := &model.Outlier{FailureShare: 0.5, SlowerThanMedian: 3, SuccessRateDeviation: 0.1, MinRequests: 10}
	samples := slices.Repeat([]Sample{sample(100, 0, 10*time.Millisecond)}, 9)
	samples[1] = sample(100, 60, 90*time.Millisecond)
	samples[4] = sample(100, 80, 10*time.Millisecond)
	samples[6] = sample(100, 0, 50*time.Millisecond)
	samples[7] = sample(100, 0, 70*time.Millisecond)
	var order []int
	for _, f := range Judge(o, samples) {
		order = append(order, f.Host)
	}
	if want := []int{4, 1, 7, 6}; !slices.Equal(order, want) {
		t.Errorf("in the order %v, want %v", order, want)
	}
}

// TestAlikeHostsAreNoOutliers: whatever all of them do, comparisons find nobody; and what is
// found had enough tries and is found once.
func TestAlikeHostsAreNoOutliers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tries := rapid.Uint64Range(1, 1000).Draw(t, "tries")
		one := sample(tries, rapid.Uint64Range(0, tries).Draw(t, "failures"), time.Duration(rapid.Int64Range(0, 1e10).Draw(t, "median")))
		o := &model.Outlier{
			SuccessRateDeviation: rapid.Float64Range(0.1, 3).Draw(t, "deviation"),
			SlowerThanMedian:     rapid.Float64Range(1, 5).Draw(t, "slower"),
			MinRequests:          rapid.IntRange(0, 100).Draw(t, "least"),
		}
		samples := slices.Repeat([]Sample{one}, rapid.IntRange(0, 20).Draw(t, "hosts"))
		if got := Judge(o, samples); len(got) != 0 {
			t.Fatalf("found %v among hosts that are alike", got)
		}
		o.FailureShare = rapid.Float64Range(0.01, 1).Draw(t, "share")
		for i := range samples {
			n := rapid.Uint64Range(0, 100).Draw(t, "own tries")
			samples[i] = sample(n, rapid.Uint64Range(0, n).Draw(t, "own failures"), time.Duration(rapid.Int64Range(0, 1e10).Draw(t, "own median")))
		}
		seen := map[int]bool{}
		for _, f := range Judge(o, samples) {
			if seen[f.Host] || samples[f.Host].total() < uint64(o.MinRequests) || !f.Rule.On(o) {
				t.Fatalf("found %v of %v", f, samples[f.Host])
			}
			seen[f.Host] = true
		}
	})
}

// TestFailureShareIsExact: the share of failures that was asked for is found, whatever binary
// fractions make of it.
func TestFailureShareIsExact(t *testing.T) {
	for percent := uint64(1); percent <= 100; percent++ {
		o := &model.Outlier{FailureShare: float64(percent) / 100, MinRequests: 100}
		for failures, want := range map[uint64]bool{percent: true, percent - 1: false} {
			if got := rulesOf(Judge(o, []Sample{sample(100, failures, 0)})); (got[0] == FailureShare) != want {
				t.Errorf("%d of 100 failed, share %v: found %v", failures, o.FailureShare, got)
			}
		}
	}
}
