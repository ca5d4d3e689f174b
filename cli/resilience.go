package cli

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// resilienceListing is what `weir get resilience` shows: what protects each backend, scope and
// route, and what it does.
var resilienceListing = listing{
	name: "resilience", short: "breakers, budgets, ejections and limits, and what they hold back", path: "/api/v1/resilience", filter: "name", of: "target",
	columns: []string{"target", "state", "how it stands", "what it did"},
	row: func(p map[string]any) []string {
		return []string{word(p["target"]), word(p["state"]), cmp.Or(standing(p), "-"), cmp.Or(actions(p["actions"]), "nothing")}
	},
}

// standing says in a line how a protection stands.
func standing(p map[string]any) string {
	var parts []string
	add := func(text string) {
		if text != "" {
			parts = append(parts, text)
		}
	}
	add(overloadOf(child(p, "overload")))
	add(breakerOf(child(p, "breaker")))
	if b := child(p, "retryBudget"); b != nil {
		text := observed(b) + "retries " + word(b["retries"]) + " of " + word(b["firstTries"]) + " first tries"
		if left, bounded := b["remaining"]; bounded {
			text += ", " + word(left) + " left"
		}
		add(text)
	}
	if t := child(p, "throttle"); t != nil {
		add("accepted " + word(t["accepted"]) + " of " + word(t["requests"]))
	}
	if e := child(p, "ejections"); e != nil {
		add(observed(e) + "ejected " + word(e["count"]) + " of " + word(e["hosts"]) + " hosts" + ejected(e["ejected"]))
	}
	for _, r := range children(p["pressure"]) {
		if share, _ := r["share"].(float64); r["layer"] != "none" {
			add(word(r["resource"]) + " " + percent(share) + " (" + word(r["layer"]) + ")")
		}
	}
	return strings.Join(parts, "; ")
}

func overloadOf(o map[string]any) string {
	if o == nil {
		return ""
	}
	heat, _ := o["heat"].(float64)
	text := observed(o) + "in flight " + word(o["inFlight"]) + " of " + word(o["limit"]) + ", queued " + word(o["queued"]) + ", busy " + percent(heat)
	for _, step := range children(o["steps"]) {
		if at, _ := step["at"].(float64); step["active"] == true {
			text += ", step " + percent(at)
		}
	}
	return text
}

func breakerOf(b map[string]any) string {
	if b == nil {
		return ""
	}
	var parts []string
	if trip := child(b, "trip"); trip != nil {
		text := "breaker " + word(trip["state"])
		if in, waits := trip["probesInSeconds"].(float64); waits {
			text += fmt.Sprintf(", probes in %.0f s", math.Ceil(in))
		}
		parts = append(parts, text)
	}
	for _, bound := range children(b["bounds"]) {
		parts = append(parts, word(bound["name"])+" "+word(bound["used"])+" of "+word(bound["most"]))
	}
	return observed(b) + strings.Join(parts, ", ")
}

// observed stands before what is only observed.
func observed(m map[string]any) string {
	if m["mode"] == "Observe" {
		return "(observes) "
	}
	return ""
}

func ejected(v any) string {
	var hosts []string
	for _, host := range children(v) {
		hosts = append(hosts, word(host["address"])+" by "+word(host["rule"]))
	}
	if hosts == nil {
		return ""
	}
	return ": " + strings.Join(hosts, ", ")
}

// actions says what was done, and what would have been.
func actions(v any) string {
	var parts []string
	for _, a := range children(v) {
		text := word(a["protection"]) + " " + word(a["acted"])
		if rate, _ := a["actedPerSecond"].(float64); rate > 0 {
			text += " (" + decimal(rate) + "/s)"
		}
		if would := word(a["wouldHave"]); would != "0" {
			text += ", would have " + would
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

// children are the objects of a list.
func children(v any) []map[string]any {
	items, _ := v.([]any)
	var out []map[string]any
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func percent(share float64) string { return strconv.Itoa(int(math.Round(100*share))) + "%" }
