package expression

import (
	"errors"
	"sync"

	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"
)

// Bounds of expressions.
const (
	// MaxSource is the longest expression, in bytes.
	MaxSource = 4096
	// maxValue is the longest string that a request may give, in bytes: a longer one is an
	// error when it is asked for.
	maxValue = 8 << 10
	// maxNesting is how deep an expression may be.
	maxNesting = 50
)

// environment is the CEL that expressions are written in: the standard library and the
// functions on strings of cel-go, with the attributes as variables. It is made when the first
// expression is compiled, because that takes milliseconds.
var environment = sync.OnceValues(func() (*celgo.Env, error) {
	options := []celgo.EnvOption{
		celgo.DefaultUTCTimeZone(true),
		celgo.CrossTypeNumericComparisons(true),
		celgo.ParserRecursionLimit(maxNesting),
		celgo.ParserExpressionSizeLimit(MaxSource),
		celgo.ASTValidators(celgo.ValidateDurationLiterals(), celgo.ValidateTimestampLiterals(), celgo.ValidateComprehensionNestingLimit(2)),
		ext.Strings(ext.StringsVersion(5)),
	}
	for a := range attributes {
		options = append(options, celgo.Variable(table[a].name, table[a].typ))
	}
	env, err := celgo.NewEnv(options...)
	if err != nil {
		return nil, errors.Join(errors.New("expression: the environment does not stand"), err)
	}
	return env, nil
})
