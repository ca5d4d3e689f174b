package expression

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
)

// policyVariable is the only thing that a requirement sees.
const policyVariable = "policy"

// Kind is what the values of a policy's field are.
type Kind uint8

// The kinds of values. A Share is a decimal from 0 to 1. A Bound besides means that there may be
// none, which is above all others and never 0.
const (
	Duration Kind = iota + 1
	Share
	Integer
	Decimal
	Text
	Flag
	List

	Bound Kind = 1 << 7
)

// celTypes are the types of kinds.
var celTypes = map[Kind]*celgo.Type{
	Duration: celgo.DurationType, Share: celgo.DoubleType, Integer: celgo.IntType, Decimal: celgo.DoubleType,
	Text: celgo.StringType, Flag: celgo.BoolType, List: celgo.ListType(celgo.StringType),
}

// Requirement is a compiled bound on a policy: CEL that evaluates to a bool and sees nothing but
// policy, a map of maps. It is immutable, and any number of goroutines may evaluate it at once.
type Requirement struct {
	cel         celgo.Program
	reads, asks []string
}

// requirements is the CEL that requirements are written in.
var requirements = sync.OnceValues(func() (*celgo.Env, error) {
	return celgo.NewEnv(
		celgo.DefaultUTCTimeZone(true),
		celgo.CrossTypeNumericComparisons(true),
		celgo.ParserRecursionLimit(maxNesting),
		celgo.ParserExpressionSizeLimit(MaxSource),
		celgo.ASTValidators(celgo.ValidateDurationLiterals(), celgo.ValidateRegexLiterals(), celgo.ValidateComprehensionNestingLimit(2)),
		ext.Strings(ext.StringsVersion(5)),
		celgo.Variable(policyVariable, celgo.MapType(celgo.StringType, celgo.DynType)),
	)
})

// CompileRequirement compiles a bound on a policy, of which fields tells what some values are, by
// paths such as retries.attempts. An error is always an *Error: the expression is longer than
// MaxSource, malformed, of another type than bool, does not ask for any field, or compares one with
// what it cannot be.
func CompileRequirement(source string, fields map[string]Kind) (*Requirement, error) {
	switch {
	case len(source) > MaxSource:
		return nil, fault("longer than %d bytes", MaxSource)
	case !utf8.ValidString(source):
		return nil, fault("not UTF-8")
	}
	env, err := requirements()
	if err != nil {
		return nil, fault("%v", err)
	}
	parsed, issues := env.Parse(source)
	if err := faultsOf(issues); err != nil {
		return nil, err
	}
	c := fieldCollector{fields: fields, info: parsed.NativeRep().SourceInfo(), reads: map[string]bool{}, asks: map[string]bool{}}
	c.collect(parsed.NativeRep().Expr())
	if len(c.Problems) > 0 {
		return nil, &c.Error
	}
	got, err := checkKinds(env, source, fields)
	if err != nil {
		return nil, err
	}
	checked, issues := env.Check(parsed)
	if err := faultsOf(issues); err != nil {
		return nil, err
	}
	if !got.IsExactType(celgo.BoolType) && !got.IsExactType(celgo.DynType) {
		return nil, fault("is of type %s, not bool", celgo.FormatCELType(got))
	}
	if len(c.reads)+len(c.asks) == 0 {
		return nil, fault("asks for no field of policy, such as policy.retries.attempts")
	}
	made, err := env.Program(checked, celgo.EvalOptions(celgo.OptOptimize), celgo.CostLimit(maxCost))
	if err != nil {
		return nil, fault("%v", err)
	}
	return &Requirement{cel: made, reads: sorted(c.reads), asks: sorted(c.asks)}, nil
}

// checkKinds returns the type of an expression by the types of fields, which the maps that it is
// evaluated with do not tell.
func checkKinds(env *celgo.Env, source string, fields map[string]Kind) (*celgo.Type, error) {
	options := make([]celgo.EnvOption, 0, len(fields))
	for path, kind := range fields {
		options = append(options, celgo.Variable(policyVariable+"."+path, celTypes[kind&^Bound]))
	}
	typed, err := env.Extend(options...)
	if err != nil {
		return nil, fault("%v", err)
	}
	checked, issues := typed.Compile(source)
	err = faultsOf(issues)
	var faults *Error
	if errors.As(err, &faults) {
		for i := range faults.Problems {
			p := &faults.Problems[i]
			p.Message += meant(p.Message)
		}
		return nil, err
	}
	return checked.OutputType(), nil
}

// meant says how the values are written of which CEL says only that they do not go together.
func meant(message string) string {
	switch {
	case !strings.HasPrefix(message, "found no matching overload"):
		return ""
	case strings.Contains(message, "duration"):
		return `: write durations as duration("10s")`
	case strings.Contains(message, "double") || strings.Contains(message, "int"):
		return ": write numbers without quotes, percentages as shares from 0 to 1, sizes in bytes"
	}
	return ""
}

func sorted(set map[string]bool) []string {
	list := make([]string, 0, len(set))
	for s := range set {
		list = append(list, s)
	}
	slices.Sort(list)
	return list
}

// Reads returns the fields of the policy whose values the expression names, as paths such as
// retries.attempts, sorted.
func (r *Requirement) Reads() []string { return r.reads }

// Asks returns the fields of the policy for which the expression asks whether they are there,
// by has() or in, sorted.
func (r *Requirement) Asks() []string { return r.asks }

// Holds evaluates the expression for a policy: maps of maps, whose values are int64, float64,
// bool, string, time.Duration and []string. It returns an error where CEL has no value, such as
// for a field that is not there, and where the evaluation takes too long.
func (r *Requirement) Holds(policy map[string]any) (bool, error) {
	v, _, err := r.cel.Eval(map[string]any{policyVariable: policy})
	if err != nil {
		return false, fmt.Errorf("expression: %w", err)
	}
	holds, ok := v.(types.Bool)
	if !ok {
		return false, errors.New("expression: a value of type " + v.Type().TypeName())
	}
	return bool(holds), nil
}

// fieldCollector finds out what fields an expression names.
type fieldCollector struct {
	fields      map[string]Kind
	info        *ast.SourceInfo
	reads, asks map[string]bool
	Error
}

func (c *fieldCollector) collect(e ast.Expr) {
	if path, ok := fieldPath(e); ok {
		switch {
		case path == "":
			c.at(c.info, e, "policy is not a value: name one of its fields, such as policy.retries.attempts")
		case e.Kind() == ast.SelectKind && e.AsSelect().IsTestOnly():
			c.asks[path] = true
		default:
			c.reads[path] = true
		}
		return
	}
	switch e.Kind() {
	case ast.SelectKind:
		c.collect(e.AsSelect().Operand())
	case ast.CallKind:
		call := e.AsCall()
		if call.IsMemberFunction() {
			c.collect(call.Target())
		}
		c.compare(e, call)
		if name, object, ok := membership(call); ok {
			c.asks[strings.TrimPrefix(object+"."+name, ".")] = true
			return
		}
		for _, arg := range call.Args() {
			c.collect(arg)
		}
	case ast.ListKind:
		for _, element := range e.AsList().Elements() {
			c.collect(element)
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			c.collect(entry.AsMapEntry().Key())
			c.collect(entry.AsMapEntry().Value())
		}
	case ast.StructKind:
		c.at(c.info, e, "messages cannot be made here")
	case ast.ComprehensionKind:
		f := e.AsComprehension()
		for _, name := range []string{f.IterVar(), f.IterVar2()} {
			if name == policyVariable {
				c.at(c.info, e, "policy has a meaning of its own: name the variable otherwise")
			}
		}
		for _, part := range []ast.Expr{f.IterRange(), f.AccuInit(), f.LoopCondition(), f.LoopStep(), f.Result()} {
			c.collect(part)
		}
	}
}

// compare refuses to compare a field with what its values never are: such a rule would always
// hold, or never.
func (c *fieldCollector) compare(e ast.Expr, call ast.CallExpr) {
	switch call.FunctionName() {
	case operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals, operators.Equals, operators.NotEquals:
	case operators.Index:
		if path, ok := fieldPath(call.Args()[0]); ok {
			c.at(c.info, e, "write the field's name behind a point, as in %s", policyVariable+"."+strings.TrimPrefix(path+".name", "."))
		}
		return
	default:
		return
	}
	for i, arg := range call.Args() {
		path, _ := fieldPath(arg)
		kind := c.fields[path]
		n, ok := numeral(call.Args()[1-i])
		switch {
		case !ok:
		case kind&^Bound == Share && n > 1:
			c.at(c.info, e, "%s is a share from 0 to 1: write %v for %v%%", path, n/100, n)
		case kind&Bound != 0 && n == 0:
			c.at(c.info, e, "%s is never 0, for no bound is above all others: write policy.%s <= and the most that it may be", path, path)
		}
	}
}

// numeral returns the number or, in seconds, the duration that is written there.
func numeral(e ast.Expr) (float64, bool) {
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == overloads.TypeConvertDuration && len(e.AsCall().Args()) == 1 {
		text, ok := literal(e.AsCall().Args()[0])
		d, err := time.ParseDuration(text)
		return d.Seconds(), ok && err == nil
	}
	if e.Kind() != ast.LiteralKind {
		return 0, false
	}
	switch n := e.AsLiteral().(type) {
	case types.Int:
		return float64(n), true
	case types.Uint:
		return float64(n), true
	case types.Double:
		return float64(n), true
	}
	return 0, false
}

// fieldPath returns the path of a field of the policy: policy.a.b.
func fieldPath(e ast.Expr) (string, bool) {
	switch e.Kind() {
	case ast.IdentKind:
		return "", strings.TrimPrefix(e.AsIdent(), ".") == policyVariable
	case ast.SelectKind:
		s := e.AsSelect()
		path, ok := fieldPath(s.Operand())
		return strings.TrimPrefix(path+"."+s.FieldName(), "."), ok
	}
	return "", false
}

// membership returns what "a" in policy.b asks for.
func membership(call ast.CallExpr) (name, object string, ok bool) {
	if call.FunctionName() != operators.In && call.FunctionName() != operators.OldIn || len(call.Args()) != 2 {
		return "", "", false
	}
	name, literally := literal(call.Args()[0])
	object, ok = fieldPath(call.Args()[1])
	return name, object, ok && literally
}
