package expression

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"unicode/utf8"
	"weak"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// Result is the type of what an expression evaluates to.
type Result uint8

// The results.
const (
	Bool Result = iota
	String
	Int
)

var resultTypes = [...]*types.Type{Bool: types.BoolType, String: types.StringType, Int: types.IntType}

// Program is a compiled expression. It is immutable, and any number of goroutines may
// evaluate it at once.
type Program struct {
	result Result
	uses   [attributes]bool
	simple *condition // nil: cel evaluates it
	cel    celgo.Program
}

// origin is what a program is made of.
type origin struct {
	source string
	phase  Phase
	result Result
}

// programs are those that somebody holds: ten thousand routes under one policy share one.
var programs sync.Map // of origin to weak.Pointer[Program]

// Compile compiles an expression for a phase that must evaluate to a result. An error is
// always an *Error: the expression is longer than MaxSource, malformed, of another type, sees
// what is not there, or may take too long.
func Compile(source string, phase Phase, result Result) (*Program, error) {
	from := origin{source, phase, result}
	if known, ok := programs.Load(from); ok {
		if p := known.(weak.Pointer[Program]).Value(); p != nil {
			return p, nil
		}
	}
	p, err := compile(source, phase, result)
	if err != nil {
		return nil, err
	}
	held := weak.Make(p)
	programs.Store(from, held)
	runtime.AddCleanup(p, func(from origin) { programs.CompareAndDelete(from, held) }, from)
	return p, nil
}

func compile(source string, phase Phase, result Result) (*Program, error) {
	switch {
	case len(source) > MaxSource:
		return nil, fault("longer than %d bytes", MaxSource)
	case !utf8.ValidString(source):
		return nil, fault("not UTF-8")
	}
	env, err := environment()
	if err != nil {
		return nil, fault("%v", err)
	}
	parsed, issues := env.Parse(source)
	if err := faultsOf(issues); err != nil {
		return nil, err
	}
	c := checker{info: parsed.NativeRep().SourceInfo(), phase: phase}
	c.check(parsed.NativeRep().Expr())
	if len(c.Problems) > 0 {
		return nil, &c.Error
	}
	checked, issues := env.Check(parsed)
	if err := faultsOf(issues); err != nil {
		return nil, err
	}
	if got, want := checked.OutputType(), resultTypes[result]; !got.IsExactType(want) {
		return nil, fault("is of type %s, not %s%s", celgo.FormatCELType(got), celgo.FormatCELType(want), conversion(got, want))
	}
	estimate, err := env.EstimateCost(checked, sizes{})
	switch {
	case err != nil:
		return nil, fault("%v", err)
	case estimate.Max > maxCost:
		return nil, fault("may take too long: up to %s steps for the longest values, and at most %d are allowed", count(estimate.Max), maxCost)
	}
	options := []celgo.ProgramOption{celgo.EvalOptions(celgo.OptOptimize)}
	if estimate.Max > uncounted {
		options = append(options, celgo.CostLimit(maxCost))
	}
	made, err := env.Program(checked, options...)
	if err != nil {
		return nil, fault("%v", err)
	}
	p := &Program{result: result, uses: c.uses, simple: conditionOf(checked.NativeRep().Expr()), cel: made}
	if p.uses == [attributes]bool{} {
		if _, err := p.eval(nil, result); err != nil { // it would fail for every request
			return nil, fault("%v", errors.Unwrap(err))
		}
	}
	return p, nil
}

// conversion says how to make a number the string that is wanted.
func conversion(got, want *celgo.Type) string {
	if want.IsExactType(celgo.StringType) && slices.ContainsFunc([]*celgo.Type{celgo.IntType, celgo.UintType, celgo.DoubleType}, got.IsExactType) {
		return "; write string(...) around it"
	}
	return ""
}

// count writes a number of steps; what is beyond all bounds cannot be counted.
func count(steps uint64) string {
	if steps > 1e15 {
		return "countless"
	}
	return fmt.Sprint(steps)
}

// Uses reports whether the expression names the attribute, whether or not an evaluation
// comes to it.
func (p *Program) Uses(a Attribute) bool { return p.uses[a] }

// Constant reports whether every request of one route gives the same: the expression names
// nothing but the route and the time.
func (p *Program) Constant() bool {
	for a := range attributes {
		if p.uses[a] && a != RouteNamespace && a != RouteName && a != RouteRule && a != Now {
			return false
		}
	}
	return true
}

var activations = sync.Pool{New: newActivation}

// Bool evaluates an expression that was compiled for Bool. It returns an error where CEL has
// no value, such as a division by zero, and for a value of the request that is too long.
func (p *Program) Bool(in Input) (bool, error) {
	if p.simple != nil {
		if viewer, ok := in.(Viewer); ok {
			if o := p.simple.evaluate(viewer); o != failed {
				return o == yes, nil
			}
		}
	}
	v, err := p.eval(in, Bool)
	if err != nil {
		return false, err
	}
	return bool(v.(types.Bool)), nil
}

// Text evaluates an expression that was compiled for String; errors are as for Bool.
func (p *Program) Text(in Input) (string, error) {
	v, err := p.eval(in, String)
	if err != nil {
		return "", err
	}
	return string(v.(types.String)), nil
}

// Int evaluates an expression that was compiled for Int; errors are as for Bool.
func (p *Program) Int(in Input) (int64, error) {
	v, err := p.eval(in, Int)
	if err != nil {
		return 0, err
	}
	return int64(v.(types.Int)), nil
}

func (p *Program) eval(in Input, want Result) (ref.Val, error) {
	if p.result != want {
		return nil, fmt.Errorf("expression: compiled for another result") // a defect of the caller
	}
	a := activations.Get().(*activation)
	a.in = in
	v, _, err := p.cel.Eval(a)
	a.in = nil
	activations.Put(a)
	switch {
	case err != nil:
		return nil, fmt.Errorf("expression: %w", err)
	case v.Type() != resultTypes[want]:
		return nil, fmt.Errorf("expression: a value of type %s", v.Type().TypeName())
	}
	return v, nil
}
