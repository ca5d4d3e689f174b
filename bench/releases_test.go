package main

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/bench/release"
)

// TestReleasePage: the page tells what was met and what was missed, and what has no figure has none.
func TestReleasePage(t *testing.T) {
	b := &releaseBench{bench: &bench{began: time.Now(), versions: map[string]string{"weir": "dev"}, progress: io.Discard}, rate: 2000}
	b.note("something was left out")
	trip := func(completed, canary, after int) release.Result {
		return release.Result{Tripped: true, Completed: completed, Canary: canary, After: after, Took: time.Second, Visible: completed - 1}
	}
	text := b.releasePage([]played{
		{scenario{title: "all fail", share: "1%", failed: 1, goal: goal{completed: 5}}, []release.Result{trip(5, 5, 0), trip(3, 3, 0), trip(7, 9, 0)}},
		{scenario{title: "some fail", share: "10%", failed: 0.05, goal: goal{median: 150, p95: 400}}, []release.Result{trip(3, 100, 0), trip(3, 200, 1), trip(3, 300, 0)}},
		{scenario{title: "spared", spared: true}, []release.Result{{Canary: 900}}},
		{scenario{title: "missed", share: "1%"}, []release.Result{{Canary: 50}}},
	})
	for _, want := range []string{
		"| all fail | 3 | 3 | 5 / 7 / 7 | 0 / 0 / 0 | 5 / 9 / 9 | 1000 / 1000 / 1000 | 4 / 6 / 6 | 0 / 0 / 0 |",
		"| spared | 1 | 0 | – | – | 900, and not taken back |",
		"| all fail: failures completed before ≤ 5 | 7 | **missed** |",
		"| some fail: requests of the canary, median ≤ 150 | 200 | **missed** |",
		"| some fail: requests of the canary, 95th percentile ≤ 400 | 300 | met |",
		"| spared: trials in which it is taken back ≤ 0 | 0 | met |",
		"| missed: trials in which it is not taken back ≤ 0 | 1 | **missed** |",
		"| Everywhere: requests that users send to the canary after the trip ≤ 0 | 1 | **missed** |",
		"| all fail | 4, 1000 ms | 12000, 10m0s | 12000, 10m0s |",
		"| some fail | 2, 1000 ms | 6000, 10m0s | not caught: 95 % is its bound |",
		"- something was left out",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no line %s in\n%s", want, text)
		}
	}
}

func TestQuantile(t *testing.T) {
	var all []float64
	for i := range 20 {
		all = append(all, float64(i+1))
	}
	got := []float64{quantile(all, 0.5), quantile(all, 0.95), quantile(all, 1), quantile(all[:1], 0.95), quantile(all[:2], 0.5)}
	if want := []float64{10, 19, 20, 1, 1}; !slices.Equal(got, want) {
		t.Errorf("quantiles %v, want %v", got, want)
	}
}

// TestReleaseAlone: the group has a page of its own.
func TestReleaseAlone(t *testing.T) {
	if _, err := parse([]string{"-only", "release,plain"}, io.Discard); err == nil || !strings.Contains(err.Error(), "page of its own") {
		t.Errorf("got %v", err)
	}
	if o, err := parse([]string{"-only", "release"}, io.Discard); err != nil || !slices.Equal(o.only, []string{"release"}) {
		t.Errorf("got %v, %v", o, err)
	}
}
