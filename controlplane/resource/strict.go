package resource

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// strictly reports every field of v that its shape does not have, and every value of
// another form than it should be.
func strictly(v any, sh *shape, path string, report reportFunc) {
	if v == nil || sh.form == formAny {
		return // a null is as good as absent; what is required, the schema knows
	}
	if got := formOf(v); !accepts(sh.form, got) {
		report(path, fmt.Sprintf("expected %s, got %s", sh.expected(), sh.describe(v)))
		return
	}
	switch v := v.(type) {
	case int64:
		if sh.narrow && v != int64(int32(v)) {
			report(path, fmt.Sprintf("expected %s, got %d", sh.integers(), v))
		}
	case map[string]any:
		for name, child := range v {
			if field := sh.fields[name]; field != nil {
				strictly(child, field, joinPath(path, name), report)
			} else if sh.element != nil {
				strictly(child, sh.element, joinPath(path, name), report)
			} else if !sh.open {
				report(joinPath(path, name), unknownField(name, sh))
			}
		}
	case []any:
		for i, child := range v {
			step := path + "[" + strconv.Itoa(i) + "]"
			if child == nil && sh.element.form != formAny {
				report(step, fmt.Sprintf("expected %s, got nothing", sh.element.expected()))
			}
			strictly(child, sh.element, step, report)
		}
	}
}

func joinPath(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "." + name
}

func formOf(v any) form {
	switch v.(type) {
	case map[string]any:
		return formObject
	case []any:
		return formList
	case string:
		return formString
	case int64:
		return formInteger
	case float64:
		return formNumber
	case bool:
		return formBoolean
	}
	return formAny
}

func accepts(want, got form) bool {
	switch want {
	case formNumber:
		return got == formNumber || got == formInteger
	case formIntOrString:
		return got == formInteger || got == formString
	default:
		return want == got
	}
}

// integers says which integers of 32 bits are meant.
func (s *shape) integers() string {
	if s.low == math.MinInt32 && s.high == math.MaxInt32 {
		return "an integer of 32 bits"
	}
	return fmt.Sprintf("an integer between %d and %d", s.low, s.high)
}

// describe says what a value is, in "got ...". Where any string would do, it may have been
// meant as one.
func (s *shape) describe(v any) string {
	hint := ""
	if s.want == "" && accepts(s.form, formString) {
		hint = "; quote it if a string is meant"
	}
	switch v := v.(type) {
	case int64:
		return fmt.Sprintf("the number %d%s", v, hint)
	case float64:
		return fmt.Sprintf("the number %v%s", v, hint)
	case bool:
		return fmt.Sprintf("the boolean %t", v)
	}
	return formOf(v).String()
}

// unknownField says what could have been meant by a field that does not exist.
func unknownField(name string, sh *shape) string {
	names := sh.fieldNames()
	if guess := Closest(name, names); guess != "" {
		return fmt.Sprintf("unknown field; did you mean %q?", guess)
	}
	if len(names) > 0 && len(names) <= 8 {
		return "unknown field; expected " + oneOf(names)
	}
	return "unknown field"
}

// oneOf lists names: "a", "b" or "c".
func oneOf(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = strconv.Quote(n)
	}
	last := len(quoted) - 1
	if last == 0 {
		return quoted[0]
	}
	return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}

// Closest returns the name that name was most likely meant to be: within a third of its
// length in edits, case aside. Empty: none is close.
func Closest(name string, names []string) string {
	if len(name) > 64 {
		return ""
	}
	best, bestDistance := "", 1+max(1, len(name)/3)
	for _, n := range names {
		d := editDistance(strings.ToLower(name), strings.ToLower(n))
		if d < bestDistance {
			best, bestDistance = n, d
		}
	}
	return best
}

// editDistance returns how many bytes must be inserted, removed, replaced or swapped with
// their neighbour to make b of a (optimal string alignment).
func editDistance(a, b string) int {
	before, previous, current := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := range len(a) {
		current[0] = i + 1
		for j := range len(b) {
			change := 1
			if a[i] == b[j] {
				change = 0
			}
			current[j+1] = min(previous[j+1]+1, current[j]+1, previous[j]+change)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				current[j+1] = min(current[j+1], before[j-1]+1)
			}
		}
		before, previous, current = previous, current, before
	}
	return previous[len(b)]
}

// plannedFields are fields that the design names and this version does not have.
var plannedFields = map[string][]string{
	"TrafficPolicy": {
		"spec.hashOn[].jwtClaim", "spec.overload.queue.fairBy[].jwtClaim", "spec.overrides.hashOn[].jwtClaim", "spec.overrides.overload.queue.fairBy[].jwtClaim",
	},
	"Rollout": {"spec.sampling.key[].jwtClaim"},
}

// plannedWith says what a planned field waits for, by the field's own name.
var plannedWith = map[string]string{
	"jwtClaim": ": it comes with AccessPolicy, which verifies claims; until then use identity, a header or an expression",
}

// listIndex is an element's place in a list, in a path.
var listIndex = regexp.MustCompile(`\[\d+\]`)

// isPlanned tells whether the design names the field of this kind.
func isPlanned(k *kind, path string) bool {
	return k.group == "weir.dev" && slices.Contains(plannedFields[k.name], listIndex.ReplaceAllString(path, "[]"))
}
