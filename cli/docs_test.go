package cli

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var fence = regexp.MustCompile("(?ms)^```(yaml|console)\n(.*?)^```$")

var update = flag.Bool("update", false, "write what commands print into the pages that show it")

// TestPages runs the commands of pages on the files that they show: a block of YAML whose first
// line is a comment with a name is that file, and in a block of console what follows a command
// must come out, where a line "..." stands for any lines.
func TestPages(t *testing.T) {
	for name, least := range map[string]int{"explain.md": 3, "simulate.md": 3} {
		t.Run(name, func(t *testing.T) {
			path, err := filepath.Abs("../docs/" + name)
			if err != nil {
				t.Fatal(err)
			}
			page, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(t.TempDir())
			commands := 0
			for _, block := range fence.FindAllSubmatch(page, -1) {
				first, rest, _ := strings.Cut(string(block[2]), "\n")
				if string(block[1]) == "yaml" {
					if err := os.WriteFile(strings.TrimPrefix(first, "# "), block[2], 0o644); err != nil {
						t.Fatal(err)
					}
					continue
				}
				commands++
				out := printed(first)
				if *update && !strings.Contains(rest, "...\n") {
					page = bytes.Replace(page, block[2], []byte(first+"\n"+out), 1)
					continue
				}
				pattern := regexp.QuoteMeta(rest)
				pattern = strings.ReplaceAll(pattern, `\.\.\.`+"\n", "(?:.*\n)*")
				if !regexp.MustCompile(`\A` + pattern + `\z`).MatchString(out) {
					t.Errorf("%s\n got:\n%s\nwant:\n%s", first, out, rest)
				}
			}
			if commands < least {
				t.Errorf("only %d commands found", commands)
			}
			if *update {
				if err := os.WriteFile(path, page, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// printed is what a command of a page prints: errors too, but for how far a long one is.
func printed(line string) string {
	var out bytes.Buffer
	Main(strings.Fields(strings.TrimPrefix(line, "$ weir ")), Streams{In: strings.NewReader(""), Out: &out, Err: &out})
	return regexp.MustCompile(`(?m)^\S+: \S+ of \S+\n`).ReplaceAllString(out.String(), "")
}
