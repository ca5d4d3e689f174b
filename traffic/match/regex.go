package match

import (
	"regexp"
	"strings"
)

// Whole compiles a pattern (RE2) that must match a text as a whole. Whoever takes patterns
// from users asks Whole: what it refuses Compile leaves out.
func Whole(pattern string) (*regexp.Regexp, error) {
	// Alone first: "a)|(b" is no expression, but would be one inside the group.
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A` + Group(pattern) + `\z`)
}

// Group keeps together what a valid pattern says, so that it can be part of another:
// alternatives, and a quotation that it leaves open, as \Qa.b does.
func Group(pattern string) string {
	group := "(?:" + pattern + ")"
	if strings.Contains(pattern, `\Q`) {
		if _, err := regexp.Compile(group); err != nil {
			return "(?:" + pattern + `\E)`
		}
	}
	return group
}
