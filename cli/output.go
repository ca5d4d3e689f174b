package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// format is the value of --output.
type format string

// The formats.
const (
	formatText format = "text"
	formatJSON format = "json"
	formatYAML format = "yaml"
)

var formats = []string{string(formatText), string(formatJSON), string(formatYAML)}

func (f *format) flag(cmd *cobra.Command) {
	*f = formatText
	cmd.Flags().VarP(f, "output", "o", "format: text, json or yaml")
	completeFlag(cmd, "output", formats...)
}

// completeFlag has shells offer the values of a flag.
func completeFlag(cmd *cobra.Command, name string, values ...string) {
	complete := cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc(name, complete); err != nil {
		panic(err) // only for a flag that does not exist
	}
}

// String, Set and Type make format a flag.
func (f *format) String() string { return string(*f) }

// Set accepts one of the formats.
func (f *format) Set(s string) error {
	switch format(s) {
	case formatText, formatJSON, formatYAML:
		*f = format(s)
		return nil
	}
	return fmt.Errorf("%q is none of %s", s, strings.Join(formats, ", "))
}

// Type names the flag's value in help.
func (f *format) Type() string { return "format" }

// write prints v in the chosen format; text is for people and written by the caller.
func (f *format) write(out io.Writer, v any, text func()) error {
	if *f == formatText {
		text()
		return nil
	}
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if *f == formatYAML {
		if data, err = yaml.JSONToYAML(data); err != nil {
			return err
		}
		_, err = out.Write(data)
		return err
	}
	_, err = out.Write(append(data, '\n'))
	return err
}

// table prints rows in columns, under a head.
func table(out io.Writer, head []string, rows [][]string) {
	w := tabwriter.NewWriter(out, 0, 4, 3, ' ', 0)
	fmt.Fprintln(w, strings.ToUpper(strings.Join(head, "\t")))
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush() // a closed pipe at the reader's end is no error of ours
}
