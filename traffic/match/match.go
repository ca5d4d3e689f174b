// Package match finds the route that serves a request: Gateway API's precedence among
// hostnames and matches, compiled into maps so that the cost of a look-up does not grow
// with the number of routes. It is pure: tables are built once, never change, and may be
// read by any number of goroutines. It does not parse HTTP and does not know clusters.
package match

import (
	"errors"
	"fmt"
	"regexp"

	"weir.dev/weir/model"
)

// Headers gives access to a request's header fields.
type Headers interface {
	// Joined returns the value of the named field (lower case), several fields of that
	// name joined by commas, and whether there is one at all. The value is only read,
	// and only until the next call.
	Joined(lowerName string) (value []byte, ok bool)
}

// Request is what matches look at. Nothing in it is retained or changed.
type Request struct {
	Host    []byte // lower case, without port
	Method  []byte
	Path    []byte  // in its normal form, beginning with a slash
	Query   []byte  // raw, without the question mark; percent-decoded only when a match needs it
	Headers Headers // may be nil if no match compares headers
}

// Entry is one rule with the hostnames it is attached to.
type Entry[T any] struct {
	Hostnames []string // exact or wildcard; empty: every host
	Matches   []model.Match
	Rank      uint32 // breaks ties between equal matches: lower wins
	Value     T
}

// Hit is the outcome of a look-up: the entry's value, and which of its matches it was.
type Hit[T any] struct {
	Value T
	Match *model.Match
}

// Table finds entries. The zero Table is empty.
type Table[T any] struct {
	hosts Hosts[*paths[T]]
}

// candidate is one match of one entry, ready to be compared.
type candidate[T any] struct {
	value      T
	match      *model.Match
	rank       uint32
	order      int // position among all matches: the last tie-break
	class      int8
	precedence uint32 // among calls
	path       string // without trailing slash for a prefix
	regex      *regexp.Regexp
	method     string
	headers    []condition
	query      []condition
}

// Compile builds a table. Entries keep their order where Rank does not decide. The error
// joins everything that could not be compiled (an invalid regular expression, an unknown
// type of match) with the indices of entry and match; exactly those matches are left out of the table, which is never nil.
func Compile[T any](entries []Entry[T]) (*Table[T], error) {
	total := 0
	for i := range entries {
		total += len(entries[i].Matches)
	}
	c := compiler{patterns: map[string]*regexp.Regexp{}}
	all := make([]candidate[T], 0, total)
	t := &Table[T]{}
	for i := range entries {
		first := len(all)
		all = appendCandidates(all, &entries[i], i, &c)
		t.attach(entries[i].Hostnames, all[first:])
	}
	for p := range t.hosts.values() {
		p.index()
	}
	return t, errors.Join(c.errs...)
}

// appendCandidates compiles the matches of an entry.
func appendCandidates[T any](all []candidate[T], e *Entry[T], entry int, c *compiler) []candidate[T] {
	for j := range e.Matches {
		m := &e.Matches[j]
		p, err := c.compile(m)
		if err != nil {
			c.errs = append(c.errs, fmt.Errorf("entry %d: match %d: %w", entry, j, err))
			continue
		}
		all = append(all, candidate[T]{
			value: e.Value, match: m, rank: e.Rank, order: len(all),
			class: p.class, precedence: p.precedence, path: p.path, regex: p.regex, method: m.Method,
			headers: p.headers, query: p.query,
		})
	}
	return all
}

// attach adds the candidates to every one of the hostnames.
func (t *Table[T]) attach(hostnames []string, added []candidate[T]) {
	if len(added) == 0 {
		return
	}
	if len(hostnames) == 0 {
		t.attachOne("", added)
	}
	for _, h := range hostnames {
		t.attachOne(h, added)
	}
}

func (t *Table[T]) attachOne(hostname string, added []candidate[T]) {
	p, ok := t.hosts.get(hostname)
	if !ok {
		p = &paths[T]{sorted: make([]*candidate[T], 0, len(added))}
		t.hosts.Set(hostname, p)
	}
	p.add(added)
}

// Find returns the entry that serves the request, and false if none does. It first looks
// among the most specific hostname's matches and falls through to less specific ones
// while none of them holds (Gateway API, HTTPRoute hostnames); among one hostname's
// matches the order is that of type paths. It does not allocate.
func (t *Table[T]) Find(r *Request) (Hit[T], bool) {
	if p, ok := t.hosts.exact.get(r.Host); ok {
		if c := p.find(r); c != nil {
			return Hit[T]{c.value, c.match}, true
		}
	}
	for p, at := t.hosts.nextWildcard(r.Host, 0); at > 0; p, at = t.hosts.nextWildcard(r.Host, at+1) {
		if c := p.find(r); c != nil {
			return Hit[T]{c.value, c.match}, true
		}
	}
	if t.hosts.hasAny {
		if c := t.hosts.any.find(r); c != nil {
			return Hit[T]{c.value, c.match}, true
		}
	}
	return Hit[T]{}, false
}
