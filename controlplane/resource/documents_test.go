package resource

import (
	"fmt"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"
)

// TestPiecesAreParsedAsAlone: what one decoder reads of many pieces is what each is when it is
// parsed alone, whatever the others are and whichever of them are asked for.
func TestPiecesAreParsedAsAlone(t *testing.T) {
	lines := []string{
		"a: 1", "b:", "  c: [x, y]", "- d", "  - {e: f}", "# comment", "", "k: |", "   text", `q: "open`, `"`, "s: 'x", "[", "]", "{", "}",
		"...", "--- # comment", "--- scalar", "---", "%YAML 1.2", "m: &anchor 1", "n: *anchor", "t: !!binary x", "\tx", "crlf: 1\r", "mac: 1\rnext: 2", "more: a\u0085  b", "long: a\u2028  b", "é: ü", "? z", ": y", "<<: {p: 1}",
	}
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		for i := range rapid.IntRange(1, 6).Draw(t, "documents") {
			if i > 0 {
				text.WriteString("---\n")
			}
			for _, line := range rapid.SliceOfN(rapid.SampledFrom(lines), 0, 4).Draw(t, "lines") {
				text.WriteString(line + "\n")
			}
		}
		whole := text.String()
		if rapid.Bool().Draw(t, "cut") {
			whole = strings.TrimSuffix(whole, "\n")
		}
		pieces := split([]byte(whole))
		wanted := rapid.SliceOfN(rapid.SampledFrom([]bool{true, true, false}), len(pieces), len(pieces)).Draw(t, "new")
		p := newPieceParser([]byte(whole), pieces, func(i int) bool { return wanted[i] })
		for i := range pieces {
			if !wanted[i] && rapid.Bool().Draw(t, "passed over") {
				continue
			}
			got, wrong := p.parse(i, true)
			want, wrongAlone := parse(pieces[i].text, true)
			if (wrong == nil) != (wrongAlone == nil) || wrong != nil && *wrong != *wrongAlone {
				t.Fatalf("piece %d of %q: %v; alone: %v", i, whole, wrong, wrongAlone)
			}
			if got, want := described(got), described(want); got != want {
				t.Fatalf("piece %d of %q:\n%s\nalone:\n%s", i, whole, got, want)
			}
		}
	})
}

// TestPiecesShareADecoder: usual files are read by one decoder, to the end.
func TestPiecesShareADecoder(t *testing.T) {
	text := []byte("# first\na: 1\n---\nb: 2\n---\nc: 3\n")
	pieces := split(text)
	p := newPieceParser(text, pieces, func(i int) bool { return i != 1 })
	for i, want := range []int{1, 0, 1} {
		if documents, ok := p.read(i); len(documents) != want || ok != (want > 0) {
			t.Errorf("piece %d: %d documents, %t", i, len(documents), ok)
		}
	}
}

// described writes documents, but for empty ones, which nothing follows from.
func described(documents []*yaml.Node) string {
	var b strings.Builder
	var describe func(n *yaml.Node, depth int)
	describe = func(n *yaml.Node, depth int) {
		fmt.Fprintf(&b, "%*d:%d %d %s %q %d\n", depth, n.Line, n.Column, n.Kind, n.Tag, n.Value, n.Style)
		for _, child := range n.Content {
			describe(child, depth+2)
		}
	}
	for _, d := range documents {
		if d.Kind != yaml.ScalarNode || d.ShortTag() != "!!null" {
			describe(d, 0)
		}
	}
	return b.String()
}
