package main

import (
	"fmt"
	"runtime"
	"strings"
	"time"

	"weir.dev/weir/bench/release"
	"weir.dev/weir/bench/report"
)

// releasePage writes what the group has found.
func (b *releaseBench) releasePage(all []played) string {
	var w strings.Builder
	w.WriteString("# Releases that go bad\n\nWritten by `make bench`. A canary that was good becomes bad under traffic, again and again; " +
		"counted at the canary itself and at the users. Figures are median / 95th percentile / highest over the trials.\n\n")
	if b.quick {
		w.WriteString("**A check that everything runs, not a result: one trial each, and too few requests.**\n\n")
	}
	w.WriteString("| the canary | trials | taken back | failures completed before | under way then | requests of the canary | ms to its last request | failures that users saw | requests sent to it after |\n" +
		"|---|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, p := range all {
		p.row(&w)
	}
	w.WriteString("\n*Under way then* has the request in it whose answer proved it. *Requests of the canary* are all since the first that might have failed; *ms to its last request* counts from the first bad answer. " +
		"*Sent to it after* are requests that users sent after the trip and the canary got all the same.\n\n")
	goals(&w, all)
	b.compare(&w, all)
	w.WriteString("## Machine and method\n\n")
	for _, f := range []report.Fact{
		{Name: "Date", Text: b.began.UTC().Format("2006-01-02 15:04 UTC") + ", took " + time.Since(b.began).Round(time.Second).String()},
		{Name: "Machine", Text: machine()},
		{Name: "Command", Text: "`" + strings.TrimSpace(b.command) + "`"},
		{Name: "weir", Text: b.versions["weir"]},
		{Name: "Generator and versions", Text: "this program, " + runtime.Version()},
	} {
		fmt.Fprintf(&w, "- %s: %s\n", f.Name, f.Text)
	}
	fmt.Fprintf(&w, "\n%d requests a second of %d users, each of whom has a cookie, come in an open model: whatever became of the ones before. Each trial is a run of the "+
		"Rollout, whose canary answers %d requests well first. `confidence: 99.9%%` and `consecutiveFailures: 5` throughout. A canary is bad by seeded chance. "+
		"Where p99 doubles both versions take 20 ms in the middle, log-normally distributed with σ = 0.5, and the canary's slowest twentieth of answers takes twice as long. "+
		"Weir, the versions and the generator share the machine.\n", b.rate, releaseUsers, quiet)
	for _, n := range b.notes {
		fmt.Fprintf(&w, "\n- %s\n", strings.Join(strings.Fields(n), " "))
	}
	return w.String()
}

func (p played) row(w *strings.Builder) {
	tripped := p.column(func(release.Result) float64 { return 1 })
	fmt.Fprintf(w, "| %s | %d | %d |", p.title, len(p.results), len(tripped))
	if len(tripped) == 0 {
		most := 0
		for _, r := range p.results {
			most = max(most, r.Canary)
		}
		fmt.Fprintf(w, " – | – | %d, and not taken back | – | – | – |\n", most)
		return
	}
	for _, of := range []func(release.Result) float64{
		func(r release.Result) float64 { return float64(r.Completed) },
		func(r release.Result) float64 { return float64(r.InFlight) },
		func(r release.Result) float64 { return float64(r.Canary) },
		func(r release.Result) float64 { return float64(r.Took.Milliseconds()) },
		func(r release.Result) float64 { return float64(r.Visible) },
		func(r release.Result) float64 { return float64(r.After) },
	} {
		all := p.column(of)
		fmt.Fprintf(w, " %.0f / %.0f / %.0f |", quantile(all, 0.5), quantile(all, 0.95), all[len(all)-1])
	}
	w.WriteString("\n")
}

// goals says what was asked for, and whether it came about.
func goals(w *strings.Builder, all []played) {
	w.WriteString("## Goals\n\n| goal | measured | |\n|---|--:|---|\n")
	line := func(title string, measured, limit float64) {
		verdict := "met"
		if measured > limit {
			verdict = "**missed**"
		}
		fmt.Fprintf(w, "| %s ≤ %.0f | %.0f | %s |\n", title, limit, measured, verdict)
	}
	after := 0
	for _, p := range all {
		for _, r := range p.results {
			after += r.After
		}
		canary := p.column(func(r release.Result) float64 { return float64(r.Canary) })
		missing := float64(len(p.results) - len(canary))
		if p.spared {
			line(p.title+": trials in which it is taken back", float64(len(canary)), 0)
			continue
		}
		line(p.title+": trials in which it is not taken back", missing, 0)
		if len(canary) == 0 {
			continue
		}
		if g := p.goal; g.completed > 0 {
			completed := p.column(func(r release.Result) float64 { return float64(r.Completed) })
			line(p.title+": failures completed before", completed[len(completed)-1], float64(g.completed))
		}
		if g := p.goal; g.median > 0 {
			line(p.title+": requests of the canary, median", quantile(canary, 0.5), float64(g.median))
			line(p.title+": requests of the canary, 95th percentile", quantile(canary, 0.95), float64(g.p95))
		}
	}
	line("Everywhere: requests that users send to the canary after the trip", float64(after), 0)
	w.WriteString("\n")
}

// Documented times of others, between a failure and its end.
const (
	flaggerTakes = 10 * time.Minute // interval 1m, threshold 10
	argoTakes    = 10 * time.Minute // three measurements at intervals of 5m, the first at once
)

// compare puts beside it what others document.
func (b *releaseBench) compare(w *strings.Builder, all []played) {
	w.WriteString("## Beside Flagger and Argo Rollouts\n\nNeither was run. They ask a Prometheus at intervals, and what that costs is arithmetic: Flagger's " +
		"documentation rolls back after `interval` × `threshold`, 1 min × 10 in the example of its page *How it works*, if success is below 99 %; Argo Rollouts' page *Analysis* has its example " +
		"measure every 5 min and fail at the third measurement below 95 %, so 10 min after the first one that sees it. Failures that users see are rate × share × failing part × time, at the same share of traffic.\n\n" +
		"| the canary | Weir: failures, time (median) | Flagger | Argo Rollouts |\n|---|--:|--:|--:|\n")
	for _, p := range all {
		if p.failed == 0 || p.spared {
			continue
		}
		mine := "–"
		if visible := p.column(func(r release.Result) float64 { return float64(r.Visible) }); len(visible) > 0 {
			took := p.column(func(r release.Result) float64 { return float64(r.Took.Milliseconds()) })
			mine = fmt.Sprintf("%.0f, %.0f ms", quantile(visible, 0.5), quantile(took, 0.5))
		}
		flagger, argo := "not caught: 99 % is its bound", "not caught: 95 % is its bound"
		if p.failed > 0.01 {
			flagger = b.elsewhere(p, flaggerTakes)
		}
		if p.failed > 0.05 {
			argo = b.elsewhere(p, argoTakes)
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", p.title, mine, flagger, argo)
	}
	w.WriteString("\n")
}

func (b *releaseBench) elsewhere(p played, takes time.Duration) string {
	var share float64
	_, _ = fmt.Sscanf(p.share, "%g%%", &share) // it is one
	return fmt.Sprintf("%.0f, %v", float64(b.rate)*share/100*p.failed*takes.Seconds(), takes)
}
