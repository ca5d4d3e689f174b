package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"weir.dev/weir/controlplane/explain"
	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/source"
)

// maxMissed is how many rules without a test are named.
const maxMissed = 20

func testCommand(std Streams) *cobra.Command {
	var files []string
	var least string
	var output format
	cmd := &cobra.Command{
		Use:   "test [-f PATH...] FILE...",
		Short: "Check that routes do what RouteTests expect",
		Long: "Test reads RouteTests from files or folders and asks the resources of -f what happens to each request, without\n" +
			"sending it: route, rule, backends, headers, redirect, policy. Without -f the resources are in the same files;\n" +
			"`weir run` skips RouteTests.\n\n" +
			"The exit code is 1 if an expectation does not hold, or fewer rules are reached than --fail-under demands.",
		Example: "  weir test -f ./routes ./tests\n  weir test ./routes --fail-under 80%",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("nothing to test: give files or folders with RouteTests")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			floor, err := percentage(least)
			if err != nil {
				return err
			}
			if len(files) == 0 {
				files = args
			}
			return runTests(cmd.Context(), std, args, files, floor, &output)
		},
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "file or folder with resources; repeatable; default: those with the tests")
	cmd.Flags().StringVar(&least, "fail-under", "0%", "share of all rules that tests must reach")
	output.flag(cmd)
	return cmd
}

// percentage reads 80% or 80, and returns 0.8.
func percentage(text string) (float64, error) {
	n, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || n < 0 || n > 100 {
		return 0, usagef("--fail-under %q: want a percentage, like 80%%", text)
	}
	return n / 100, nil
}

func runTests(ctx context.Context, std Streams, paths, files []string, floor float64, output *format) error {
	if err := existing(paths); err != nil {
		return err
	}
	if err := present(files); err != nil {
		return err
	}
	tests, found := readTests(paths)
	wrong := 0
	for _, d := range found {
		fmt.Fprintln(std.Err, d)
		if d.Severity == resource.Error {
			wrong++
		}
	}
	if wrong > 0 {
		return errFindings
	}
	if len(tests) == 0 {
		return fmt.Errorf("no RouteTest in %s", strings.Join(paths, ", "))
	}
	set, out, err := load(ctx, std, files)
	if err != nil {
		return err
	}
	if countErrors(set) > 0 {
		return errFindings // load has named them; a test of what is left would mislead
	}
	r := explain.New(out.Snapshot).Test(tests)
	if err := output.write(std.Out, r, func() { printTests(std.Out, &r) }); err != nil {
		return err
	}
	if r.Coverage < floor {
		fmt.Fprintf(std.Err, "weir: tests reach %s of the rules, fewer than %s\n", explain.Percent(r.Coverage), explain.Percent(floor))
	}
	if r.Failed > 0 || r.Coverage < floor {
		return errFindings
	}
	return nil
}

// readTests reads the RouteTests that paths hold, and says what is wrong with them.
func readTests(paths []string) (tests []*resource.Object, found []resource.Diagnostic) {
	names, found := source.List(paths)
	for _, name := range names {
		data, err := source.ReadFile(name)
		if err != nil {
			found = append(found, resource.Diagnostic{Rule: resource.RuleRead, At: resource.Position{File: name}, Message: err.Error()})
			continue
		}
		objects, diagnostics := resource.DecodeTests(name, data)
		tests, found = append(tests, objects...), append(found, diagnostics...)
	}
	return tests, found
}

func printTests(out io.Writer, r *explain.TestReport) {
	for _, f := range r.Failures {
		fmt.Fprintln(out, f)
	}
	fmt.Fprintf(out, "%s: %d passed, %d failed; %d of %s reached (%s)\n",
		count(r.Tests, "test"), r.Tests-r.Failed, r.Failed, r.Reached, count(r.Rules, "rule"), explain.Percent(r.Coverage))
	for i, m := range r.Missed {
		if i == maxMissed {
			fmt.Fprintf(out, "not reached: %d more\n", len(r.Missed)-maxMissed)
			break
		}
		fmt.Fprintf(out, "not reached: %s (%s)\n", m.Name, originText(m.Origin))
	}
}
