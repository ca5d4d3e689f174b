package resource

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// indent is how many spaces a level of canonical YAML is indented by.
const indent = 2

// keyOrder is the order of an object's own fields; others keep their places behind them.
var keyOrder = []string{"apiVersion", "kind", "metadata", "spec", "status"}

// Format returns a file in canonical YAML: two spaces a level, lists not indented below
// their key, an object's fields in the order apiVersion, kind, metadata, spec, status, one
// document marker between documents. Comments, blank lines, quoting, flow style and the
// order of everything else stay. What it returns means what it was given, and formats to
// itself; a file of which that cannot be said, or which is not YAML, is refused with a
// diagnostic that says where.
func Format(file string, data []byte) ([]byte, *Diagnostic) {
	refuse := func(line int, p *problem) *Diagnostic {
		d := p.diagnostic(file, line, Key{})
		return &d
	}
	text, unreadable := readable(data)
	if unreadable != nil {
		return nil, refuse(0, unreadable)
	}
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	if jsonPieces(text) != nil {
		return nil, refuse(0, &problem{rule: RuleSyntax, message: "is JSON; only YAML is formatted"})
	}
	pieces := split(text)
	var out [][]byte
	for _, p := range pieces {
		formatted, wrong := formatPiece(p.text)
		if wrong != nil {
			return nil, refuse(p.line, wrong)
		}
		if len(bytes.TrimSpace(formatted)) > 0 || len(pieces) == 1 {
			out = append(out, formatted)
		}
	}
	return bytes.Join(out, []byte("---\n")), nil
}

// formatPiece formats one document. It tries with blank lines kept, then without.
func formatPiece(text []byte) ([]byte, *problem) {
	directive := bytes.HasPrefix(text, []byte("%")) || bytes.Contains(text, []byte("\n%"))
	before, wrong := parse(text, true)
	switch {
	case directive || len(before) > 1:
		return nil, &problem{rule: RuleSyntax, at: place{line: 1, column: 1}, message: "YAML directives and document ends are not formatted"}
	case wrong != nil:
		return nil, wrong
	}
	body := cutMarker(text)
	for _, marked := range [][]byte{markBlanks(body), body} {
		formatted, err := reprint(marked)
		if err == nil && faithful(body, formatted) {
			return formatted, nil
		}
	}
	line := 1
	if len(before) == 1 {
		line = before[0].Line
	}
	return nil, &problem{
		rule: RuleSyntax, at: place{line: uint32(max(1, line)), column: 1},
		message: "cannot be formatted without changing what it says; comments within flow style ({...}, [...]) or between a key and its value are the usual reason",
	}
}

// cutMarker takes the document marker off a piece. A comment or a value behind it stays.
func cutMarker(text []byte) []byte {
	first, rest, _ := bytes.Cut(text, []byte("\n"))
	if !isMarker(append(slices.Clone(first), '\n')) {
		return text
	}
	behind := bytes.TrimSpace(first[3:])
	if len(behind) == 0 {
		return rest
	}
	return slices.Concat(behind, []byte("\n"), rest)
}

// blank stands for a blank line while a document is reprinted: as a comment, it keeps its
// place. No comment that people write is taken for it.
const blank = "#\u2060weir:blank\u2060"

// blockScalar is the end of a line behind which a block scalar begins.
var blockScalar = regexp.MustCompile(`(^|[\s:-])[|>][-+0-9]*\s*(#.*)?$`)

// markBlanks makes comments of the blank lines between fields; several are one. Those in
// block scalars are text.
func markBlanks(text []byte) []byte {
	var out, held bytes.Buffer // held: blank lines in a block scalar, or behind it
	scalar, kept := -1, false  // the indentation of the line that begins a block scalar, and whether its last blank lines are text
	pending, started := false, false
	for line := range bytes.Lines(text) {
		trimmed := bytes.TrimSpace(line)
		if len(trimmed) == 0 {
			if scalar >= 0 {
				held.Write(line)
			} else {
				pending = started
			}
			continue
		}
		depth := len(line) - len(bytes.TrimLeft(line, " "))
		ends := scalar >= 0 && depth <= scalar
		if held.Len() > 0 && ends && !kept {
			pending = true
		} else {
			out.Write(held.Bytes())
		}
		held.Reset()
		if ends {
			scalar = -1
		}
		if pending {
			out.WriteString(strings.Repeat(" ", depth) + blank + "\n")
			pending = false
		}
		started = true
		out.Write(line)
		if header := blockScalar.Find(trimmed); scalar < 0 && trimmed[0] != '#' && header != nil {
			scalar, kept = depth, bytes.IndexByte(header, '+') >= 0
		}
	}
	out.Write(held.Bytes())
	return out.Bytes()
}

// reprint parses a document and writes it in canonical form.
func reprint(text []byte) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	if document.Kind == 0 { // nothing but comments
		return unmarkBlanks(text), nil
	}
	if len(document.Content) == 1 {
		orderKeys(document.Content[0])
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(indent)
	e.CompactSeqIndent()
	if err := e.Encode(&document); err != nil {
		return nil, err
	}
	if err := e.Close(); err != nil {
		return nil, err
	}
	return unmarkBlanks(b.Bytes()), nil
}

// unmarkBlanks turns the marks of markBlanks back into blank lines.
func unmarkBlanks(text []byte) []byte {
	var out bytes.Buffer
	wasBlank := true
	for line := range bytes.Lines(text) {
		isBlank := string(bytes.TrimSpace(line)) == blank
		switch {
		case !isBlank:
			out.Write(line)
		case !wasBlank:
			out.WriteByte('\n')
		}
		wasBlank = isBlank
	}
	return append(bytes.TrimRight(out.Bytes(), "\n"), '\n')
}

// orderKeys puts an object's own fields in their order. Where something is anchored, an
// alias could come before its anchor: then nothing moves.
func orderKeys(node *yaml.Node) {
	if node.Kind != yaml.MappingNode || nodeAt(node, "apiVersion") == nil || anchored(node) {
		return
	}
	type pair struct{ key, value *yaml.Node }
	var pairs []pair
	for i := 0; i+1 < len(node.Content); i += 2 {
		pairs = append(pairs, pair{node.Content[i], node.Content[i+1]})
	}
	rank := func(p pair) int {
		if i := slices.Index(keyOrder, p.key.Value); i >= 0 {
			return i
		}
		return len(keyOrder)
	}
	if slices.IsSortedFunc(pairs, func(a, b pair) int { return rank(a) - rank(b) }) {
		return
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return rank(a) - rank(b) })
	node.Content = node.Content[:0]
	for _, p := range pairs {
		node.Content = append(node.Content, p.key, p.value)
	}
}

func anchored(node *yaml.Node) bool {
	return node.Anchor != "" || node.Kind == yaml.AliasNode || slices.ContainsFunc(node.Content, anchored)
}

// faithful reports whether a formatted document says what the original does, comments
// included, and is its own canonical form.
func faithful(original, formatted []byte) bool {
	a, b := meaning(original), meaning(formatted)
	if a == "" || a != b || !slices.Equal(comments(original), comments(formatted)) {
		return false
	}
	again, err := reprint(markBlanks(formatted))
	return err == nil && bytes.Equal(again, formatted)
}

// meaning is what a text decodes to, in a form to compare; empty if it does not parse.
func meaning(text []byte) string {
	nodes, wrong := parse(text, false)
	if wrong != nil {
		return ""
	}
	form := fmt.Sprint(len(nodes))
	for _, node := range nodes {
		var c converter
		form += string(appendValue(nil, c.value(node, &step{hash: fnvOffset}, maxDepth, false)))
		for _, p := range c.problems {
			form += p.message
		}
	}
	return form
}

// comments lists the comments of a document, sorted: moving a field moves its comment. It
// reads lines, not nodes, so that it sees what a parser loses.
func comments(text []byte) []string {
	var all []string
	scalar := -1 // as in markBlanks
	for line := range bytes.Lines(text) {
		trimmed := bytes.TrimSpace(line)
		depth := len(line) - len(bytes.TrimLeft(line, " "))
		if len(trimmed) == 0 || scalar >= 0 && depth > scalar {
			continue
		}
		scalar = -1
		if at := commentAt(trimmed); at >= 0 {
			all = append(all, string(trimmed[at:]))
		}
		if trimmed[0] != '#' && blockScalar.Match(trimmed) {
			scalar = depth
		}
	}
	slices.Sort(all)
	return all
}

// commentAt returns where a comment begins in a line, -1 if there is none: a hash at the start
// or behind a space, outside of quotes.
func commentAt(line []byte) int {
	quote := byte(0)
	for i, c := range line {
		switch {
		case quote == '"' && c == '"' && line[i-1] != '\\', quote == '\'' && c == '\'':
			quote = 0
		case quote != 0:
		case c == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t'):
			return i
		case (c == '"' || c == '\'') && (i == 0 || strings.IndexByte(" \t[{,:-", line[i-1]) >= 0):
			quote = c
		}
	}
	return -1
}
