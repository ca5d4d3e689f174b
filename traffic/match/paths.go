package match

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"weir.dev/weir/model"
)

// The classes of path matches, in their order of precedence.
const (
	classExact = iota
	classRegex
	classPrefix
	classCall // expressions that have a Precedence: calls of gRPC
	classRoot // the prefix "/"
)

// few is the number of matches up to which trying them in order beats the maps.
const few = 8

// paths holds one hostname's matches in order of precedence (Gateway API,
// HTTPRouteRule.matches): exact paths; then regular expressions, the longest pattern
// first (the specification leaves their place to us); then the longest prefix, but before
// "/" regular expressions that have a Precedence, the highest first; and on ties a method
// match, the most header matches, the most query matches, the lowest Rank, and the order
// given to Compile.
//
// Exact paths and prefixes are found by map. A prefix is found by cutting the path at
// its slashes from the right:
//
//	/shop/cart/7 → "/shop/cart/7", "/shop/cart", "/shop", "" (which stands for "/")
//
// starting at the depth of the deepest prefix there is, so that a path of a thousand
// slashes costs no more than an ordinary one. What is tried one by one: regular
// expressions, and matches that differ only in method, headers or query.
type paths[T any] struct {
	sorted []*candidate[T]
	// Both maps are nil while there are few matches.
	exact   map[string]span
	prefix  map[string]span
	regexes span
	rest    span // calls, then the prefix "/"
	depth   int  // slashes in the deepest prefix
}

// span is a range of paths.sorted.
type span struct{ from, to int }

func (p *paths[T]) add(added []candidate[T]) {
	for i := range added {
		p.sorted = append(p.sorted, &added[i])
	}
}

// index sorts the candidates and builds the maps.
func (p *paths[T]) index() {
	slices.SortFunc(p.sorted, compare)
	if len(p.sorted) <= few {
		return
	}
	p.exact, p.prefix = map[string]span{}, map[string]span{}
	for from := 0; from < len(p.sorted); {
		c := p.sorted[from]
		to := from + 1
		for to < len(p.sorted) && p.sorted[to].class == c.class &&
			(c.class == classRegex || p.sorted[to].path == c.path) {
			to++
		}
		switch c.class {
		case classExact:
			p.exact[c.path] = span{from, to}
		case classRegex:
			p.regexes = span{from, to}
		case classPrefix:
			p.prefix[c.path] = span{from, to}
			p.depth = max(p.depth, strings.Count(c.path, "/"))
		default:
			p.rest = span{from, len(p.sorted)}
			return
		}
		from = to
	}
}

// compare orders candidates by precedence. Different paths of one class and length never
// match the same request, so their order only serves to group equal ones.
func compare[T any](a, b *candidate[T]) int {
	if d := cmp.Compare(a.class, b.class); d != 0 {
		return d
	}
	if d := cmp.Compare(b.precedence, a.precedence); d != 0 {
		return d
	}
	if d := cmp.Compare(len(b.path), len(a.path)); d != 0 {
		return d
	}
	if a.regex == nil {
		if d := cmp.Compare(a.path, b.path); d != 0 {
			return d
		}
	}
	if (a.method == "") != (b.method == "") {
		if a.method != "" {
			return -1
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(len(b.headers), len(a.headers)),
		cmp.Compare(len(b.query), len(a.query)),
		cmp.Compare(a.rank, b.rank),
		cmp.Compare(a.order, b.order),
	)
}

// find returns the first candidate that the request matches, or nil.
func (p *paths[T]) find(r *Request) *candidate[T] {
	if p.prefix == nil {
		for _, c := range p.sorted {
			if c.matchesPath(r.Path) && c.matchesRest(r) {
				return c
			}
		}
		return nil
	}
	if s, ok := p.exact[string(r.Path)]; ok {
		if c := p.first(s, r); c != nil {
			return c
		}
	}
	for _, c := range p.sorted[p.regexes.from:p.regexes.to] {
		if c.matchesRest(r) && c.regex.Match(r.Path) {
			return c
		}
	}
	if c := p.findPrefix(r); c != nil {
		return c
	}
	for _, c := range p.sorted[p.rest.from:p.rest.to] {
		if c.matchesRest(r) && c.matchesPath(r.Path) {
			return c
		}
	}
	return nil
}

func (p *paths[T]) findPrefix(r *Request) *candidate[T] {
	for cut := cutAt(r.Path, p.depth); cut > 0; cut = bytes.LastIndexByte(r.Path[:cut], '/') {
		if s, ok := p.prefix[string(r.Path[:cut])]; ok {
			if c := p.first(s, r); c != nil {
				return c
			}
		}
	}
	return nil
}

// first returns the first candidate of the span whose method, headers and query match.
func (p *paths[T]) first(s span, r *Request) *candidate[T] {
	for _, c := range p.sorted[s.from:s.to] {
		if c.matchesRest(r) {
			return c
		}
	}
	return nil
}

// cutAt returns the length of the path's first n segments: cutAt("/a/b/c", 2) is 4.
func cutAt(path []byte, n int) int {
	at := 0
	for ; n >= 0; n-- {
		slash := bytes.IndexByte(path[at:], '/')
		if slash < 0 {
			return len(path)
		}
		at += slash + 1
	}
	return at - 1
}

func (c *candidate[T]) matchesPath(path []byte) bool {
	switch c.class {
	case classExact:
		return string(path) == c.path
	case classRegex, classCall:
		return c.regex.Match(path)
	default:
		return len(path) >= len(c.path) && string(path[:len(c.path)]) == c.path &&
			(len(path) == len(c.path) || path[len(c.path)] == '/')
	}
}

func (c *candidate[T]) matchesRest(r *Request) bool {
	if c.method != "" && c.method != string(r.Method) {
		return false
	}
	for i := range c.headers {
		if !c.headers[i].matchesHeader(r.Headers) {
			return false
		}
	}
	for i := range c.query {
		if !c.query[i].matchesQuery(r.Query) {
			return false
		}
	}
	return true
}

// classOf returns the class of a path match.
func classOf(m model.PathMatch) (class int8, ok bool) {
	switch {
	case m.Type == model.MatchExact:
		return classExact, true
	case m.Type == model.MatchRegex && m.Precedence > 0:
		return classCall, true
	case m.Type == model.MatchRegex:
		return classRegex, true
	case m.Type == model.MatchPrefix && strings.Trim(m.Value, "/") == "":
		return classRoot, true
	case m.Type == model.MatchPrefix:
		return classPrefix, true
	}
	return 0, false
}
