package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

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
			"rules of each kind, references that do not resolve, routes that nothing reaches. Drills are checked as\n" +
			"`weir drill run` does, against the routes that are given with them.\n\n" +
			"What a rule has found ends with the rule's name in brackets: --rule gives that another level, with a reason.\n\n" +
			"The exit code is 1 if there is an error; warnings alone do not fail.",
		Example: "  weir lint -f ./routes\n  weir lint -f ./routes --rule 'unused-backend=disabled:kept for the next release'\n  weir lint rules",
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
	cmd.AddCommand(&cobra.Command{
		Use: "rules", Short: "List the rules, with their levels", Args: noArgs,
		Run: func(*cobra.Command, []string) {
			rows := make([][]string, len(lint.Rules))
			for i, r := range lint.Rules {
				rows[i] = []string{r.Name, string(r.Level), r.Doc}
			}
			table(std.Out, []string{"rule", "level", "finds"}, rows)
		},
	})
	return cmd
}

// knownRule tells whether a diagnostic's rule is one of lint's, whose level can be changed.
func knownRule(name string) bool {
	return slices.ContainsFunc(lint.Rules, func(r lint.Rule) bool { return r.Name == name })
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
		if !knownRule(name) {
			return c, usagef("--rule %q: there is no rule %q; `weir lint rules` lists them", v, name)
		}
		c.Overrides = append(c.Overrides, lint.Override{Rule: name, Level: lint.Level(level), Reason: reason})
	}
	if err := c.Check(); err != nil {
		return c, usagef("--rule: %w", err)
	}
	return c, nil
}

func runLint(ctx context.Context, std Streams, files []string, rules lint.Config, output *format) error {
	drills, found, err := readDrills(&std, files)
	if err != nil {
		return err
	}
	set, err := read(ctx, std, files)
	if err != nil {
		return err
	}
	if rules.Now.IsZero() {
		rules.Now = time.Now()
	}
	memo := translate.NewMemo()
	out := translate.Translate(translate.Input{Set: set, Memo: memo})
	r := report{Objects: set.Len() + len(drills), Diagnostics: []resource.Diagnostic{}}
	r.Diagnostics = append(r.Diagnostics, set.Diagnostics...)
	r.Diagnostics = append(r.Diagnostics, found...)
	r.Diagnostics = append(r.Diagnostics, rules.Apply(out.Diagnostics)...)
	r.Diagnostics = append(r.Diagnostics, rules.Run(set, out)...)
	for _, d := range drills {
		r.Diagnostics = append(r.Diagnostics, lintDrill(d, set, memo, rules)...)
	}
	resource.SortDiagnostics(r.Diagnostics)
	r.Diagnostics = slices.Compact(r.Diagnostics) // a file that is no YAML is read twice
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
			if knownRule(d.Rule) {
				fmt.Fprintf(std.Out, "%s [%s]\n", d, d.Rule)
				continue
			}
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

// readDrills reads the Drills that files hold, and says what is wrong with them. What cannot be read at all, who
// reads the rest will say. Standard input is read here, and put back.
func readDrills(std *Streams, paths []string) (drills []*resource.Object, found []resource.Diagnostic, err error) {
	add := func(name string, data []byte) {
		objects, diagnostics := resource.DecodeDrills(name, data)
		drills, found = append(drills, objects...), append(found, diagnostics...)
	}
	paths = slices.Clone(paths)
	if i := slices.Index(paths, "-"); i >= 0 {
		data, err := io.ReadAll(io.LimitReader(std.In, resource.MaxFile+1))
		if err != nil {
			return nil, nil, err
		}
		std.In = bytes.NewReader(data)
		add("stdin", data)
		paths = slices.DeleteFunc(paths, func(p string) bool { return p == "-" })
	}
	names, _ := source.List(paths)
	for _, name := range names {
		if data, err := source.ReadFile(name); err == nil {
			add(name, data)
		}
	}
	return drills, found, nil
}

// lintDrill says what is wrong with the faults of a Drill, had it been run now: they are a FaultPolicy beside the
// set, which has its fields in the same places.
func lintDrill(o *resource.Object, set *resource.Set, memo *translate.Memo, rules lint.Config) []resource.Diagnostic {
	d, ok := o.Value.(*resource.Drill)
	if !ok {
		return nil // refused, which was said
	}
	faults := d.Faults()
	faults.Namespace, faults.Name = o.Key.Namespace, o.Key.Name
	policy, found := faults.Policy(rules.Now.Add(d.Spec.Phases()[1].For))
	if text := faults.Taken(set); text != "" {
		found = append(found, resource.Diagnostic{Rule: resource.RuleDuplicate, Field: "metadata.name", Message: text})
	} else if policy != nil {
		with := set.With([]*resource.Object{policy})
		out := translate.Translate(translate.Input{Set: with, Memo: memo})
		out.Diagnostics = append(out.Diagnostics, out.UselessFaults(policy.Key)...)
		found = slices.DeleteFunc(append(rules.Apply(out.Diagnostics), rules.Run(with, out)...), func(d resource.Diagnostic) bool { return d.Object != policy.Key })
	}
	for i := range found {
		found[i].At, found[i].Object = o.Position(found[i].Field), o.Key
	}
	return found
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
