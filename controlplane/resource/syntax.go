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

// piece is a part of a file that can be parsed alone: one document, as a rule.
type piece struct {
	text []byte
	line int // lines before it in the file
}

// readable checks what holds for every file, and returns its text without a byte order mark.
func readable(data []byte) ([]byte, *problem) {
	if len(data) > MaxFile {
		return nil, &problem{rule: RuleSyntax, message: fmt.Sprintf(
			"the file has %d bytes; expected at most %d", len(data), MaxFile)}
	}
	text := bytes.TrimPrefix(data, []byte("\ufeff"))
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

// split cuts a file at its document markers, lines that begin with three dashes: no
// document can contain such a line. A file with directives stays whole. JSON is cut into
// its values.
func split(text []byte) []piece {
	if pieces := jsonPieces(text); pieces != nil {
		return pieces
	}
	if bytes.HasPrefix(text, []byte("%")) || bytes.Contains(text, []byte("\n%")) {
		return []piece{{text: text}}
	}
	var pieces []piece
	start, startLine, line := 0, 0, 0
	for i := 0; i < len(text); line++ {
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

// parse returns the documents of a piece, or what is wrong with its syntax.
func parse(text []byte) ([]*yaml.Node, *problem) {
	var documents []*yaml.Node
	for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
		document := new(yaml.Node)
		err := decoder.Decode(document)
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		if err != nil {
			return nil, syntaxProblem(text, err)
		}
		if len(document.Content) == 1 {
			documents = append(documents, document.Content[0])
		}
	}
}

var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// syntaxProblem locates a syntax error. The parser names a line near it, often the start of
// the block around it, so in documents of usual size the first line is sought after which
// nothing parses any more.
func syntaxProblem(text []byte, err error) *problem {
	message, line := err.Error(), 1
	if m := yamlError.FindStringSubmatch(err.Error()); m != nil {
		message = m[2]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = n
		}
	}
	if strings.HasPrefix(message, "unknown anchor") { // it may be a secret that begins with a star
		message = "an alias (*name) of no anchor; quote the value if a string is meant"
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	line = max(1, min(line, len(lines)))
	if len(lines) <= 200 && len(text) <= 16<<10 {
		line = firstBroken(text, lines)
	}
	broken := lines[line-1]
	indent := len(broken) - len(bytes.TrimLeft(broken, " \t"))
	if bytes.IndexByte(broken[:indent], '\t') >= 0 {
		message += "; indent with spaces, not tabs"
	}
	return &problem{
		rule: RuleSyntax, message: message,
		at: place{line: uint32(line), column: uint32(indent + 1)},
	}
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
