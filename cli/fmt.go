package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/source"
)

func fmtCommand(std Streams) *cobra.Command {
	var write, check bool
	cmd := &cobra.Command{
		Use:   "fmt [-w | --check] PATH...",
		Short: "Write resources in canonical YAML",
		Long: "Fmt prints files in canonical YAML: two spaces a level, apiVersion, kind, metadata and spec in this order.\n" +
			"Comments, blank lines, quotes and the order of documents stay, and so does the meaning. A file that it cannot\n" +
			"format so is named and left alone. JSON is not formatted; - is standard input.",
		Example: "  weir fmt -w ./routes\n  weir fmt --check ./routes",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("nothing to format: give files or folders, or - for standard input")
			}
			if write && check {
				return usagef("--check and -w do not go together: --check only names files, -w writes them")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			f := formatter{std: std, write: write, check: check}
			return f.run(args)
		},
	}
	cmd.Flags().BoolVarP(&write, "write", "w", false, "write files that change, instead of printing them, and name them")
	cmd.Flags().BoolVar(&check, "check", false, "only name files that would change; the exit code is 1 if there are any")
	return cmd
}

// formatter is one run of `weir fmt`.
type formatter struct {
	std          Streams
	write, check bool
	wrong        bool // something could not be formatted, or would change and must not
}

func (f *formatter) run(paths []string) error {
	var files []string
	for _, path := range paths {
		if path == "-" {
			if err := f.stdin(); err != nil {
				return err
			}
			continue
		}
		files = append(files, path)
	}
	if err := existing(files); err != nil {
		return err
	}
	names, troubles := source.List(files)
	for _, d := range troubles {
		fmt.Fprintln(f.std.Err, d)
		f.wrong = f.wrong || d.Severity == resource.Error
	}
	for _, name := range names {
		given := contains(paths, name)
		if !given && strings.EqualFold(filepath.Ext(name), ".json") {
			continue
		}
		if err := f.file(name); err != nil {
			return err
		}
	}
	if f.wrong {
		return errFindings
	}
	return nil
}

// existing catches a mistyped argument before anything is done.
func existing(paths []string) error {
	for _, p := range paths {
		if _, err := os.Stat(p); err != nil && p != "-" {
			return fmt.Errorf("%s: %w; want a file or folder", p, errors.Unwrap(err))
		}
	}
	return nil
}

func contains(paths []string, name string) bool {
	for _, p := range paths {
		if filepath.Clean(p) == filepath.Clean(name) {
			return true
		}
	}
	return false
}

func (f *formatter) stdin() error {
	if f.write {
		return usagef("-w cannot write standard input")
	}
	data, err := io.ReadAll(io.LimitReader(f.std.In, resource.MaxFile+1))
	if err != nil {
		return err
	}
	return f.text("stdin", data)
}

func (f *formatter) file(name string) error {
	data, err := source.ReadFile(name)
	if err != nil {
		return err
	}
	return f.text(name, data)
}

func (f *formatter) text(name string, data []byte) error {
	formatted, wrong := resource.Format(name, data)
	if wrong != nil {
		fmt.Fprintln(f.std.Err, wrong)
		f.wrong = true
		return nil
	}
	switch changes := !bytes.Equal(data, formatted); {
	case f.check:
		if changes {
			fmt.Fprintln(f.std.Out, name)
			f.wrong = true
		}
	case !f.write:
		_, err := f.std.Out.Write(formatted)
		return err
	case changes:
		if err := replace(name, formatted); err != nil {
			return err
		}
		fmt.Fprintln(f.std.Out, name)
	}
	return nil
}

// replace writes a file anew, at once, with the mode that it has. A link stays a link.
func replace(name string, data []byte) error {
	target, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(target)
	if err != nil {
		return err
	}
	made, err := os.CreateTemp(filepath.Dir(target), ".weir-fmt-*")
	if err != nil {
		return err
	}
	_, err = made.Write(data)
	err = errors.Join(err, made.Chmod(info.Mode().Perm()), made.Sync(), made.Close())
	if err == nil {
		err = os.Rename(made.Name(), target)
	}
	if err != nil {
		return errors.Join(err, os.Remove(made.Name()))
	}
	return nil
}
