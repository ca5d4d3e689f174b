package cli

import (
	"context"
	"fmt"
	"io"
	"time"
)

// worthLook are the counts of the program's state that somebody should look at unless they are 0, and
// with which command.
var worthLook = []struct{ count, one, more, command string }{
	{"pagingObjectives", "objective burns so fast that somebody is to be called", "objectives burn so fast that somebody is to be called", "weir slo"},
	{"burningObjectives", "objective burns too fast", "objectives burn too fast", "weir slo"},
	{"exhaustedObjectives", "objective has no budget left", "objectives have no budget left", "weir slo"},
	{"undecidedRollouts", "release cannot be decided: the state is not on disk", "releases cannot be decided: the state is not on disk", "weir get rollouts"},
	{"abortedRollouts", "release was taken back in the last hour", "releases were taken back in the last hour", "weir get rollouts"},
	{"holdingRollouts", "release waits for something", "releases wait for something", "weir get rollouts"},
	{"activeFaults", "fault is active, on purpose", "faults are active, on purpose", "weir get faults"},
	{"acting", "protection holds something back", "protections hold something back", "weir get resilience"},
	{"unhealthyHosts", "host is unhealthy", "hosts are unhealthy", "weir get hosts"},
	{"quarantined", "object runs an older version, or none: the newest is wrong", "objects run an older version, or none: the newest is wrong", "weir get diagnostics"},
	{"errors", "error in the configuration", "errors in the configuration", "weir get diagnostics"},
	{"warnings", "warning about the configuration", "warnings about the configuration", "weir get diagnostics"},
}

// showStatus shows the program's state: what is live, how it goes, and what to look at.
func showStatus(ctx context.Context, std Streams, admin string, output *format) error {
	c, err := newClient(admin)
	if err != nil {
		return err
	}
	var status map[string]any
	if err := c.get(ctx, "/api/v1/status", &status); err != nil {
		return err
	}
	return output.write(std.Out, status, func() { printStatus(std.Out, status) })
}

func printStatus(out io.Writer, s map[string]any) {
	state, counts := child(s, "state"), child(s, "counts")
	is := "ready"
	switch {
	case state["draining"] == true:
		is = "draining: takes no new work, and will end"
	case state["ready"] != true:
		is = "not ready"
		if reason := word(state["reason"]); reason != "" {
			is += ": " + reason
		}
	}
	fmt.Fprintf(out, "state     %s\n", is)
	if version := word(s["version"]); version != "" {
		fmt.Fprintf(out, "live      revision %s (%.12s), for %s\n", word(s["revision"]), version, lasted(s["ageSeconds"]))
	}
	fmt.Fprintf(out, "serves    %s, %s, %s, %s; %s\n", some(counts, "listeners", "listener"), some(counts, "routes", "route"),
		some(counts, "clusters", "backend"), some(counts, "hosts", "host"), some(counts, "objects", "object"))
	printTraffic(out, "requests", child(s, "traffic"))
	if streams := child(s, "streams"); word(streams["requests"]) != "0" || word(streams["inFlight"]) != "0" {
		printTraffic(out, "streams", streams)
	}
	fmt.Fprintf(out, "program   weir %s, since %s\n", word(s["program"]), moment(s["started"]))

	if problem := word(state["problem"]); problem != "" {
		fmt.Fprintf(out, "look      a part of this revision is not in effect: %s\n", problem)
	}
	if problem := word(state["series"]); problem != "" {
		fmt.Fprintf(out, "look      time series are not kept, so objectives and gates that ask for them get no answer: %s\n", problem)
	}
	for _, look := range worthLook {
		n := word(counts[look.count])
		if n == "" || n == "0" {
			continue
		}
		what := look.more
		if n == "1" {
			what = look.one
		}
		fmt.Fprintf(out, "look      %s %s: `%s`\n", n, what, look.command)
	}
}

// printTraffic says how much there was in the last seconds, and what became of it.
func printTraffic(out io.Writer, name string, t map[string]any) {
	lately := child(t, "lately")
	var failed float64
	for _, perSecond := range child(lately, "blamePerSecond") {
		n, _ := perSecond.(float64)
		failed += n
	}
	fmt.Fprintf(out, "%-9s %s/s, errors %s/s, p50 %s, p95 %s, p99 %s; %s in flight, %s so far\n", name,
		decimal(lately["requestsPerSecond"]), decimal(failed), estimate(lately["p50Ms"]), estimate(lately["p95Ms"]), estimate(lately["p99Ms"]),
		word(t["inFlight"]), word(t["requests"]))
}

// some is "1 host" or "3 hosts".
func some(counts map[string]any, name, one string) string {
	n := word(counts[name])
	if n == "1" {
		return n + " " + one
	}
	return n + " " + one + "s"
}

// lasted writes a number of seconds as a duration.
func lasted(v any) string {
	n, _ := v.(float64)
	return time.Duration(n * float64(time.Second)).Round(time.Second).String()
}
