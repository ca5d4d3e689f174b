package expression

import (
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
)

// Viewer is an Input that shows its values where they are. Conditions of the simple shapes
// (see condition) are evaluated on it without an allocation.
type Viewer interface {
	Input
	// View returns what Text returns of Method, Host and Path, or Lookup of a collection, as bytes
	// that are valid until the next call. The name is that of Lookup, and empty else.
	View(a Attribute, name string) (value []byte, ok bool)
}

// condition is an expression of a simple shape, which needs no interpreter: an attribute, or what
// is looked up in a collection by a written name, against written strings, joined by &&, || and !.
//
//	request.headers["x-batch"] == "1" && !request.path.startsWith("/pay")
//	request.method in ["PUT", "DELETE"] || "x-admin" in request.headers || identity != ""
//
// It is made of the checked expression, and what it says is what cel-go says. Errors are those of
// values that are too long: as in CEL they count only where the other side of && or || does not
// decide.
type condition struct {
	op    operation
	of    Attribute
	name  string      // in the collection
	text  string      // what is compared with
	texts []string    // of oneOf
	parts []condition // of all, some and not
}

type operation uint8

const (
	is      operation = iota // of is text
	begins                   // of begins with text
	ends                     // of ends with text
	oneOf                    // of is one of texts
	present                  // there is a name in of
	not                      // the only part is false
	all                      // every part is true
	some                     // a part is true
)

// outcome is what a condition comes to.
type outcome uint8

const (
	no outcome = iota
	yes
	failed // cel-go says why
)

func outcomeOf(b bool) outcome {
	if b {
		return yes
	}
	return no
}

// conditionOf returns the condition that a checked expression is, nil if its shape is another.
func conditionOf(e ast.Expr) *condition {
	if c, ok := shape(e); ok {
		return &c
	}
	return nil
}

func shape(e ast.Expr) (condition, bool) {
	switch e.Kind() {
	case ast.SelectKind:
		s := e.AsSelect()
		a, ok := named(s.Operand())
		return condition{op: present, of: a, name: s.FieldName()}, ok && a.collection() && s.IsTestOnly()
	case ast.CallKind:
		return shapeOfCall(e.AsCall())
	}
	return condition{}, false
}

var comparisons = map[string]operation{overloads.StartsWith: begins, overloads.EndsWith: ends}

func shapeOfCall(call ast.CallExpr) (c condition, ok bool) {
	args := call.Args()
	switch name := call.FunctionName(); name {
	case operators.LogicalAnd:
		return joined(all, args)
	case operators.LogicalOr:
		return joined(some, args)
	case operators.LogicalNot:
		return joined(not, args)
	case operators.Equals, operators.NotEquals:
		c.of, c.name, ok = value(args[0])
		other := args[1]
		if !ok {
			c.of, c.name, ok = value(args[1])
			other = args[0]
		}
		written := false
		c.text, written = literal(other)
		if name == operators.NotEquals {
			c = condition{op: not, parts: []condition{c}}
		}
		return c, ok && written
	case operators.In, operators.OldIn:
		return membershipIn(args[0], args[1])
	default:
		op, known := comparisons[name]
		if !known || !call.IsMemberFunction() || len(args) != 1 {
			return condition{}, false
		}
		c.op = op
		c.of, c.name, ok = value(call.Target())
		written := false
		c.text, written = literal(args[0])
		return c, ok && written
	}
}

func joined(op operation, args []ast.Expr) (condition, bool) {
	c := condition{op: op}
	for _, arg := range args {
		part, ok := shape(arg)
		if !ok {
			return condition{}, false
		}
		c.parts = append(c.parts, part)
	}
	return c, true
}

// membershipIn is the shape of "name" in collection, and of attribute in a list of strings.
func membershipIn(element, list ast.Expr) (c condition, ok bool) {
	if a, ok := named(list); ok && a.collection() {
		name, written := literal(element)
		return condition{op: present, of: a, name: name}, written
	}
	if list.Kind() != ast.ListKind {
		return condition{}, false
	}
	c.op = oneOf
	c.of, c.name, ok = value(element)
	for _, e := range list.AsList().Elements() {
		text, written := literal(e)
		c.texts, ok = append(c.texts, text), ok && written
	}
	return c, ok && len(c.texts) > 0 // cel-go does not look what is in no list
}

// value returns the attribute that an expression is, or looks up by a name that is written out.
func value(e ast.Expr) (a Attribute, name string, ok bool) {
	if a, ok = named(e); ok {
		return a, "", table[a].typ == types.StringType
	}
	switch e.Kind() {
	case ast.SelectKind:
		s := e.AsSelect()
		a, ok = named(s.Operand())
		return a, s.FieldName(), ok && a.collection() && !s.IsTestOnly()
	case ast.CallKind:
		call := e.AsCall()
		if call.FunctionName() != operators.Index || len(call.Args()) != 2 {
			return 0, "", false
		}
		written := false
		a, ok = named(call.Args()[0])
		name, written = literal(call.Args()[1])
		return a, name, ok && written && a.collection()
	}
	return 0, "", false
}

// named returns the attribute of a name. The checker has made one name of request.path.
func named(e ast.Expr) (Attribute, bool) {
	if e.Kind() != ast.IdentKind {
		return 0, false
	}
	return attributeOf(e.AsIdent())
}

// evaluate says what the condition comes to for a request.
func (c *condition) evaluate(in Viewer) outcome {
	switch c.op {
	case not:
		switch c.parts[0].evaluate(in) {
		case no:
			return yes
		case yes:
			return no
		default:
			return failed
		}
	case all:
		return c.join(in, no)
	case some:
		return c.join(in, yes)
	case present:
		_, ok := in.View(c.of, c.name)
		return outcomeOf(ok)
	}
	switch c.of {
	case Method, Host, Path, Headers, Query, Cookies:
		v, _ := in.View(c.of, c.name)
		return compare(c, v)
	}
	return compare(c, in.Text(c.of))
}

// join evaluates the parts in order until one is what decides.
func (c *condition) join(in Viewer, decides outcome) outcome {
	result := yes - decides
	for i := range c.parts {
		switch c.parts[i].evaluate(in) {
		case decides:
			return decides
		case failed:
			result = failed
		}
	}
	return result
}

func compare[T string | []byte](c *condition, v T) outcome {
	if uint64(len(v)) > table[c.of].size {
		return failed
	}
	switch c.op {
	case is:
		return outcomeOf(string(v) == c.text)
	case begins:
		return outcomeOf(len(v) >= len(c.text) && string(v[:len(c.text)]) == c.text)
	case ends:
		return outcomeOf(len(v) >= len(c.text) && string(v[len(v)-len(c.text):]) == c.text)
	}
	for _, text := range c.texts {
		if string(v) == text {
			return yes
		}
	}
	return no
}
