package expression

import (
	celchecker "github.com/google/cel-go/checker"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
)

// Costs are in CEL's unit: about one step of the interpreter, or ten characters looked at.
const (
	// maxCost is what an expression may cost at most, by an estimate for the longest values,
	// and by count when it is evaluated: a few milliseconds.
	maxCost = 100_000
	// uncounted is the estimate up to which nobody counts at run time: what cannot cost much
	// need not pay for being watched.
	uncounted = 1_000
)

// sizes tells cel-go's estimate how long the values are that a request gives.
type sizes struct{}

// EstimateSize returns the size of a value that comes from a request, nil if e is another.
func (s sizes) EstimateSize(e celchecker.AstNode) *celchecker.SizeEstimate {
	if path := e.Path(); len(path) > 0 && e.Type().Kind() == types.StringKind {
		if a, ok := attributeOf(path[0]); ok {
			return &celchecker.SizeEstimate{Max: table[a].size}
		}
	}
	if e.Expr().Kind() == ast.CallKind {
		if whole := splitFrom(e.Expr().AsCall()); whole != nil {
			return s.ofAttribute(whole)
		}
	}
	return nil
}

// splitFrom returns the text of which e is one of the parts, as in path.split("/")[1].
func splitFrom(e ast.CallExpr) ast.Expr {
	if e.FunctionName() != operators.Index || e.Args()[0].Kind() != ast.CallKind {
		return nil
	}
	if parts := e.Args()[0].AsCall(); parts.FunctionName() == "split" && parts.IsMemberFunction() {
		return parts.Target()
	}
	return nil
}

// ofAttribute returns the size of an attribute or of a value that is looked up in one.
func (sizes) ofAttribute(e ast.Expr) *celchecker.SizeEstimate {
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.Index {
		e = e.AsCall().Args()[0]
	}
	name := ""
	switch {
	case e.Kind() == ast.IdentKind:
		name = e.AsIdent()
	case e.Kind() == ast.SelectKind && e.AsSelect().Operand().Kind() == ast.IdentKind:
		name = e.AsSelect().Operand().AsIdent() + "." + e.AsSelect().FieldName()
	}
	if a, ok := attributeOf(name); ok {
		return &celchecker.SizeEstimate{Max: table[a].size}
	}
	return nil
}

// written is the most characters that a number or time has as a string.
var written = map[string]uint64{
	overloads.IntToString: 20, overloads.UintToString: 20, overloads.DoubleToString: 330, overloads.BoolToString: 5,
	overloads.TimestampToString: 40, overloads.DurationToString: 40,
}

// EstimateCallCost returns what it costs to write a number or time, and leaves all other
// functions to cel-go.
func (sizes) EstimateCallCost(_, overload string, _ *celchecker.AstNode, _ []celchecker.AstNode) *celchecker.CallEstimate {
	size, ok := written[overload]
	if !ok {
		return nil
	}
	return &celchecker.CallEstimate{CostEstimate: celchecker.FixedCostEstimate(1), ResultSize: &celchecker.SizeEstimate{Max: size}}
}
