package compare

import (
	"fmt"
	"strconv"
	"strings"
)

// maxPaths bounds the paths of a Comparer, so that a set of them is a word; maxSegments bounds each.
const (
	maxPaths    = 64
	maxSegments = maxDepth
)

// segment is one step of a path: a name, an index, or any of either.
type segment struct {
	name  string
	index int
	kind  segmentKind
}

type segmentKind uint8

const (
	byName segmentKind = iota
	byIndex
	anyName
	anyIndex
)

// ParsePath reports what is wrong with a JSON path, of the part of RFC 9535 that has one way to
// say a thing: $ for the whole, then any number of .name, ['any name'], [3], .* and [*].
func ParsePath(text string) error {
	_, err := parsePath(text)
	return err
}

func parsePath(text string) ([]segment, error) {
	rest, ok := strings.CutPrefix(text, "$")
	if !ok {
		return nil, fmt.Errorf("path %q: begins with $, as in $.a.b[*].c", text)
	}
	var path []segment
	for rest != "" {
		s, after, err := parseSegment(rest)
		if err != nil {
			return nil, fmt.Errorf("path %q: %w", text, err)
		}
		if path = append(path, s); len(path) > maxSegments {
			return nil, fmt.Errorf("path %q: has more than %d steps", text, maxSegments)
		}
		rest = after
	}
	return path, nil
}

func parseSegment(text string) (s segment, rest string, err error) {
	switch {
	case strings.HasPrefix(text, ".*"):
		return segment{kind: anyName}, text[2:], nil
	case text[0] == '.':
		end := strings.IndexAny(text[1:], ".[")
		if end < 0 {
			end = len(text) - 1
		}
		name := text[1 : 1+end]
		if name == "" || strings.ContainsAny(name, "]'\"* ") {
			return segment{}, "", fmt.Errorf("%q is no plain name; write ['name'] for others", name)
		}
		return segment{name: name}, text[1+end:], nil
	case strings.HasPrefix(text, "[*]"):
		return segment{kind: anyIndex}, text[3:], nil
	case strings.HasPrefix(text, "['"):
		name, after, closed := strings.Cut(text[2:], "']")
		if !closed {
			return segment{}, "", fmt.Errorf("[' without ']")
		}
		return segment{name: name}, after, nil
	case text[0] == '[':
		number, after, closed := strings.Cut(text[1:], "]")
		index, err := strconv.Atoi(number)
		if !closed || err != nil || index < 0 || strconv.Itoa(index) != number {
			return segment{}, "", fmt.Errorf("%q is no index; write [*] for any, [3] for the fourth", "["+number+"]")
		}
		return segment{index: index, kind: byIndex}, after, nil
	}
	return segment{}, "", fmt.Errorf("%q: want .name, ['name'], [3], .* or [*]", text)
}

// paths are the places that may differ. A set of them is a word of bits.
type paths [][]segment

// all is the set of all paths, of which none has made a step.
func (p paths) all() uint64 {
	if len(p) >= maxPaths {
		return ^uint64(0)
	}
	return 1<<len(p) - 1
}

// ends reports whether one of a set has no step beyond depth: it means this place, and what is below.
func (p paths) ends(set uint64, depth int) bool {
	for i := range p {
		if set&(1<<i) != 0 && len(p[i]) == depth {
			return true
		}
	}
	return false
}

// named returns those of a set whose step at depth may be this name.
func (p paths) named(set uint64, depth int, name []byte) uint64 {
	if set == 0 {
		return 0
	}
	return p.keep(set, depth, func(s *segment) bool {
		return s.kind == anyName || s.kind == byName && s.name == string(name)
	})
}

// indexed returns those of a set whose step at depth may be this index.
func (p paths) indexed(set uint64, depth, index int) uint64 {
	if set == 0 {
		return 0
	}
	return p.keep(set, depth, func(s *segment) bool {
		return s.kind == anyIndex || s.kind == byIndex && s.index == index
	})
}

func (p paths) keep(set uint64, depth int, fits func(*segment) bool) uint64 {
	for i := range p {
		if bit := uint64(1) << i; set&bit != 0 && (depth >= len(p[i]) || !fits(&p[i][depth])) {
			set &^= bit
		}
	}
	return set
}
