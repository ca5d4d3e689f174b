package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"weir.dev/weir/controlplane/explain"
)

func budgetCommand(std Streams) *cobra.Command {
	var files []string
	var admin, failing string
	var rate float64
	var output format
	cmd := &cobra.Command{
		Use:   "budget [-f PATH...] ROUTE",
		Short: "Say how long requests of a route may take at worst, and how many one may become",
		Long: "Budget adds up what the policies of a route come to when everything goes wrong: queue, tries, backoff, and the\n" +
			"services that its backend calls; how many tries a request becomes, along the whole call graph, with and\n" +
			"without the retry budget; and which field does it, with the file and line that set it.\n\n" +
			"ROUTE is NAMESPACE/NAME or NAMESPACE/NAME/RULE. It asks files and folders with -f, or else a running Weir.",
		Example: "  weir budget -f ./routes shop/checkout\n  weir budget shop/checkout/pay --rate 200 --failing 5%",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("want one ROUTE, like shop/checkout")
			}
			return nil
		},
		ValidArgsFunction: offer(listing{path: "/api/v1/routes", filter: "name"}, &admin),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(files) > 0 && cmd.Flags().Changed("admin") {
				return usagef("-f and --admin do not go together: ask files, or a running Weir")
			}
			q := explain.BudgetQuestion{Route: args[0], Rate: rate}
			if math.IsNaN(rate) || math.IsInf(rate, 0) || rate < 0 {
				return usagef("--rate %v: want requests per second, 0 or more", rate)
			}
			n, err := strconv.ParseFloat(strings.TrimSuffix(failing, "%"), 64)
			if err != nil || !(n >= 0 && n <= 100) {
				return usagef("--failing %q: want a percentage, like 5%%", failing)
			}
			q.Failing = n / 100
			return runBudget(cmd.Context(), std, files, admin, q, &output)
		},
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "file or folder with resources, - for standard input; repeatable")
	adminFlag(cmd.Flags(), &admin)
	cmd.Flags().Float64Var(&rate, "rate", 0, "requests per second, which tells what the floor of a retry budget adds; 0: so many that it adds nothing")
	cmd.Flags().StringVar(&failing, "failing", "10%", "share of tries that fails in what is expected")
	output.flag(cmd)
	return cmd
}

func runBudget(ctx context.Context, std Streams, files []string, admin string, q explain.BudgetQuestion, output *format) error {
	var budgets []explain.Budget
	if len(files) > 0 {
		_, out, err := load(ctx, std, files)
		if err != nil {
			return err
		}
		if budgets, err = explain.New(out.Snapshot).Budgets(q); err != nil {
			return err
		}
	} else {
		c, err := newClient(admin)
		if err != nil {
			return err
		}
		var answer struct{ Budgets []explain.Budget }
		question := map[string]any{"route": q.Route, "rate": q.Rate, "failing": q.Failing}
		if err := c.post(ctx, "/api/v1/budgets", question, &answer); err != nil {
			return err
		}
		budgets = answer.Budgets
	}
	return output.write(std.Out, budgets, func() {
		for i := range budgets {
			if i > 0 {
				fmt.Fprintln(std.Out)
			}
			printBudget(std.Out, &budgets[i])
		}
	})
}

func printBudget(out io.Writer, b *explain.Budget) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(out, "%-10s"+format+"\n", append([]any{name}, args...)...)
	}
	line("route", "%s (%s)", b.Route, originText(b.Origin))
	if b.Latency.WorstMs == nil {
		line("latency", "no bound")
	} else {
		line("latency", "%s at worst", shortTime(*b.Latency.WorstMs))
	}
	a := &b.Amplification
	line("load", "×%s at worst, ×%s when %s of tries fail, ×%s without retry budgets, ×%s where attempts are marked",
		explain.Times(a.Worst), explain.Times(a.Expected), explain.Percent(a.Failing), explain.Times(a.Unbounded), explain.Times(a.Marked))
	fmt.Fprintln(out)
	printBudgetSteps(out, &b.Latency)
	if len(a.Path) > 0 {
		rows := make([][]string, len(a.Path))
		for i, h := range a.Path {
			ceiling := "-"
			if h.Ceiling > 0 {
				ceiling = "×" + explain.Times(h.Ceiling)
			}
			rows[i] = []string{h.Service, cmp.Or(h.Rule, "-"), strconv.Itoa(h.Tries), ceiling, "×" + explain.Times(h.Expected), "×" + explain.Times(h.Worst), "×" + explain.Times(h.Total)}
		}
		fmt.Fprintln(out)
		table(out, []string{"calls", "by rule", "tries", "budget", "expected", "worst", "so far"}, rows)
	}
	if len(b.Latency.Downstream) > 0 {
		rows := make([][]string, len(b.Latency.Downstream))
		for i, d := range b.Latency.Downstream {
			worst, outlives := "no bound", "no"
			if d.WorstMs != nil {
				worst = shortTime(*d.WorstMs)
			}
			if d.Outlives {
				outlives = "yes"
			}
			rows[i] = []string{d.Service, d.Rule, worst, outlives}
		}
		fmt.Fprintln(out)
		table(out, []string{"downstream", "by rule", "at worst", "outlives its caller's try"}, rows)
	}
	rows := make([][]string, len(b.Contributions))
	for i, c := range b.Contributions {
		field, origin := c.Field, originText(c.Origin)
		if c.Of != "" {
			field += " of " + c.Of
		}
		if c.Default {
			origin = "default"
		}
		rows[i] = []string{field, cmp.Or(c.Value, "-"), origin, c.Effect}
	}
	fmt.Fprintln(out)
	table(out, []string{"policy", "value", "set at", "what it does"}, rows)
	for i, n := range b.Notes {
		if i == 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "note: %s\n", n)
	}
}

// pictureWidth is how many characters stand for all of the time.
const pictureWidth = 48

// marks are what steps are drawn with.
var marks = map[explain.StepKind]rune{explain.StepQueue: '▒', explain.StepBackoff: '░', explain.StepTry: '█'}

// printBudgetSteps draws what takes time, one line each. Where nothing ends a step, its line has an
// arrow at the end.
func printBudgetSteps(out io.Writer, l *explain.LatencyBudget) {
	end := 0.0
	for _, s := range l.Steps {
		if !s.Never {
			end = max(end, s.FromMs)
		}
		if s.ToMs != nil {
			end = max(end, *s.ToMs)
		}
	}
	column := func(ms float64) int {
		if end == 0 {
			return 0
		}
		return int(math.Round(ms / end * pictureWidth))
	}
	for _, s := range l.Steps {
		name := string(s.Kind)
		if s.Kind == explain.StepTry {
			name += " " + strconv.Itoa(s.Try)
		}
		from, to, span := column(s.FromMs), pictureWidth, shortTime(s.FromMs)+" and on, nothing ends it"
		switch {
		case s.Never:
			from, to, span = 0, 0, "never starts: at "+shortTime(s.FromMs)+" the request is over"
		case s.ToMs != nil:
			to, span = column(*s.ToMs), shortTime(s.FromMs)+" to "+shortTime(*s.ToMs)
		}
		if s.Cut {
			span += ", cut short"
		}
		bar := strings.Repeat(" ", from) + strings.Repeat(string(marks[s.Kind]), max(to-from, 0))
		if to == from && !s.Never {
			bar += "·"
		}
		if s.ToMs == nil && !s.Never {
			bar += ">"
		}
		fmt.Fprintf(out, "%-10s%s%s%s\n", name, bar, strings.Repeat(" ", max(pictureWidth+2-utf8.RuneCountInString(bar), 1)), span)
	}
}

// shortTime writes milliseconds as durations are written, to the microsecond.
func shortTime(ms float64) string {
	return time.Duration(ms * float64(time.Millisecond)).Round(time.Microsecond).String()
}
