package match

import (
	"bytes"
	"iter"
	"strings"
)

// Hosts maps host names to values by exact names, wildcards and a value for the rest.
// The most specific pattern wins: an exact name, then the longest wildcard, then any.
// The zero Hosts is empty. Set must not run beside Find.
type Hosts[T any] struct {
	exact    index[T]
	wildcard index[T] // keyed by what follows the star: ".example.com"
	longest  int      // bytes of the longest key that wildcard has had
	any      T
	hasAny   bool
}

// wildcardSuffix returns ".example.com" for "*.example.com".
func wildcardSuffix(pattern string) (string, bool) {
	if strings.HasPrefix(pattern, "*.") {
		return pattern[1:], true
	}
	return "", false
}

// Set gives the value to a pattern, and replaces what the same pattern had. A pattern is an
// exact name, a wildcard ("*.example.com" covers every name with one or more labels in
// place of the star, not example.com itself), or empty for every host. Upper case is folded.
func (h *Hosts[T]) Set(pattern string, value T) { h.set(pattern, value, false) }

// set is Set. With shared set, h is a clone.
func (h *Hosts[T]) set(pattern string, value T, shared bool) {
	pattern = strings.ToLower(pattern)
	if pattern == "" {
		h.any, h.hasAny = value, true
		return
	}
	if suffix, ok := wildcardSuffix(pattern); ok {
		h.wildcard.set(suffix, value, shared)
		h.longest = max(h.longest, len(suffix))
		return
	}
	h.exact.set(pattern, value, shared)
}

// remove forgets a pattern. What h was cloned from keeps it.
func (h *Hosts[T]) remove(pattern string) {
	pattern = strings.ToLower(pattern)
	if pattern == "" {
		var none T
		h.any, h.hasAny = none, false
		return
	}
	if suffix, ok := wildcardSuffix(pattern); ok {
		h.wildcard.remove(suffix)
		return
	}
	h.exact.remove(pattern)
}

// clone returns a copy that can be changed, by set with shared and by remove, without h
// being changed.
func (h *Hosts[T]) clone() Hosts[T] {
	next := *h
	next.exact, next.wildcard = h.exact.clone(), h.wildcard.clone()
	return next
}

// get returns the value of exactly this pattern.
func (h *Hosts[T]) get(pattern string) (T, bool) {
	pattern = strings.ToLower(pattern)
	if pattern == "" {
		return h.any, h.hasAny
	}
	if suffix, ok := wildcardSuffix(pattern); ok {
		return h.wildcard.get([]byte(suffix))
	}
	return h.exact.get([]byte(pattern))
}

// Find returns the value of the most specific pattern that covers the host (lower case,
// without port), and false if none does. It does not allocate.
func (h *Hosts[T]) Find(host []byte) (T, bool) {
	if v, ok := h.exact.get(host); ok {
		return v, true
	}
	if v, at := h.nextWildcard(host, 0); at > 0 {
		return v, true
	}
	return h.any, h.hasAny
}

// nextWildcard returns the first position from start on at which the rest of the host is
// a wildcard's suffix, and that wildcard's value; or -1. Longer suffixes come first.
// Suffixes longer than any that there is are skipped, which bounds the work that a hostile
// host name can cause.
func (h *Hosts[T]) nextWildcard(host []byte, start int) (value T, at int) {
	if h.wildcard.n == 0 {
		return value, -1
	}
	at = max(start, 1, len(host)-h.longest) // the star stands for at least one byte
	for at < len(host) {
		dot := bytes.IndexByte(host[at:], '.')
		if dot < 0 {
			return value, -1
		}
		at += dot
		if v, ok := h.wildcard.get(host[at:]); ok {
			return v, at
		}
		at++
	}
	return value, -1
}

// values yields every value once.
func (h *Hosts[T]) values() iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, v := range h.exact.all() {
			if !yield(v) {
				return
			}
		}
		for _, v := range h.wildcard.all() {
			if !yield(v) {
				return
			}
		}
		if h.hasAny {
			yield(h.any)
		}
	}
}
