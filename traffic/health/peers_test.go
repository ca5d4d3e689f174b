package health

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir.dev/weir/model"
)

func TestFaring(t *testing.T) {
	for _, tc := range []struct {
		average float64
		row     uint32
		want    float64
	}{{0, 0, 0}, {0.0009, 9, 0}, {0.1, 0, 0.1}, {0.1, 1, 0.1}, {0.1, 2, 0.25}, {0.1, 5, 4.0 / 7}, {0.9, 5, 0.9}, {1, math.MaxUint32, 1}} {
		if got := faring(tc.average, tc.row); got != tc.want {
			t.Errorf("average %v and a row of %d: %v, want %v", tc.average, tc.row, got, tc.want)
		}
	}
}

// TestOddWorkedExample is that of Incident.Odd, and its edges.
func TestOddWorkedExample(t *testing.T) {
	nine := func(share float64) []float64 { return slices.Repeat([]float64{share}, 9) }
	for _, tc := range []struct {
		others []float64
		row    uint32
		want   bool
	}{
		{nil, 1, true},
		{nine(0), 1, true},
		{nine(0.05), 5, true},
		{nine(0.1), 5, false},
		{nine(0.1), 10, true},
		{nine(0.25), 1000, false},
		{nine(0.125), math.MaxUint32, false},
		{[]float64{0, 0, 0, 1, 1, 1, 1, 1, 1}, 5, true},
		{[]float64{0, 0, 1, 1, 1, 1, 1, 1, 1}, 5, false},
		{[]float64{0}, 5, true},
		{[]float64{1}, 5, false},
		{[]float64{0, 1}, 5, true},
	} {
		const own = 0.6
		var i Incident
		if got := i.Odd(1, NewPeers(append([]float64{own}, tc.others...)), own, tc.row); got != tc.want {
			t.Errorf("others %v, a row of %d: %v", tc.others, tc.row, got)
		}
	}
	var i Incident
	ill, fine := NewPeers(append(nine(0.5), 0.6)), NewPeers(append(nine(0), 0.6))
	for _, step := range []struct {
		at    time.Duration
		peers Peers
		want  bool
	}{{1, fine, true}, {time.Second, ill, false}, {5 * time.Second, ill, false}, {14 * time.Second, fine, false}, {15 * time.Second, fine, true}} {
		if got := i.Odd(int64(step.at), step.peers, 0.6, 5); got != step.want {
			t.Errorf("at %v: %v", step.at, got)
		}
	}
}

// TestBestIsOfTheOthers compares with a list of the others alone, of which it is one.
func TestBestIsOfTheOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.SampledFrom([]float64{0, 0.1, 0.2, 0.5, 1}), 1, 20).Draw(t, "shares")
		own := rapid.IntRange(0, len(all)-1).Draw(t, "own")
		others := slices.Sorted(slices.Values(slices.Delete(slices.Clone(all), own, own+1)))
		want := 0.0
		if len(others) > 0 {
			want = others[(len(others)-1)/4]
		}
		share := all[own]
		if got := NewPeers(all).best(share); got != want {
			t.Fatalf("%v, of the others of %v: %v, want %v", others, share, got, want)
		}
	})
}

// TestFailureShareNeedsOthersThatDoBetter: an incident of all hosts finds nobody, and a host that is
// worse still, or most hosts, are found.
func TestFailureShareNeedsOthersThatDoBetter(t *testing.T) {
	o := &model.Outlier{FailureShare: 0.6, MinRequests: 10}
	for name, tc := range map[string]struct {
		failed []uint64 // of a hundred
		want   int
	}{
		"alone":          {[]uint64{70}, 1},
		"one of two":     {[]uint64{70, 2}, 1},
		"both":           {[]uint64{70, 60}, 0},
		"all of five":    {[]uint64{100, 100, 100, 100, 100}, 0},
		"some by chance": {[]uint64{62, 57, 61, 55, 64}, 0},
		"most of five":   {[]uint64{90, 90, 90, 90, 1}, 4},
		"one, of bad":    {[]uint64{90, 40, 40, 40, 40}, 1},
	} {
		var samples []Sample
		for _, n := range tc.failed {
			samples = append(samples, sample(100, n, 0))
		}
		if found := Judge(o, samples); len(found) != tc.want {
			t.Errorf("%s: found %v", name, found)
		}
	}
}
