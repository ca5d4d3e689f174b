package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// rolloutListing is what `weir get rollouts` shows.
var rolloutListing = listing{
	name: "rollouts", short: "releases: how far each is, and what blocks it", path: "/api/v1/rollouts", filter: "name",
	columns: []string{"rollout", "phase", "stage", "share", "canary", "failed", "stable failed", "what blocks it"},
	row: func(r map[string]any) []string {
		figures := child(r, "figures")
		return []string{
			word(r["name"]), word(r["phase"]), stageOf(r), word(r["share"]), word(r["canary"]),
			failedOf(child(figures, "canary")), failedOf(child(figures, "stable")),
			cmp.Or(unwritten(r), word(child(r, "blocking")["message"]), "-"),
		}
	},
}

func stageOf(r map[string]any) string {
	stages, _ := r["stages"].([]any)
	stage, _ := r["stage"].(float64)
	if stage == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f of %d", stage, len(stages))
}

// failedOf is "3 of 1,200".
func failedOf(arm map[string]any) string {
	if arm == nil {
		return "-"
	}
	return word(arm["failed"]) + " of " + word(arm["requests"])
}

func rolloutCommand(std Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollout",
		Short: "See and move releases",
		Long: "A Rollout moves traffic from a stable backend to a canary in stages, and every proxy takes it back by itself\n" +
			"on the response that proves a regression. These commands tell how far one is, and move it.",
		Args: noArgs,
	}
	cmd.AddCommand(
		rolloutQuestion(std, "status", "Both arms, the evidence and what blocks the next stage", rolloutStatus),
		rolloutQuestion(std, "history", "What happened, who did it and why", rolloutHistory),
	)
	for _, v := range []struct{ verb, short string }{
		{"start", "Begin a new run at the first stage"},
		{"promote", "Enter the next stage now, without waiting for time, requests or gates"},
		{"pause", "Stay at the present share"},
		{"resume", "Go on after a pause"},
		{"abort", "Give everything back to stable, at once"},
		{"finish", "Say that the canary is the new stable, and print what to write down"},
		{"approve", "Approve a gate"},
	} {
		cmd.AddCommand(rolloutOrder(std, v.verb, v.short))
	}
	return cmd
}

func rolloutOrder(std Streams, verb, short string) *cobra.Command {
	var admin, tokenFile, reason, gate, override string
	cmd := &cobra.Command{
		Use: verb + " NAMESPACE/NAME", Short: short, Example: "  weir rollout " + verb + " shop/checkout", Args: oneRollout, ValidArgsFunction: offer(rolloutListing, &admin),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := authorised(admin, tokenFile)
			if err != nil {
				return err
			}
			var done struct {
				Done   string
				Status map[string]any
				Patch  string
			}
			body := map[string]string{"name": qualified(args[0]), "do": verb, "reason": reason, "gate": gate, "overrideFreeze": override}
			if err := c.post(cmd.Context(), "/api/v1/rollouts", body, &done); err != nil {
				return err
			}
			if done.Patch != "" {
				_, err := fmt.Fprint(std.Out, done.Patch)
				return err
			}
			_, err = fmt.Fprintf(std.Out, "%s: %s is %s, stage %s, share %s", done.Done, qualified(args[0]),
				word(done.Status["phase"]), stageOf(done.Status), word(done.Status["share"]))
			if why := unwritten(done.Status); why != "" {
				fmt.Fprintf(std.Out, "; %s", why)
			}
			fmt.Fprintln(std.Out)
			return err
		},
	}
	adminFlags(cmd, &admin, &tokenFile)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the history")
	if verb == "start" || verb == "promote" {
		cmd.Flags().StringVar(&override, "override-freeze", "", "why a freeze by a ServiceLevelObjective is disregarded")
	}
	if verb == "approve" {
		cmd.Flags().StringVar(&gate, "gate", "", "which gate, where several wait")
	}
	return cmd
}

// qualified is a name with its namespace.
func qualified(name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	return "default/" + name
}

// oneRollout refuses anything but one name.
func oneRollout(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef("want one Rollout, as NAMESPACE/NAME; `weir get rollouts` lists them")
	}
	return nil
}

// unwritten says what of a release is not on disk, or why nothing can be decided; empty: all is well.
func unwritten(status map[string]any) string {
	problem := word(status["problem"])
	switch {
	case status["unsaved"] == true:
		return "not yet on disk: " + problem
	case word(status["decided"]) != "":
		return word(status["decided"]) + " as soon as that is on disk: " + problem
	}
	return problem
}

// rolloutQuestion is a command that asks about one Rollout. answer returns what it prints, and how it does that for people.
func rolloutQuestion(std Streams, use, short string, answer func(ctx context.Context, c client, name string, out io.Writer) (any, func(), error)) *cobra.Command {
	var admin string
	var output format
	cmd := &cobra.Command{
		Use: use + " NAMESPACE/NAME", Short: short, Example: "  weir rollout " + use + " shop/checkout", Args: oneRollout, ValidArgsFunction: offer(rolloutListing, &admin),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newClient(admin)
			if err != nil {
				return err
			}
			found, text, err := answer(cmd.Context(), c, qualified(args[0]), std.Out)
			if err != nil {
				return err
			}
			return output.write(std.Out, found, text)
		},
	}
	adminFlag(cmd.Flags(), &admin)
	output.flag(cmd)
	return cmd
}

func rolloutStatus(ctx context.Context, c client, name string, out io.Writer) (any, func(), error) {
	status, err := c.rollout(ctx, name)
	return status, func() { printRollout(out, status) }, err
}

// rollout asks how far one is.
func (c client) rollout(ctx context.Context, name string) (map[string]any, error) {
	var found struct{ Items []map[string]any }
	if err := c.get(ctx, "/api/v1/rollouts?name="+url.QueryEscape(name), &found); err != nil {
		return nil, err
	}
	at := slices.IndexFunc(found.Items, func(r map[string]any) bool { return r["name"] == name })
	if at < 0 {
		return nil, fmt.Errorf("no Rollout %s is live; `weir get rollouts` lists them, and `weir lint` says why one is not accepted", name)
	}
	return found.Items[at], nil
}

func printRollout(out io.Writer, r map[string]any) {
	fmt.Fprintf(out, "%s  %s, run %s, stage %s, share %s\n", word(r["name"]), word(r["phase"]), word(r["run"]), stageOf(r), word(r["share"]))
	fmt.Fprintf(out, "  stable %s\n  canary %s\n", word(r["stable"]), word(r["canary"]))
	if why := unwritten(r); why != "" {
		fmt.Fprintf(out, "  state: %s\n", why)
	}
	if b := child(r, "blocking"); b != nil {
		fmt.Fprintf(out, "  %s: %s\n", word(b["name"]), word(b["message"]))
	}
	if t := child(r, "trip"); t != nil {
		fmt.Fprintf(out, "  tripped at %s", moment(t["at"]))
		if t["reason"] != child(r, "blocking")["message"] {
			fmt.Fprintf(out, ": %s", word(t["reason"]))
		}
		fmt.Fprintln(out)
	}
	if f := child(r, "figures"); f != nil {
		printArms(out, f)
	}
	if notes, ok := r["notes"].([]any); ok {
		for _, n := range notes {
			fmt.Fprintln(out, "  note:", n)
		}
	}
	if gates := children(r["gates"]); len(gates) > 0 {
		fmt.Fprintln(out)
		rows := make([][]string, len(gates))
		for i, g := range gates {
			rows[i] = []string{word(g["gate"]), word(g["verdict"]), word(g["message"])}
		}
		table(out, []string{"gate", "verdict", "because"}, rows)
	}
}

func printArms(out io.Writer, figures map[string]any) {
	rows := make([][]string, 0, 2)
	for _, name := range []string{"stable", "canary"} {
		if a := child(figures, name); a != nil {
			rows = append(rows, []string{name, word(a["users"]), word(a["requests"]), word(a["failed"]), interval(a), span(a["p50Ms"]), span(a["p99Ms"])})
		}
	}
	fmt.Fprintln(out)
	for _, c := range children(figures["cohorts"]) {
		if n, _ := c["requests"].(float64); n > 0 {
			rows = append(rows, []string{"cohort " + word(c["name"]), "-", word(c["requests"]), word(c["failed"]), "-", "-", "-"})
		}
	}
	table(out, []string{"arm", "users", "requests", "failed", "share", "p50", "p99"}, rows)
	tests := children(figures["tests"])
	if len(tests) == 0 {
		return
	}
	fmt.Fprintln(out)
	rows = rows[:0]
	for _, t := range tests {
		evidence, _ := t["evidence"].(float64)
		boundary, _ := t["boundary"].(float64)
		rows = append(rows, []string{word(t["name"]), strconv.FormatFloat(evidence, 'f', 2, 64), strconv.FormatFloat(boundary, 'f', 2, 64), bar(evidence / boundary), word(t["detail"])})
	}
	table(out, []string{"test", "evidence", "trips at", "", "compares"}, rows)
}

// bar draws how near something is to its bound.
func bar(share float64) string {
	if math.IsNaN(share) {
		share = 0
	}
	full := int(math.Round(10 * min(max(share, 0), 1)))
	return strings.Repeat("█", full) + strings.Repeat("░", 10-full)
}

// interval shows an arm's share of failures with its interval: "1.20 % (0.80–1.90)".
func interval(arm map[string]any) string {
	get := func(key string) string {
		n, _ := arm[key].(float64)
		return strconv.FormatFloat(100*n, 'f', 2, 64)
	}
	return get("errorShare") + " % (" + get("low") + "–" + get("high") + ")"
}

// span shows a time that is a number of milliseconds.
func span(v any) string {
	n, _ := v.(float64)
	if n == 0 {
		return "-"
	}
	return time.Duration(n * float64(time.Millisecond)).Round(10 * time.Microsecond).String()
}

func rolloutHistory(ctx context.Context, c client, name string, out io.Writer) (any, func(), error) {
	var history struct{ Items []map[string]any }
	if err := c.get(ctx, "/api/v1/rollouts/history?name="+url.QueryEscape(name), &history); err != nil {
		return nil, nil, err
	}
	return history.Items, func() {
		rows := make([][]string, len(history.Items))
		for i, e := range history.Items {
			rows[i] = []string{moment(e["at"]), word(e["run"]), word(e["stage"]), word(e["share"]), word(e["what"]), word(e["who"]), cmp.Or(word(e["numbers"]), "-"), cmp.Or(word(e["why"]), "-")}
		}
		table(out, []string{"when", "run", "stage", "share", "what", "who", "numbers", "why"}, rows)
	}, nil
}
