package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weir.dev/weir/cli"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// page is one generated page.
type page struct{ name, text string }

// render makes every page from what is below root, the top of the repository.
func render(root string) ([]page, error) {
	pages, err := kindPages(filepath.Join(root, "controlplane/resource/crds"))
	if err != nil {
		return nil, err
	}
	rules, err := lintPages(filepath.Join(root, "controlplane/lint/testdata"))
	if err != nil {
		return nil, err
	}
	return append(append(pages, rules...),
		page{"commands.md", commands(cli.Command(cli.Streams{Out: io.Discard, Err: io.Discard}))},
		page{"metrics.md", metrics()},
		page{"response-flags.md", responseFlags()},
		page{"defaults.md", defaults()},
	), nil
}

// rows is a Markdown table.
func rows(b *strings.Builder, head ...string) func(cells ...string) {
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat(" --- |", len(head)))
	return func(cells ...string) {
		for i, c := range cells {
			cells[i] = strings.NewReplacer("|", `\|`, "\n", " ").Replace(c)
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
	}
}

func commands(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Commands\n")
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		fmt.Fprintf(&b, "\n## %s\n\n", c.CommandPath())
		text := c.Long
		if text == "" {
			text = c.Short + "."
		}
		fmt.Fprintf(&b, "%s\n\n```\n%s\n```\n", text, c.UseLine())
		if c.Example != "" {
			fmt.Fprintf(&b, "\nFor example:\n\n```\n%s\n```\n", c.Example)
		}
		if c.HasAvailableLocalFlags() {
			b.WriteString("\n")
			row := rows(&b, "flag", "default", "meaning")
			c.LocalFlags().VisitAll(func(f *pflag.Flag) {
				name := "`--" + f.Name + "`"
				if f.Shorthand != "" {
					name += ", `-" + f.Shorthand + "`"
				}
				value := ""
				if f.DefValue != "" && f.DefValue != "[]" {
					value = "`" + f.DefValue + "`"
				}
				row(name, value, f.Usage)
			})
		}
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				walk(sub)
			}
		}
	}
	walk(root)
	return b.String()
}

func metrics() string {
	var b strings.Builder
	b.WriteString("# Metrics\n\nServed in Prometheus's text format under `/metrics`, beside those of the Go runtime and the process.\n\n")
	row := rows(&b, "metric", "type", "labels", "unit", "meaning")
	for _, f := range telemetry.Families {
		row("`"+f.Name+"`", string(f.Type), strings.Join(f.Labels, ", "), f.Unit, f.Help)
	}
	return b.String()
}

func responseFlags() string {
	var b strings.Builder
	b.WriteString("# Response flags\n\nWhat produced an answer that is not simply the upstream's, and whose doing it was. They stand in the access log, in\n" +
		"metrics and, on answers of our own, in the headers `x-weir-flag` and `x-weir-blame`.\n\n")
	row := rows(&b, "flag", "blame", "status", "to gRPC", "meaning")
	for _, f := range model.FlagInfos {
		if f.Name == "" {
			continue
		}
		status := "varies, or no answer"
		if f.Status != 0 {
			status = fmt.Sprint(f.Status)
		}
		call := fmt.Sprintf("%v (%d)", f.GRPC, f.GRPC)
		row("`"+f.Name+"`", f.Blame.String(), status, call, f.Meaning)
	}
	return b.String()
}

func defaults() string {
	var b strings.Builder
	b.WriteString("# Defaults\n\nWhat holds where nothing is written, after merging.\n\n")
	row := rows(&b, "field", "default", "reason")
	for _, d := range translate.Defaults {
		row("`"+d.Field+"`", "`"+d.Value+"`", d.Reason)
	}
	return b.String()
}
