package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"weir.dev/weir/controlplane/lint"
	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/source"
	"weir.dev/weir/controlplane/translate"
)

// report is what `weir lint` prints in JSON and YAML.
type report struct {
	Objects     int                   `json:"objects"`
	Errors      int                   `json:"errors"`
	Warnings    int                   `json:"warnings"`
	Diagnostics []resource.Diagnostic `json:"diagnostics"`
}

func lintCommand(std Streams) *cobra.Command {
	var files, overrides []string
	var most float64
	var output format
	cmd := &cobra.Command{
		Use:   "lint -f PATH...",
		Short: "Say what is wrong with resources, without serving them",
		Long: "Lint reads resources as `weir run` does and prints every problem with file, line and column: schema and\n" +
			"rules of each kind, references that do not resolve, routes that nothing reaches.\n\n" +
			"The exit code is 1 if there is an error; warnings alone do not fail.",
		Example: "  weir lint -f ./routes",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return usagef("nothing to check: give files or folders with -f")
			}
			if err := present(files); err != nil {
				return err
			}
			rules, err := parseOverrides(overrides)
			if err != nil {
				return err
			}
			if !(most >= 1) {
				return usagef("--max-amplification %v: want a factor of 1 or more", most)
			}
			rules.Amplification = most
			return runLint(cmd.Context(), std, files, rules, &output)
		},
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "file or folder with resources, - for standard input; repeatable")
	cmd.Flags().Float64Var(&most, "max-amplification", 3, "how many requests one may become along a path of calls before retry-amplification speaks of it")
	cmd.Flags().StringArrayVar(&overrides, "rule", nil, "another level for a rule, and why: NAME=error|warning|disabled:REASON; repeatable")
	output.flag(cmd)
	return cmd
}

// parseOverrides reads NAME=LEVEL:REASON.
func parseOverrides(values []string) (lint.Config, error) {
	var c lint.Config
	for _, v := range values {
		name, rest, _ := strings.Cut(v, "=")
		level, reason, ok := strings.Cut(rest, ":")
		if !ok {
			return c, usagef("--rule %q: want NAME=LEVEL:REASON, like unused-backend=disabled:kept for the next release", v)
		}
		c.Overrides = append(c.Overrides, lint.Override{Rule: name, Level: lint.Level(level), Reason: reason})
	}
	if err := c.Check(); err != nil {
		return c, usagef("--rule: %w", err)
	}
	return c, nil
}

func runLint(ctx context.Context, std Streams, files []string, rules lint.Config, output *format) error {
	set, err := read(ctx, std, files)
	if err != nil {
		return err
	}
	out := translate.Translate(translate.Input{Set: set})
	r := report{Objects: set.Len(), Diagnostics: []resource.Diagnostic{}}
	r.Diagnostics = append(r.Diagnostics, set.Diagnostics...)
	r.Diagnostics = append(r.Diagnostics, rules.Apply(out.Diagnostics)...)
	r.Diagnostics = append(r.Diagnostics, rules.Run(set, out)...)
	resource.SortDiagnostics(r.Diagnostics)
	for _, d := range r.Diagnostics {
		switch d.Severity {
		case resource.Error:
			r.Errors++
		case resource.Warning:
			r.Warnings++
		}
	}
	err = output.write(std.Out, r, func() {
		for _, d := range r.Diagnostics {
			fmt.Fprintln(std.Out, d)
		}
		found := count(r.Objects, "object")
		if r.Objects == 0 {
			found = fmt.Sprintf("nothing to check, no object in %s", strings.Join(files, ", "))
		}
		fmt.Fprintf(std.Out, "%s: %s, %s\n", found, count(r.Errors, "error"), count(r.Warnings, "warning"))
	})
	if err == nil && r.Errors > 0 {
		err = errFindings
	}
	return err
}

// read takes the first set of a source and ends it.
func read(ctx context.Context, std Streams, files []string) (*resource.Set, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var first *resource.Set
	err := source.NewFiles(files, source.Options{Stdin: std.In}).Run(ctx, func(s *resource.Set) {
		if first == nil {
			first = s
		}
		cancel()
	})
	if first != nil {
		return first, nil
	}
	return nil, err
}

// count says how many there are of a thing: "1 error", "2 errors".
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
