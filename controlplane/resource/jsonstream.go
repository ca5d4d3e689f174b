package resource

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON is read as YAML, so that values know their positions. These are the two things in
// which it is no subset: values that follow each other, and characters beyond the Basic
// Multilingual Plane written as pairs of escapes.

// jsonPieces cuts a text that is a stream of JSON values, as kubectl and jq write them, into
// a piece for each, but at most one more than a file may have. It returns nil for anything else.
func jsonPieces(text []byte) []piece {
	if start := bytes.TrimLeft(text, " \t\r\n"); len(start) == 0 || start[0] != '{' {
		return nil
	}
	var pieces []piece
	decoder := json.NewDecoder(bytes.NewReader(text))
	for line, column, from := 0, 0, 0; len(pieces) <= maxDocuments; {
		var value json.RawMessage
		err := decoder.Decode(&value)
		if errors.Is(err, io.EOF) {
			return pieces
		}
		if err != nil {
			return nil
		}
		end := int(decoder.InputOffset())
		start := end - len(value)
		line, column = advance(line, column, text[from:start])
		pieces = append(pieces, piece{text: joinSurrogates(value), line: line, column: column})
		line, column = advance(line, column, value)
		from = end
	}
	return pieces
}

// advance returns how many lines, and characters of the last, are before what follows text.
func advance(line, column int, text []byte) (int, int) {
	if i := bytes.LastIndexByte(text, '\n'); i >= 0 {
		return line + bytes.Count(text, []byte("\n")), utf8.RuneCount(text[i+1:])
	}
	return line, column + utf8.RuneCount(text)
}

// explainJSON says where a piece that is meant to be JSON is not. YAML takes much that JSON
// does not, such as a last comma, and may then miss what the author thinks is there.
func (r *decoded) explainJSON(text []byte, isJSON bool) {
	inner, quoted := bytes.CutPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{"))
	quoted = quoted && bytes.HasPrefix(bytes.TrimLeft(inner, " \t\r\n"), []byte(`"`))
	failed := slices.ContainsFunc(r.loose, func(p problem) bool { return p.severity == Error })
	if !quoted || !failed && !isJSON {
		return
	}
	broken := jsonProblem(text)
	switch {
	case broken == nil:
	case failed:
		r.loose = []problem{*broken}
	default:
		broken.severity = Warning
		broken.message += "; it was read as YAML"
		r.loose = append(r.loose, *broken)
	}
}

// jsonProblem returns the first thing that is wrong with a stream of JSON values, nil if
// nothing is.
func jsonProblem(text []byte) *problem {
	decoder := json.NewDecoder(bytes.NewReader(text))
	for {
		var value json.RawMessage
		err := decoder.Decode(&value)
		if err == nil {
			continue
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		at, message := len(text), "it ends too early"
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			at, message = min(len(text), max(0, int(syntax.Offset)-1)), syntax.Error()
		}
		before := text[:at]
		if at < len(text) && strings.IndexByte("}]", text[at]) >= 0 && bytes.HasSuffix(bytes.TrimRight(before, " \t\r\n"), []byte(",")) {
			message = fmt.Sprintf("no value follows the comma before %q", text[at])
		}
		line := 1 + bytes.LastIndexByte(before, '\n')
		return &problem{
			rule: RuleSyntax, message: "not valid JSON: " + message,
			at: place{line: uint32(1 + bytes.Count(before, []byte("\n"))), column: uint32(1 + utf8.RuneCount(before[line:]))},
		}
	}
}

// joinSurrogates writes each surrogate pair in the strings of a JSON value as the character
// that it stands for. Spaces behind the string keep what follows at its place.
func joinSurrogates(value []byte) []byte {
	if !bytes.Contains(value, []byte(`\u`)) {
		return value
	}
	out := make([]byte, 0, len(value))
	inString, short := false, 0 // short: characters that the string has lost
	for i := 0; i < len(value); {
		pair := rune(-1)
		if inString {
			pair = surrogatePair(value[i:])
		}
		switch c := value[i]; {
		case pair >= 0:
			out = utf8.AppendRune(out, pair)
			short += 2*escapeLength - 1
			i += 2 * escapeLength
		case inString && c == '\\':
			out = append(out, value[i], value[i+1])
			i += 2
		case c == '"':
			out = append(out, c)
			if inString = !inString; !inString {
				out = append(out, strings.Repeat(" ", short)...)
				short = 0
			}
			i++
		default:
			out = append(out, c)
			i++
		}
	}
	return out
}

// escapeLength is that of \uD83D.
const escapeLength = 6

// surrogatePair returns the character that two escapes at the start of b stand for, -1 if
// there are no such.
func surrogatePair(b []byte) rune {
	high, low := escape(b), rune(-1)
	if high >= 0 {
		low = escape(b[escapeLength:])
	}
	if r := utf16.DecodeRune(high, low); low >= 0 && r != utf8.RuneError {
		return r
	}
	return -1
}

// escape returns the code unit of an escape at the start of b, -1 if there is none.
func escape(b []byte) rune {
	if len(b) < escapeLength || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	unit, err := strconv.ParseUint(string(b[2:escapeLength]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(unit)
}
