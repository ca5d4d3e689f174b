// Package slo says how what was promised to users is kept: the budget of failures of each
// ServiceLevelObjective, how fast it burns, the alerts that follow, and which Rollouts have to wait. It
// asks a store of time series through a small interface, and never sees a request. What a
// Rollout makes of it is decided elsewhere.
package slo

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Severity is how soon somebody should look.
type Severity string

// The severities.
const (
	Page   Severity = "page"   // at once
	Ticket Severity = "ticket" // within days
)

// BurnWindow is one condition of burning: over both windows the budget burns at least Factor times
// as fast as it may. The long one makes it significant, the short one ends it soon after.
type BurnWindow struct {
	Severity    Severity
	Long, Short time.Duration
	Factor      float64
}

// longestKeep bounds for how long an alert stays on whose condition no longer holds.
const longestKeep = time.Hour

// Keep is for how long the alert stays on after its condition held last: as long as its short window, and an
// hour at most. A burn near its factor is then one alert, and not one at every second look; to begin
// takes no longer than without.
func (w BurnWindow) Keep() time.Duration { return min(w.Short, longestKeep) }

// month is the window that the workbook's table is made for.
const month = 30 * 24 * time.Hour

// workbook is the table of Google's Site Reliability Workbook, chapter 5 ("Alerting on SLOs", 6:
// multiwindow, multi-burn-rate alerts), for a window of thirty days. Share is what burns of the budget in the long
// window at that factor: 14.4 × 1 h of 720 h are 2 %.
var workbook = []struct {
	severity    Severity
	long, short time.Duration
	factor      float64
	share       float64
}{
	{Page, time.Hour, 5 * time.Minute, 14.4, 0.02},
	{Page, 6 * time.Hour, 30 * time.Minute, 6, 0.05},
	{Ticket, 24 * time.Hour, 2 * time.Hour, 3, 0.10},
	{Ticket, 72 * time.Hour, 6 * time.Hour, 1, 0.10},
}

// Shortest windows: a store has a sample every few seconds.
const (
	leastLong  = 5 * time.Minute
	leastShort = time.Minute
	leastPage  = 2 // a budget that is just spent at the end of its window gets nobody out of bed
)

// BurnWindows are the workbook's conditions for an objective's window: its lengths shrink and grow
// with the window, so that the factors stay and a condition means the same share of the budget. Where a length
// is at its least, the factor keeps the share, and is at least 1, of pages 2. Conditions that have become the same are one.
//
// Worked example, of seven days: 1 h becomes 14 min, 5 min become 1 min 10 s, and 14.4 times too
// fast for 14 min are 2 % of what is allowed in seven days.
func BurnWindows(window time.Duration) []BurnWindow {
	var list []BurnWindow
	for _, w := range workbook {
		long := max(scaled(w.long, window), leastLong)
		least := 1.0
		if w.severity == Page {
			least = leastPage
		}
		one := BurnWindow{
			Severity: w.severity, Long: long, Short: max(scaled(w.short, window), leastShort), Factor: w.factor,
		}
		if long == leastLong {
			one.Factor = min(w.factor, max(least, w.share*float64(window)/float64(long)))
		}
		same := func(b BurnWindow) bool {
			return b.Severity == one.Severity && b.Long == one.Long && b.Factor == one.Factor
		}
		if !slices.ContainsFunc(list, same) {
			list = append(list, one)
		}
	}
	return list
}

// scaled is a length of the workbook's for another window than its own, in whole seconds.
func scaled(length, window time.Duration) time.Duration {
	return time.Duration(math.Round(length.Seconds()*window.Seconds()/month.Seconds())) * time.Second
}

// promDuration writes a duration as PromQL does: 1d, 1h30m.
func promDuration(d time.Duration) string {
	if d <= 0 {
		return "0s"
	}
	text := ""
	for _, unit := range []struct {
		name string
		of   time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}} {
		if n := d / unit.of; n > 0 {
			text += fmt.Sprintf("%d%s", n, unit.name)
			d -= n * unit.of
		}
	}
	return text
}
