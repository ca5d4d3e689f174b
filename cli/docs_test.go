package cli

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
)

var fence = regexp.MustCompile("(?ms)^```(yaml|console)\n(.*?)^```$")

// TestExplainPage runs the commands of docs/explain.md on the files that it shows: a block of
// YAML whose first line is a comment with a name is that file, and in a block of console what
// follows a command must come out, where a line "..." stands for any lines.
func TestExplainPage(t *testing.T) {
	page, err := os.ReadFile("../docs/explain.md")
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
		var out bytes.Buffer
		args := strings.Fields(strings.TrimPrefix(first, "$ weir "))
		Main(args, Streams{In: strings.NewReader(""), Out: &out, Err: &out})
		pattern := regexp.QuoteMeta(rest)
		pattern = strings.ReplaceAll(pattern, `\.\.\.`+"\n", "(?:.*\n)*")
		if !regexp.MustCompile(`\A` + pattern + `\z`).MatchString(out.String()) {
			t.Errorf("%s\n got:\n%s\nwant:\n%s", first, out.String(), rest)
		}
	}
	if commands < 3 {
		t.Errorf("only %d commands found", commands)
	}
}
