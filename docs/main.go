// Command docs writes the reference pages from what they describe: the kinds from their
// schemas, flags from the commands, metrics, response flags and defaults from their tables.
// The pages are never edited by hand and never committed.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	fs := flag.NewFlagSet("docs", flag.ContinueOnError)
	folder := fs.String("o", "docs/reference", "the folder to write to")
	root := fs.String("root", ".", "the top of the repository")
	if err := fs.Parse(args); err != nil {
		return err
	}
	pages, err := render(*root)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(*folder, 0o755); err != nil {
		return err
	}
	slices.SortFunc(pages, func(a, b page) int { return strings.Compare(a.name, b.name) })
	for _, p := range pages {
		path := filepath.Join(*folder, p.name)
		if err := os.WriteFile(path, []byte(p.text), 0o644); err != nil {
			return err
		}
		fmt.Fprintln(out, path)
	}
	return nil
}
