package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"

	"weir.dev/weir/controlplane/lint"
)

// lintPages makes a page for each lint rule, with the examples of its test, and one that
// lists them all. folder holds the archives.
func lintPages(folder string) ([]page, error) {
	var index strings.Builder
	index.WriteString("# Lint rules\n\nWhat `weir lint` looks for, beside the schemas of the kinds.\n\n")
	row := rows(&index, "rule", "level", "finds")
	var pages []page
	for _, rule := range lint.Rules {
		archive, err := txtar.ParseFile(filepath.Join(folder, rule.Name+".txtar"))
		if err != nil {
			return nil, err
		}
		name := "lint-" + rule.Name + ".md"
		row(fmt.Sprintf("[%s](%s)", rule.Name, name), string(rule.Level), rule.Doc)
		var b strings.Builder
		fmt.Fprintf(&b, "# %s\n\n%s\n\nLevel: %s.\n", rule.Name, rule.Doc, rule.Level)
		for _, example := range []struct{ file, title, language string }{
			{"bad.yaml", "Found", "yaml"}, {"want", "What is said", "text"}, {"good.yaml", "Well", "yaml"},
		} {
			for _, f := range archive.Files {
				if f.Name == example.file {
					fmt.Fprintf(&b, "\n## %s\n\n```%s\n%s```\n", example.title, example.language, f.Data)
				}
			}
		}
		pages = append(pages, page{name, b.String()})
	}
	return append(pages, page{"lint.md", index.String()}), nil
}
