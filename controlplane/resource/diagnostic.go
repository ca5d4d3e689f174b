package resource

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Severity is how bad a Diagnostic is. An Error means that something which was written is
// not in effect.
type Severity uint8

// The severities, worst first.
const (
	Error Severity = iota
	Warning
	Info
)

// String returns error, warning or info.
func (s Severity) String() string {
	return [...]string{"error", "warning", "info"}[min(s, Info)]
}

// MarshalText encodes the severity as its String.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Position is a place in a file. Line and Column count from 1, the column in characters;
// a Line of 0 means the file as a whole.
type Position struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// String returns the position as editors understand it: "route.yaml:5:3".
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column)
}

// Compare orders positions by file, line and column.
func (p Position) Compare(o Position) int {
	return cmp.Or(strings.Compare(p.File, o.File), cmp.Compare(p.Line, o.Line), cmp.Compare(p.Column, o.Column))
}

// The rules by which this package and source report. Rules of lint have names of their own.
const (
	RuleSyntax      = "syntax"      // not YAML, not a manifest, or too large
	RuleSchema      = "schema"      // against the kind's schema or CEL rules
	RuleDuplicate   = "duplicate"   // a second object with the same key
	RuleUnsupported = "unsupported" // a kind that is not served
	RuleRetained    = "retained"    // an older version stays live
	RuleMassDelete  = "mass-delete" // a deletion that waits for consent
	RuleRead        = "read"        // a file or folder that cannot be read
)

// Diagnostic says what is wrong with what the user wrote, where, and what was expected.
type Diagnostic struct {
	Severity Severity `json:"severity"`
	Rule     string   `json:"rule,omitempty"`
	At       Position `json:"at"`
	Object   Key      `json:"object,omitzero"`
	Field    string   `json:"field,omitempty"` // the path of the field: spec.rules[0].matches
	Message  string   `json:"message"`
}

// String returns the diagnostic in one line:
//
//	route.yaml:5:3: HTTPRoute shop/cart: spec.rules[0].foo: unknown field; did you mean "matches"?
//
// A severity other than error follows the position.
func (d Diagnostic) String() string {
	var parts []string
	add := func(s string) {
		if s != "" {
			parts = append(parts, s)
		}
	}
	add(d.At.String())
	if d.Severity != Error {
		add(d.Severity.String())
	}
	if d.Object != (Key{}) {
		add(d.Object.String())
	}
	add(d.Field)
	add(d.Message)
	return strings.Join(parts, ": ")
}

// SortDiagnostics orders diagnostics by position, then object, field and message.
func SortDiagnostics(ds []Diagnostic) {
	slices.SortStableFunc(ds, func(a, b Diagnostic) int {
		return cmp.Or(a.At.Compare(b.At), a.Object.Compare(b.Object),
			strings.Compare(a.Field, b.Field), strings.Compare(a.Message, b.Message))
	})
}
