package expression

import (
	"fmt"
	"strings"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
)

// Problem is one thing that is wrong with an expression.
type Problem struct {
	Line, Column int // in the expression, from 1; columns in characters
	Message      string
}

// Error is everything that is wrong with an expression, at most ten problems.
type Error struct{ Problems []Problem }

const maxProblems = 10

// Error returns the problems as people read them: "1:9: request has no paht, ...".
func (e *Error) Error() string {
	texts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		texts[i] = fmt.Sprintf("%d:%d: %s", p.Line, p.Column, p.Message)
	}
	return strings.Join(texts, "; ")
}

func (e *Error) add(line, column int, message string) {
	if len(e.Problems) < maxProblems {
		e.Problems = append(e.Problems, Problem{line, column, message})
	}
}

// fault is an error about the expression as a whole.
func fault(format string, args ...any) error {
	return &Error{[]Problem{{1, 1, fmt.Sprintf(format, args...)}}}
}

// faultsOf are the problems that cel-go has found; nil for none.
func faultsOf(issues *celgo.Issues) error {
	if issues.Err() == nil {
		return nil
	}
	e := new(Error)
	for _, i := range issues.Errors() {
		message := strings.TrimPrefix(strings.ReplaceAll(i.Message, " (in container '')", ""), "Syntax error: ")
		e.add(max(1, i.Location.Line()), max(0, i.Location.Column())+1, message)
	}
	return e
}

// at adds a problem of a part of the expression.
func (e *Error) at(info *ast.SourceInfo, part ast.Expr, format string, args ...any) {
	location := info.GetStartLocation(part.ID())
	e.add(max(1, location.Line()), max(0, location.Column())+1, fmt.Sprintf(format, args...))
}
