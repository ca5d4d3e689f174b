package resource

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	apiservercel "k8s.io/apiserver/pkg/cel"
)

// predicate answers one question about a value, fast: does a CEL rule surely hold for it? It
// knows the part of CEL that schemas mostly use, on what JSON has, and is unsure of the
// rest, which CEL itself then judges. Being sure of what CEL denies would be a mistake; being
// unsure never is.
type predicate struct {
	eval  evaluator
	slots int // variables, self being the first
}

// evaluator computes a part of a rule from the values of its variables: a string, int64,
// bool, []any or map[string]any, or unsure.
type evaluator func(vars []any) any

// unsure is what CEL would find in error, or what is not known here.
type unsure struct{}

// holds tells whether the rule surely holds.
func (p *predicate) holds(self any) bool {
	if p == nil {
		return false
	}
	vars := make([]any, p.slots)
	vars[0] = self
	return p.eval(vars) == true
}

// newPredicate returns nil for a rule of which nothing is known here.
func newPredicate(rule *celgo.Ast, s *structuralschema.Structural) *predicate {
	if !plain(s) {
		return nil
	}
	c := predicateCompiler{names: []string{"self"}, slots: 1}
	return &predicate{eval: c.compile(rule.NativeRep().Expr()), slots: c.slots}
}

// plain tells whether CEL sees the values of a schema as they are in JSON: formats such as
// durations it converts.
func plain(s *structuralschema.Structural) bool {
	if s.XIntOrString || s.XEmbeddedResource || s.Type == "number" {
		return false
	}
	if v := s.ValueValidation; v != nil && s.Type == "string" && v.Format != "" {
		return false
	}
	for name := range s.Properties {
		property := s.Properties[name]
		if !plain(&property) {
			return false
		}
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Structural != nil && !plain(s.AdditionalProperties.Structural) {
		return false
	}
	return s.Items == nil || plain(s.Items)
}

// predicateCompiler turns the syntax tree of a rule into functions.
type predicateCompiler struct {
	names []string // of the variables in scope; the place is the slot
	slots int      // the most there were
}

func never([]any) any { return unsure{} }

func (c *predicateCompiler) compile(e ast.Expr) evaluator {
	switch e.Kind() {
	case ast.LiteralKind:
		value := e.AsLiteral().Value()
		return func([]any) any { return value }
	case ast.IdentKind:
		slot := -1
		for i, name := range c.names {
			if name == e.AsIdent() {
				slot = i // the innermost counts
			}
		}
		if slot < 0 {
			return never
		}
		return func(vars []any) any { return vars[slot] }
	case ast.SelectKind:
		return c.field(e.AsSelect())
	case ast.ListKind:
		return c.list(e.AsList())
	case ast.CallKind:
		return c.call(e.AsCall())
	case ast.ComprehensionKind:
		return c.fold(e.AsComprehension())
	}
	return never
}

// field selects a field, or tests whether there is one.
func (c *predicateCompiler) field(e ast.SelectExpr) evaluator {
	of, name, test := c.compile(e.Operand()), e.FieldName(), e.IsTestOnly()
	if unescaped, ok := apiservercel.Unescape(name); ok {
		name = unescaped
	}
	return func(vars []any) any {
		object, ok := of(vars).(map[string]any)
		if !ok {
			return unsure{}
		}
		value, there := object[name]
		switch {
		case test && !there:
			return false
		case value == nil: // absent or null
			return unsure{}
		case test:
			return true
		}
		return value
	}
}

func (c *predicateCompiler) list(e ast.ListExpr) evaluator {
	var elements []evaluator
	literal := true
	for _, element := range e.Elements() {
		elements = append(elements, c.compile(element))
		literal = literal && element.Kind() == ast.LiteralKind
	}
	build := func(vars []any) any {
		list := make([]any, len(elements))
		for i, element := range elements {
			list[i] = element(vars)
		}
		return list
	}
	if literal {
		list := build(nil)
		return func([]any) any { return list }
	}
	return build
}

// fold is what all, exists, exists_one and filter are made of.
func (c *predicateCompiler) fold(e ast.ComprehensionExpr) evaluator {
	over := c.compile(e.IterRange())
	accumulator, element := len(c.names), len(c.names)+1
	start := c.compile(e.AccuInit())
	c.names = append(c.names, e.AccuVar(), e.IterVar())
	c.slots = max(c.slots, len(c.names))
	goOn, step := c.compile(e.LoopCondition()), c.compile(e.LoopStep())
	result := c.compile(e.Result())
	c.names = c.names[:accumulator]
	if e.HasIterVar2() {
		return never
	}
	return func(vars []any) any {
		list, ok := over(vars).([]any)
		if !ok {
			return unsure{}
		}
		vars[accumulator] = start(vars)
		for _, v := range list {
			vars[element] = v
			if goOn(vars) == false {
				break
			}
			vars[element] = v
			vars[accumulator] = step(vars)
		}
		return result(vars)
	}
}

// call compiles operators and functions.
func (c *predicateCompiler) call(e ast.CallExpr) evaluator {
	var args []evaluator
	if e.IsMemberFunction() {
		args = append(args, c.compile(e.Target()))
	}
	for _, a := range e.Args() {
		args = append(args, c.compile(a))
	}
	switch {
	case e.FunctionName() == operators.Conditional && len(args) == 3:
		return conditional(args[0], args[1], args[2])
	case e.FunctionName() == "matches" && len(args) == 2:
		return c.matches(e, args[0])
	case len(args) == 1 && oneArgument[e.FunctionName()] != nil:
		f := oneArgument[e.FunctionName()]
		return func(vars []any) any { return f(args[0](vars)) }
	case len(args) == 2 && logical[e.FunctionName()] != nil:
		return logical[e.FunctionName()](args[0], args[1])
	case len(args) == 2 && twoArguments[e.FunctionName()] != nil:
		f := twoArguments[e.FunctionName()]
		return func(vars []any) any { return f(args[0](vars), args[1](vars)) }
	}
	return never
}

func conditional(test, then, otherwise evaluator) evaluator {
	return func(vars []any) any {
		switch test(vars) {
		case true:
			return then(vars)
		case false:
			return otherwise(vars)
		}
		return unsure{}
	}
}

// matches compiles a pattern that is written out in the rule.
func (c *predicateCompiler) matches(e ast.CallExpr, of evaluator) evaluator {
	written := e.Args()[len(e.Args())-1]
	if written.Kind() != ast.LiteralKind {
		return never
	}
	text, _ := written.AsLiteral().Value().(string)
	pattern, err := regexp.Compile(text)
	if err != nil {
		return never
	}
	return func(vars []any) any {
		s, ok := of(vars).(string)
		if !ok {
			return unsure{}
		}
		return pattern.MatchString(s)
	}
}

// logical are the operators for which one side can be enough, whatever the other is.
var logical = map[string]func(a, b evaluator) evaluator{
	operators.LogicalAnd: func(a, b evaluator) evaluator { return enough(a, b, false) },
	operators.LogicalOr:  func(a, b evaluator) evaluator { return enough(a, b, true) },
}

func enough(a, b evaluator, decides bool) evaluator {
	return func(vars []any) any {
		x := a(vars)
		if x == decides {
			return decides
		}
		switch b(vars) {
		case decides:
			return decides
		case !decides:
			return x // the other value, or unsure
		}
		return unsure{}
	}
}

var oneArgument = map[string]func(any) any{
	operators.LogicalNot: func(v any) any {
		if b, ok := v.(bool); ok {
			return !b
		}
		return unsure{}
	},
	operators.NotStrictlyFalse: func(v any) any { return v != false },
	"size": func(v any) any {
		switch v := v.(type) {
		case string:
			return int64(utf8.RuneCountInString(v))
		case []any:
			return int64(len(v))
		}
		return unsure{}
	},
}

var twoArguments = map[string]func(a, b any) any{
	operators.Equals: equal,
	operators.NotEquals: func(a, b any) any {
		if same, ok := equal(a, b).(bool); ok {
			return !same
		}
		return unsure{}
	},
	operators.Less:          onIntegers(func(a, b int64) any { return a < b }),
	operators.LessEquals:    onIntegers(func(a, b int64) any { return a <= b }),
	operators.Greater:       onIntegers(func(a, b int64) any { return a > b }),
	operators.GreaterEquals: onIntegers(func(a, b int64) any { return a >= b }),
	operators.Add: func(a, b any) any {
		if x, ok := a.([]any); ok {
			if y, ok := b.([]any); ok {
				return slices.Concat(x, y)
			}
		}
		return onIntegers(func(a, b int64) any {
			if sum := a + b; (sum > a) == (b > 0) {
				return sum
			}
			return unsure{} // an overflow
		})(a, b)
	},
	operators.In: func(a, b any) any {
		list, ok := b.([]any)
		if !ok {
			return unsure{}
		}
		var found any = false
		for _, v := range list {
			switch equal(a, v) {
			case true:
				return true
			case false:
			default:
				found = unsure{}
			}
		}
		return found
	},
	operators.Index: func(a, b any) any {
		list, ok := a.([]any)
		i, whole := b.(int64)
		if !ok || !whole || i < 0 || i >= int64(len(list)) || list[i] == nil {
			return unsure{}
		}
		return list[i]
	},
	"startsWith": onTexts(strings.HasPrefix),
	"endsWith":   onTexts(strings.HasSuffix),
	"contains":   onTexts(strings.Contains),
}

// equal compares two scalars of one type.
func equal(a, b any) any {
	switch x := a.(type) {
	case string:
		if y, ok := b.(string); ok {
			return x == y
		}
	case int64:
		if y, ok := b.(int64); ok {
			return x == y
		}
	case bool:
		if y, ok := b.(bool); ok {
			return x == y
		}
	}
	return unsure{}
}

func onIntegers(f func(a, b int64) any) func(a, b any) any {
	return func(a, b any) any {
		x, okX := a.(int64)
		y, okY := b.(int64)
		if !okX || !okY {
			return unsure{}
		}
		return f(x, y)
	}
}

func onTexts(f func(s, part string) bool) func(a, b any) any {
	return func(a, b any) any {
		x, okX := a.(string)
		y, okY := b.(string)
		if !okX || !okY {
			return unsure{}
		}
		return f(x, y)
	}
}
