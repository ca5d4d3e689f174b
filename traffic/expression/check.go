package expression

import (
	"regexp"
	"strings"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
)

// Phase is when an expression is evaluated, which decides what there is to see.
type Phase uint8

// The phases.
const (
	// Matching is while a route is chosen, before anything is known but the request.
	Matching Phase = iota
	// Forwarding is from the check of access on.
	Forwarding
)

// absent says why a name of the policy language is not there in a phase.
func absent(name string, phase Phase) string {
	switch {
	case name == "jwt" && phase == Matching:
		return "jwt is not available here: claims are verified only when the route is known"
	case name == "jwt":
		return "jwt is not available here: it needs verified claims, which come with AccessPolicy"
	case name == "response":
		return "response is not available here: there is none yet when the expression is evaluated"
	}
	return ""
}

// checker looks at an expression before the types are checked: for what CEL would take and
// Weir does not, and for what deserves a better message than CEL's.
type checker struct {
	info  *ast.SourceInfo
	phase Phase
	uses  [attributes]bool
	Error
}

// roots are the variables that have fields, with the fields.
var roots = map[string]string{
	"request": "method, scheme, host, path, query, headers and cookies",
	"source":  "address and port",
	"route":   "namespace, name and rule",
}

func (c *checker) report(e ast.Expr, format string, args ...any) { c.at(c.info, e, format, args...) }

// check looks at e and what is in it.
func (c *checker) check(e ast.Expr) {
	switch e.Kind() {
	case ast.IdentKind:
		c.ident(e)
	case ast.SelectKind:
		c.field(e)
	case ast.CallKind:
		c.call(e)
	case ast.ListKind:
		c.each(e.AsList().Elements())
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			c.each([]ast.Expr{entry.AsMapEntry().Key(), entry.AsMapEntry().Value()})
		}
	case ast.StructKind:
		c.report(e, "messages cannot be made here")
	case ast.ComprehensionKind:
		f := e.AsComprehension()
		for _, name := range []string{f.IterVar(), f.IterVar2()} {
			if _, taken := roots[name]; taken || absent(name, c.phase) != "" || name == Identity.String() || name == Now.String() {
				c.report(e, "%s has a meaning of its own: name the variable otherwise", name)
			}
		}
		c.each([]ast.Expr{f.IterRange(), f.AccuInit(), f.LoopCondition(), f.LoopStep(), f.Result()})
	}
}

func (c *checker) each(list []ast.Expr) {
	for _, e := range list {
		c.check(e)
	}
}

func (c *checker) ident(e ast.Expr) {
	name := e.AsIdent()
	if bare, dotted := strings.CutPrefix(name, "."); dotted { // CEL's way past variables of a list, of which none may have the name
		c.report(e, "write %s without the dot before it", bare)
		return
	}
	if why := absent(name, c.phase); why != "" {
		c.report(e, "%s", why)
	} else if fields, ok := roots[name]; ok {
		c.report(e, "%s is not a value: it has %s", name, fields)
	} else if a, ok := attributeOf(name); ok {
		c.uses[a] = true
	}
}

// field looks at a selection. A collection is good for nothing but what is looked up in it,
// because its names are not known.
func (c *checker) field(e ast.Expr) {
	s := e.AsSelect()
	if a, ok := c.attribute(e); ok {
		c.uses[a] = true
		if s.IsTestOnly() {
			c.report(e, "%s is always there; compare its value", a)
		} else if a.collection() {
			c.report(e, "%s cannot be listed: look a name up, as in %s", a, example(a))
		}
		return
	}
	if a, ok := c.attribute(s.Operand()); ok && a.collection() {
		c.lookup(a, e, s.FieldName())
		return
	}
	if operand := s.Operand(); operand.Kind() == ast.IdentKind {
		if fields, ok := roots[operand.AsIdent()]; ok {
			c.report(e, "%s has no %s; it has %s", operand.AsIdent(), s.FieldName(), fields)
			return
		}
	}
	c.check(s.Operand())
}

// attribute returns the attribute that e selects from a root.
func (c *checker) attribute(e ast.Expr) (Attribute, bool) {
	if e.Kind() != ast.SelectKind {
		return 0, false
	}
	s := e.AsSelect()
	if s.Operand().Kind() != ast.IdentKind {
		return 0, false
	}
	return attributeOf(s.Operand().AsIdent() + "." + s.FieldName())
}

func example(a Attribute) string {
	return map[Attribute]string{Headers: `request.headers["x-user"]`, Query: `request.query["q"]`, Cookies: `request.cookies["sid"]`}[a]
}

// lookup notes that a collection is asked for a name.
func (c *checker) lookup(a Attribute, e ast.Expr, name string) {
	c.uses[a] = true
	if lower := strings.ToLower(name); a == Headers && name != lower {
		c.report(e, "names of headers are lower case here: write %q", lower)
	}
}

func (c *checker) call(e ast.Expr) {
	call := e.AsCall()
	args := call.Args()
	at, key := -1, -1 // where the collection and the name are
	switch call.FunctionName() {
	case operators.Index:
		at, key = 0, 1
	case operators.In, operators.OldIn:
		at, key = 1, 0
	case "matches":
		if len(args) > 0 {
			c.pattern(args[len(args)-1])
		}
	case "format", "strings.quote":
		c.report(e, "%s is not available here", call.FunctionName())
		return
	}
	if call.IsMemberFunction() {
		c.check(call.Target())
	}
	if at >= 0 && len(args) == 2 {
		if a, ok := c.attribute(args[at]); ok && a.collection() {
			name, _ := literal(args[key])
			c.lookup(a, args[key], name)
			c.check(args[key])
			return
		}
	}
	c.each(args)
}

// pattern checks a regular expression. Only one that is written out is compiled in advance:
// one from the request would be the client's to choose.
func (c *checker) pattern(e ast.Expr) {
	text, ok := literal(e)
	if !ok {
		c.report(e, "the pattern of matches must be written out as a string")
		return
	}
	if _, err := regexp.Compile(text); err != nil {
		c.report(e, "%v", err)
	}
}

func literal(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}
