package sample

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"weir.dev/weir/model"
)

func r(arm string, from, to uint16) model.BucketRange {
	return model.BucketRange{Arm: arm, From: from, To: to}
}

func TestInitial(t *testing.T) {
	for _, test := range []struct {
		name string
		want []ArmWeight
		list []model.BucketRange
	}{
		{"none", nil, nil},
		{"no weight", []ArmWeight{{"a", 0}}, nil},
		{"one", []ArmWeight{{"a", 3}}, []model.BucketRange{r("a", 0, 10000)}},
		{"largest remainders", []ArmWeight{{"a", 1}, {"b", 1}, {"c", 1}}, []model.BucketRange{r("a", 0, 3334), r("b", 3334, 6667), r("c", 6667, 10000)}},
		{"one without", []ArmWeight{{"a", 1}, {"b", 0}, {"c", 3}}, []model.BucketRange{r("a", 0, 2500), r("c", 2500, 10000)}},
		{"great weights", []ArmWeight{{"a", 999_999}, {"b", 1}}, []model.BucketRange{r("a", 0, 10000)}},
	} {
		if diff := cmp.Diff(test.list, Initial(test.want)); diff != "" {
			t.Errorf("%s:\n%s", test.name, diff)
		}
	}
}

func TestReweightByExample(t *testing.T) {
	list := Initial([]ArmWeight{{"stable", 80}, {"other", 20}})
	for _, step := range []struct {
		share int
		want  []model.BucketRange
	}{
		{0, []model.BucketRange{r("stable", 0, 8000), r("other", 8000, 10000)}},
		{100, []model.BucketRange{r("stable", 0, 7920), r("canary", 7920, 8000), r("other", 8000, 10000)}},
		{5000, []model.BucketRange{r("stable", 0, 4000), r("canary", 4000, 8000), r("other", 8000, 10000)}},
		{100, []model.BucketRange{r("stable", 0, 7920), r("canary", 7920, 8000), r("other", 8000, 10000)}},
		{10000, []model.BucketRange{r("canary", 0, 8000), r("other", 8000, 10000)}},
		{0, []model.BucketRange{r("stable", 0, 8000), r("other", 8000, 10000)}},
	} {
		list = Reweight(list, ShareOf([]ArmWeight{{"stable", 80}, {"other", 20}}, "stable", "canary", step.share))
		if diff := cmp.Diff(step.want, list); diff != "" {
			t.Errorf("share %d:\n%s", step.share, diff)
		}
	}
}

// TestReweightOfWhatIsNotThere: ranges that do not cover everything, or belong to arms that are gone.
func TestReweightOfWhatIsNotThere(t *testing.T) {
	want := []ArmWeight{{"a", 5000}, {"b", 5000}}
	for _, prev := range [][]model.BucketRange{nil, {r("gone", 0, 10000)}, {r("b", 100, 200)}, {r("a", 0, 65535)}} {
		checkCounts(t, Reweight(prev, want), want)
	}
	if got := Reweight([]model.BucketRange{r("a", 0, 10000)}, nil); got != nil {
		t.Errorf("without arms: %v", got)
	}
	if diff := cmp.Diff([]model.BucketRange{r("a", 0, 5000), r("b", 5000, 10000)}, Reweight(nil, want)); diff != "" {
		t.Error(diff)
	}
}

func owners(list []model.BucketRange) (of [model.Buckets]string) {
	for _, r := range list {
		for b := r.From; b < r.To; b++ {
			of[b] = r.Arm
		}
	}
	return of
}

func counts(list []model.BucketRange) map[string]int {
	n := map[string]int{}
	for _, r := range list {
		n[r.Arm] += int(r.To) - int(r.From)
	}
	return n
}

type failer interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// checkCounts checks that ranges are in order, cover everything, and are as many as is right.
func checkCounts(t failer, list []model.BucketRange, want []ArmWeight) {
	t.Helper()
	at, arm := uint16(0), ""
	for _, r := range list {
		if r.From != at || r.To <= r.From || r.Arm == arm {
			t.Fatalf("%+v begins at %d, wants %d, or is empty, or is no range of its own", r, r.From, at)
		}
		at, arm = r.To, r.Arm
	}
	if at != model.Buckets {
		t.Fatalf("the ranges end at %d", at)
	}
	var total float64
	for _, a := range want {
		total += float64(a.Weight)
	}
	have := counts(list)
	for _, a := range want {
		if exact := float64(a.Weight) / total * model.Buckets; float64(have[a.Arm]) <= exact-1 || float64(have[a.Arm]) >= exact+1 {
			t.Errorf("%s has %d buckets, wants %g", a.Arm, have[a.Arm], exact)
		}
		delete(have, a.Arm)
	}
	if len(have) > 0 {
		t.Errorf("arms that are not wanted have %v", have)
	}
}

// weights draws weights for some of five arms, not all of them zero.
func weights(t *rapid.T) []ArmWeight {
	names := rapid.Permutation([]string{"a", "b", "c", "d", "e"}).Draw(t, "names")
	list := make([]ArmWeight, rapid.IntRange(1, len(names)).Draw(t, "arms"))
	for i := range list {
		list[i] = ArmWeight{names[i], rapid.Uint64Range(0, 1000).Draw(t, "weight")}
	}
	list[rapid.IntRange(0, len(list)-1).Draw(t, "one")].Weight++
	return list
}

// TestReweight: whatever weights follow each other, counts are exact, as few buckets move as can, and
// only from arms that shrink to arms that grow.
func TestReweight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := Initial(weights(t))
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			want := weights(t)
			next := Reweight(list, want)
			checkCounts(t, next, want)
			before, after := counts(list), counts(next)
			moves, least, changed := 0, 0, 0
			for _, arm := range []string{"a", "b", "c", "d", "e"} {
				least += max(after[arm]-before[arm], 0)
				if after[arm] != before[arm] {
					changed++
				}
			}
			from, to := owners(list), owners(next)
			for b := range from {
				if from[b] == to[b] {
					continue
				}
				moves++
				if before[from[b]] <= after[from[b]] || before[to[b]] >= after[to[b]] {
					t.Fatalf("bucket %d moves from %s to %s", b, from[b], to[b])
				}
			}
			if moves != least {
				t.Errorf("%d buckets move, %d must", moves, least)
			}
			if len(next) > len(list)+2*changed {
				t.Errorf("%d ranges after %d, with %d arms changed", len(next), len(list), changed)
			}
			if !slices.Equal(next, Reweight(next, want)) {
				t.Errorf("the same weights again change something")
			}
			list = next
		}
	})
}

// TestShares: while a share only grows, users only join the canary, and nobody else moves; when it
// shrinks, those leave who came last; and ranges do not multiply, however often it changes.
func TestShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		written := weights(t)
		stable := rapid.SampledFrom(written).Draw(t, "stable").Arm
		canary := rapid.SampledFrom(append(slices.Clone(written), ArmWeight{Arm: "new"})).Draw(t, "canary").Arm
		if canary == stable {
			canary = "new"
		}
		share := rapid.IntRange(0, model.Buckets).Draw(t, "first share")
		list := Reweight(Initial(written), ShareOf(written, stable, canary, share))
		seen := map[int]string{}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			next := rapid.IntRange(0, model.Buckets).Draw(t, "share")
			want := ShareOf(written, stable, canary, next)
			after := Reweight(list, want)
			checkCounts(t, after, want)
			from, to := owners(list), owners(after)
			for b := range from {
				switch joins := from[b] == stable && to[b] == canary; {
				case from[b] == to[b] || next > share && joins || next < share && from[b] == canary && to[b] == stable:
				default:
					t.Fatalf("share %d to %d: bucket %d moves from %s to %s", share, next, b, from[b], to[b])
				}
			}
			if len(after) > len(written)+3 {
				t.Fatalf("%d ranges for %d arms: %v", len(after), len(written), after)
			}
			text := fmt.Sprint(after)
			if was, ok := seen[next]; ok && was != text {
				t.Fatalf("share %d again:\n%s\nbefore:\n%s", next, text, was)
			}
			seen[next] = text
			list, share = after, next
		}
	})
}

func TestShareOf(t *testing.T) {
	three := []ArmWeight{{"stable", 45}, {"canary", 5}, {"other", 50}}
	for _, test := range []struct {
		name           string
		weights        []ArmWeight
		share          int
		stable, canary uint64
	}{
		{"nothing", three, 0, 5000, 0},
		{"one per cent", three, 100, 4950, 50},
		{"a hundredth of a per cent", three, 1, 4999, 1},
		{"half", three, 5000, 2500, 2500},
		{"all", three, 10000, 0, 5000},
		{"below and above", three, -5, 5000, 0},
		{"beyond", three, 20000, 0, 5000},
		{"few users", []ArmWeight{{"stable", 10}, {"other", 9990}}, 100, 9, 1},
		{"few users, most of them", []ArmWeight{{"stable", 10}, {"other", 9990}}, 9999, 1, 9},
		{"one bucket", []ArmWeight{{"stable", 1}, {"other", 9999}}, 100, 1, 0},
		{"not listed", []ArmWeight{{"stable", 1}}, 2500, 7500, 2500},
		{"stable without weight", []ArmWeight{{"stable", 0}, {"canary", 1}}, 100, 9900, 100},
		{"no weight in both", []ArmWeight{{"stable", 0}, {"other", 1}}, 100, 0, 0},
	} {
		got := map[string]uint64{}
		var sum uint64
		for _, a := range ShareOf(test.weights, "stable", "canary", test.share) {
			got[a.Arm] = a.Weight
			sum += a.Weight
		}
		if got["stable"] != test.stable || got["canary"] != test.canary || sum != model.Buckets {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	if got := ShareOf([]ArmWeight{{"stable", 0}}, "stable", "canary", 100); got != nil {
		t.Errorf("without any weight: %v", got)
	}
}

func BenchmarkReweight(b *testing.B) {
	written := []ArmWeight{{"stable", 80}, {"other", 20}}
	list := Initial(written)
	for b.Loop() {
		Reweight(list, ShareOf(written, "stable", "canary", 1000))
	}
}
