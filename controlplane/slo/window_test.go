package slo

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestWorkbook checks the windows of thirty days against the table in the Site Reliability Workbook,
// chapter 5, table 5-8 ("recommended parameters for an SLO-based alerting configuration"), to
// which the fourth pair of windows is the one of its text.
func TestWorkbook(t *testing.T) {
	want := []BurnWindow{
		{Page, time.Hour, 5 * time.Minute, 14.4},
		{Page, 6 * time.Hour, 30 * time.Minute, 6},
		{Ticket, 24 * time.Hour, 2 * time.Hour, 3},
		{Ticket, 72 * time.Hour, 6 * time.Hour, 1},
	}
	consumed := []float64{0.02, 0.05, 0.10, 0.10} // of the budget, when the long window's factor is just reached
	got := BurnWindows(30 * 24 * time.Hour)
	if len(got) != len(want) {
		t.Fatalf("%d windows, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("window %d: %+v, want %+v", i, got[i], want[i])
		}
		if share := got[i].Factor * got[i].Long.Hours() / 720; math.Abs(share-consumed[i]) > 1e-9 {
			t.Errorf("window %d means %v of the budget, want %v", i, share, consumed[i])
		}
	}
}

// TestScaledWindows checks other windows by hand.
func TestScaledWindows(t *testing.T) {
	for _, c := range []struct {
		window time.Duration
		want   []BurnWindow
	}{
		{7 * 24 * time.Hour, []BurnWindow{
			{Page, 14 * time.Minute, 70 * time.Second, 14.4},
			{Page, 84 * time.Minute, 7 * time.Minute, 6},
			{Ticket, 336 * time.Minute, 28 * time.Minute, 3},
			{Ticket, 1008 * time.Minute, 84 * time.Minute, 1},
		}},
		{time.Hour, []BurnWindow{
			{Page, 5 * time.Minute, time.Minute, 2},
			{Ticket, 5 * time.Minute, time.Minute, 1.2},
			{Ticket, 6 * time.Minute, time.Minute, 1},
		}},
	} {
		got := BurnWindows(c.window)
		if len(got) != len(c.want) {
			t.Errorf("%v: %+v, want %+v", c.window, got, c.want)
			continue
		}
		for i := range got {
			if got[i].Factor = rounded(got[i].Factor); got[i] != c.want[i] {
				t.Errorf("%v: %+v, want %+v", c.window, got[i], c.want[i])
			}
		}
	}
}

// TestWindowsOfAnyLength checks what holds of all: pages come first, a short window is shorter than
// its long one, and burning as fast as allowed, or slower, is no alert.
func TestWindowsOfAnyLength(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := time.Duration(rapid.IntRange(3600, 8784*3600).Draw(t, "seconds")) * time.Second
		list := BurnWindows(window)
		tickets := false
		for _, w := range list {
			if w.Short >= w.Long || w.Long > window || w.Factor < 1 {
				t.Fatalf("%v: %+v", window, w)
			}
			if tickets = tickets || w.Severity == Ticket; tickets && w.Severity == Page {
				t.Fatalf("%v: a page after a ticket", window)
			}
		}
		if !tickets || list[0].Severity != Page {
			t.Fatalf("%v: %+v: want pages and tickets", window, list)
		}
	})
}

func TestPromDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		70 * time.Second: "1m10s", 72 * time.Hour: "3d", 84 * time.Minute: "1h24m", 300 * time.Millisecond: "300ms", 0: "0s",
	} {
		if got := promDuration(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
