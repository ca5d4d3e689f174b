package resource

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// MaxFile is the size of the largest file that Decode reads, in bytes.
const MaxFile = 16 << 20

// Bounds of what a file may hold. A parser takes some 400 bytes for each value.
const (
	maxDocuments = 50_000
	maxValues    = 500_000 // of one document
	maxExact     = 16      // documents that are not YAML and whose first wrong line is sought
)

// piece is a part of a file that can be parsed alone: one document, as a rule.
type piece struct {
	text   []byte
	line   int // lines before it in the file
	column int // characters before it in its first line
}

// readable checks what holds for every file, and returns its text without byte order marks:
// where files were joined, one may begin any line.
func readable(data []byte) ([]byte, *problem) {
	if len(data) > MaxFile {
		return nil, &problem{rule: RuleSyntax, message: fmt.Sprintf(
			"the file has more than %d bytes; split it", MaxFile)}
	}
	if encoding := otherEncoding(data); encoding != "" {
		return nil, &problem{rule: RuleSyntax, message: "not UTF-8 but " + encoding, at: place{line: 1, column: 1}}
	}
	text := bytes.TrimPrefix(data, []byte("\ufeff"))
	if bytes.Contains(text, []byte("\n\ufeff")) {
		text = bytes.ReplaceAll(text, []byte("\n\ufeff"), []byte("\n"))
	}
	if !utf8.Valid(text) {
		i := 0
		for {
			r, n := utf8.DecodeRune(text[i:])
			if r == utf8.RuneError && n == 1 {
				break
			}
			i += n
		}
		start := 1 + bytes.LastIndexByte(text[:i], '\n')
		return nil, &problem{
			rule: RuleSyntax, message: "not UTF-8",
			at: place{line: uint32(1 + bytes.Count(text[:i], []byte("\n"))), column: uint32(1 + utf8.RuneCount(text[start:i]))},
		}
	}
	return text, nil
}

const saveAs = "; save the file as UTF-8"

// otherEncoding says what data is when it is neither UTF-8 nor just broken, and what to do;
// empty otherwise.
func otherEncoding(data []byte) string {
	for _, e := range []struct{ start, name string }{
		{"\xff\xfe\x00\x00", "UTF-32" + saveAs},
		{"\x00\x00\xfe\xff", "UTF-32" + saveAs},
		{"\xff\xfe", "UTF-16" + saveAs},
		{"\xfe\xff", "UTF-16" + saveAs},
		{"\x1f\x8b", "gzip; unpack the file"},
	} {
		if bytes.HasPrefix(data, []byte(e.start)) {
			return e.name
		}
	}
	head := data[:min(len(data), 64)] // text in UTF-16 without a mark has a zero in every second place
	if zeros := bytes.Count(head, []byte{0}); len(head) >= 8 && 4*zeros >= len(head) && zeros <= len(head)/2 {
		return "UTF-16" + saveAs
	}
	return ""
}

// split cuts a file at its document markers, lines that begin with three dashes: no
// document can contain such a line. A file with directives stays whole. JSON is cut into
// its values. There is at most one piece more than a file may have documents.
func split(text []byte) []piece {
	if pieces := jsonPieces(text); pieces != nil {
		return pieces
	}
	if bytes.HasPrefix(text, []byte("%")) || bytes.Contains(text, []byte("\n%")) {
		return []piece{{text: text}}
	}
	var pieces []piece
	start, startLine, line := 0, 0, 0
	for i := 0; i < len(text) && len(pieces) <= maxDocuments; line++ {
		end := len(text)
		if n := bytes.IndexByte(text[i:], '\n'); n >= 0 {
			end = i + n + 1
		}
		if i > start && isMarker(text[i:end]) {
			pieces = append(pieces, piece{text: text[start:i], line: startLine})
			start, startLine = i, line
		}
		i = end
	}
	return append(pieces, piece{text: text[start:], line: startLine})
}

func isMarker(line []byte) bool {
	return bytes.HasPrefix(line, []byte("---")) && (len(line) == 3 || strings.IndexByte(" \t\r\n", line[3]) >= 0)
}

// parse returns the documents of a piece, or what is wrong with its syntax: if exact, with the
// first line that is wrong.
func parse(text []byte, exact bool) ([]*yaml.Node, *problem) {
	documents, err := parseNodes(text)
	if errors.Is(err, errValues) {
		return nil, &problem{rule: RuleSyntax, message: err.Error(), at: place{line: 1, column: 1}}
	}
	if err != nil {
		return nil, syntaxProblem(text, err, exact)
	}
	return documents, nil
}

var errValues = fmt.Errorf("more than %d values, commas, colons and lines in one document; split it", maxValues)

// parseNodes returns the documents of a piece.
func parseNodes(text []byte) ([]*yaml.Node, error) {
	if tooMany(text) {
		return nil, errValues
	}
	var documents []*yaml.Node
	for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
		document := new(yaml.Node)
		err := decoder.Decode(document)
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		if err != nil {
			return nil, err
		}
		if len(document.Content) == 1 {
			documents = append(documents, document.Content[0])
		}
	}
}

// tooMany tells, before anything is allocated for them, whether a text may have more than
// maxValues values: each comes with one of these.
func tooMany(text []byte) bool {
	if len(text) <= maxValues {
		return false
	}
	n := 0
	for _, sign := range []string{"\n", ",", ":", "[", "{", "- ", "? "} {
		n += bytes.Count(text, []byte(sign))
	}
	return n > maxValues
}

var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// syntaxProblem locates a syntax error. The parser names a line near it, often the start of
// the block around it, so in documents of usual size, if exact, the first line is sought after
// which nothing parses any more.
func syntaxProblem(text []byte, err error, exact bool) *problem {
	message, line := err.Error(), 1
	if m := yamlError.FindStringSubmatch(err.Error()); m != nil {
		message = m[2]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
	}
	if message == "found incompatible YAML document" {
		message = "unknown version of YAML; expected %YAML 1.2 or 1.1, or no such line"
	}
	if strings.HasPrefix(message, "unknown anchor") { // it may be a secret that begins with a star
		message = "an alias (*name) of no anchor; quote the value if a string is meant"
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	line = max(1, min(line, len(lines)))
	if exact && len(lines) <= 200 && len(text) <= 16<<10 {
		line = firstBroken(text, lines)
	}
	broken := lines[line-1]
	indent := len(broken) - len(bytes.TrimLeft(broken, " \t"))
	if bytes.IndexByte(broken[:indent], '\t') >= 0 {
		message += "; indent with spaces, not tabs"
	}
	message += guessed(text, broken)
	return &problem{
		rule: RuleSyntax, message: message,
		at: place{line: uint32(line), column: uint32(indent + 1)},
	}
}

// guessed says what a text that is not YAML may be instead.
func guessed(text, broken []byte) string {
	for _, mark := range []string{"<<<<<<< ", "=======", ">>>>>>> "} {
		if bytes.HasPrefix(broken, []byte(mark)) || bytes.HasPrefix(text, []byte(mark)) {
			return "; there is a merge conflict to resolve"
		}
	}
	switch start := bytes.ToLower(bytes.TrimSpace(text[:min(len(text), 64)])); {
	case bytes.Contains(broken, []byte("{{")):
		return "; is it a template that must be rendered first?"
	case bytes.HasPrefix(start, []byte("<!doctype")) || bytes.HasPrefix(start, []byte("<html")) || bytes.HasPrefix(start, []byte("<?xml")):
		return "; is it a web page?"
	}
	return ""
}

// firstBroken returns the number of the first line, from 1, that no parseable beginning of
// the text includes.
func firstBroken(text []byte, lines [][]byte) int {
	end := len(text)
	for n := len(lines) - 1; n > 0; n-- {
		end -= len(lines[n])
		if parses(text[:end]) {
			return n + 1
		}
	}
	return 1
}

func parses(text []byte) bool {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		if err := decoder.Decode(new(yaml.Node)); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}
