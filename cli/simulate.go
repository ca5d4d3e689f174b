package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/simulate"
	"weir.dev/weir/controlplane/source"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// simulation is how `weir simulate` was called.
type simulation struct {
	files    []string
	scenario string
	name     string
	svg      string
	quiet    bool
	output   format
}

func simulateCommand(std Streams) *cobra.Command {
	var c simulation
	cmd := &cobra.Command{
		Use:   "simulate -f PATH... [--scenario FILE]",
		Short: "Play an outage against policies, before it happens",
		Long: "Simulate plays a Scenario with virtual time: who calls, what the services behind the routes can do, and what\n" +
			"happens to them. Hosts are chosen, tries repeated, hosts ejected and requests shed by the code that serves.\n\n" +
			"The exit code is 1 if a limit of the scenario is exceeded, so that CI can hold a policy.",
		Example: "  weir simulate -f ./routes --scenario storm.yaml\n" +
			"  weir simulate -f ./routes --scenario storm.yaml -o json\n" +
			"  weir simulate -f ./routes --scenario storm.yaml --svg storm.svg",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(c.files) == 0 {
				return usagef("nothing to simulate: give files or folders with -f")
			}
			return c.run(cmd.Context(), std)
		},
	}
	cmd.Flags().StringArrayVarP(&c.files, "file", "f", nil, "file or folder with resources; repeatable")
	cmd.Flags().StringVar(&c.scenario, "scenario", "", "file or folder with Scenarios; default: those of -f")
	cmd.Flags().StringVar(&c.name, "name", "", "name of the one Scenario to play; default: all of them")
	cmd.Flags().StringVar(&c.svg, "svg", "", "file to write a chart to, for one Scenario")
	cmd.Flags().BoolVarP(&c.quiet, "quiet", "q", false, "only the summary and the limits: no table, no progress")
	c.output.flag(cmd)
	return cmd
}

func (c *simulation) run(ctx context.Context, std Streams) error {
	scenarios, err := c.scenarios(std)
	if err != nil {
		return err
	}
	set, out, err := load(ctx, std, c.files)
	if err != nil {
		return err
	}
	if countErrors(set) > 0 || refused(std, out) {
		return errFindings // what is left would be another policy
	}
	reports := make([]*simulate.Report, 0, len(scenarios))
	failed := 0
	for i, o := range scenarios {
		r, err := c.play(ctx, std, out.Snapshot, o)
		if err != nil {
			return err
		}
		failed += r.Failed
		reports = append(reports, r)
		if c.output == formatText {
			if i > 0 {
				fmt.Fprintln(std.Out)
			}
			c.print(std.Out, r)
		}
	}
	if err := c.write(std, reports); err != nil {
		return err
	}
	if failed > 0 {
		return errFindings
	}
	return nil
}

// scenarios reads what is to be played.
func (c *simulation) scenarios(std Streams) ([]*resource.Object, error) {
	paths := c.files
	if c.scenario != "" {
		paths = []string{c.scenario}
	}
	for _, list := range [][]string{c.files, paths} {
		if err := existing(list); err != nil {
			return nil, err
		}
	}
	names, found := source.List(paths)
	var list []*resource.Object
	for _, name := range names {
		data, err := source.ReadFile(name)
		if err != nil {
			return nil, err
		}
		objects, diagnostics := resource.DecodeScenarios(name, data)
		list, found = append(list, objects...), append(found, diagnostics...)
	}
	wrong := false
	for _, d := range found {
		fmt.Fprintln(std.Err, d)
		wrong = wrong || d.Severity == resource.Error
	}
	if wrong {
		return nil, errFindings
	}
	var all []string
	list = slices.DeleteFunc(list, func(o *resource.Object) bool {
		all = append(all, o.Key.Name)
		return c.name != "" && o.Key.Name != c.name
	})
	switch {
	case len(all) == 0:
		return nil, fmt.Errorf("no Scenario in %s", strings.Join(paths, ", "))
	case len(list) == 0:
		return nil, usagef("--name %s: there is no such Scenario, but %s", c.name, strings.Join(all, ", "))
	case c.svg != "" && len(list) > 1:
		return nil, usagef("--svg is for one Scenario, and there are %d; choose with --name: %s", len(list), strings.Join(all, ", "))
	}
	return list, nil
}

// refused says what the resources are that are not in effect as written.
func refused(std Streams, out translate.Output) bool {
	wrong := false
	for _, d := range out.Diagnostics {
		if d.Severity == resource.Error {
			fmt.Fprintln(std.Err, d)
			wrong = true
		}
	}
	return wrong
}

// impatience is after how long, and how often then, it is said how far a run is.
const impatience = 2 * time.Second

func (c *simulation) play(ctx context.Context, std Streams, snapshot *model.Snapshot, o *resource.Object) (*simulate.Report, error) {
	said := time.Now()
	r, found, err := simulate.Run(ctx, simulate.Input{Snapshot: snapshot, Scenario: o, Progress: func(done, whole time.Duration) {
		if now := time.Now(); !c.quiet && now.Sub(said) > impatience {
			said = now
			fmt.Fprintf(std.Err, "%s: %s of %s\n", o.Key.Name, done.Round(time.Second), whole)
		}
	}})
	for _, d := range found {
		fmt.Fprintln(std.Err, d)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", o.Key.Name, err)
	case len(found) > 0:
		return nil, errFindings
	}
	return r, nil
}

// write writes what is not text.
func (c *simulation) write(std Streams, reports []*simulate.Report) error {
	if c.svg != "" {
		if err := os.WriteFile(c.svg, []byte(reports[0].SVG()), 0o644); err != nil {
			return err
		}
	}
	return c.output.write(std.Out, reports, func() {})
}

// chartColumns is how wide charts in text are at most.
const chartColumns = 60

func (c *simulation) print(out io.Writer, r *simulate.Report) {
	fmt.Fprintf(out, "%s: %gs, seed %d\n", r.Scenario, r.Duration, r.Seed)
	for _, e := range r.Events {
		until := "until the end"
		if e.Until > 0 {
			until = fmt.Sprintf("to %gs", e.Until)
		}
		fmt.Fprintf(out, "  %gs %s: %s\n", e.At, until, e.What)
	}
	fmt.Fprintln(out)
	if !c.quiet {
		printSteps(out, r)
		fmt.Fprintln(out)
	}
	charts := r.Charts()
	width := 0
	for _, s := range charts {
		width = max(width, len(s.Name))
	}
	for _, s := range charts {
		fmt.Fprintf(out, "%-*s  %s  up to %.4g %s\n", width, s.Name, s.Line(chartColumns), s.Most, s.Unit)
	}
	fmt.Fprintf(out, "\ncallers: %d requests, %.1f%% succeeded (%.0f%% of what was possible), p50 %.4gms, p99 %.4gms\n",
		r.Asked, 100*r.Success, 100*r.Goodput, r.P50, r.P99)
	if len(r.Callers) > 1 {
		for _, k := range r.Callers {
			fmt.Fprintf(out, "  %s: %d requests, %.1f%% succeeded, p50 %.4gms, p99 %.4gms\n", k.Name, k.Asked, 100*k.Success, k.P50, k.P99)
		}
	}
	for _, s := range r.Services {
		fmt.Fprintf(out, "%s: %s of %.4g/s together, %.2f tries for each that was needed, %.0f%% of its answers for nobody\n",
			s.Name, count(s.Hosts, "host"), s.Capacity, s.Amplification, 100*s.Wasted)
	}
	if len(r.Limits) > 0 {
		fmt.Fprintln(out)
	}
	for _, v := range r.Limits {
		verdict := "held"
		by := ""
		if !v.Held {
			verdict, by = "EXCEEDED", ", by "+v.By
		}
		fmt.Fprintf(out, "%-8s  %s %s (%s): %s%s\n", verdict, v.Name, v.Want, v.Over, v.Got, by)
	}
}

// printSteps prints a row for each step, with the columns that have something to say.
func printSteps(out io.Writer, r *simulate.Report) {
	head := []string{"at", "asked", "success", "p50", "p99"}
	for _, s := range r.Services {
		name := s.Name[strings.LastIndexByte(s.Name, '/')+1:]
		if len(r.Services) == 1 {
			name = "tries"
		}
		head = append(head, name, "retries", "busy", "waiting", "ejected", "breaker")
	}
	head = append(head, "refused and failed")
	rows := make([][]string, len(r.Steps))
	for i := range r.Steps {
		rows[i] = stepRow(&r.Steps[i])
	}
	keep := make([]bool, len(head))
	for column := range head {
		optional := column >= 5 && column < len(head)-1 && (column-5)%6 >= 4
		keep[column] = !optional || slices.ContainsFunc(rows, func(row []string) bool { return row[column] != "" && row[column] != "0" })
	}
	for i := range rows {
		rows[i] = kept(rows[i], keep)
	}
	table(out, kept(head, keep), rows)
}

func kept(row []string, keep []bool) []string {
	var list []string
	for i, cell := range row {
		if keep[i] {
			list = append(list, cell)
		}
	}
	return list
}

func stepRow(s *simulate.Step) []string {
	success, p50, p99 := "-", "-", "-"
	if s.Ended > 0 {
		success = fmt.Sprintf("%.1f%%", 100*float64(s.Succeeded)/float64(s.Ended))
	}
	if s.Succeeded > 0 {
		p50, p99 = fmt.Sprintf("%.0fms", s.P50), fmt.Sprintf("%.0fms", s.P99)
	}
	row := []string{fmt.Sprintf("%gs", s.At), fmt.Sprint(s.Asked), success, p50, p99}
	for _, v := range s.Services {
		row = append(row, fmt.Sprint(v.Tries), fmt.Sprint(v.Tries-v.Needed), fmt.Sprintf("%.0f%%", 100*v.Busy), fmt.Sprint(v.Waiting),
			fmt.Sprint(v.Ejected), v.Breaker)
	}
	var flags []string
	for f, n := range s.Flags {
		flags = append(flags, fmt.Sprintf("%s %d", f, n))
	}
	slices.Sort(flags)
	return append(row, cmp.Or(strings.Join(flags, ", "), "-"))
}
