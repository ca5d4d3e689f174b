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
	exact    map[string]T
	wildcard map[string]T // keyed by what follows the star: ".example.com"
	longest  int          // bytes of the longest key of wildcard
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
func (h *Hosts[T]) Set(pattern string, value T) {
	pattern = strings.ToLower(pattern)
	if pattern == "" {
		h.any, h.hasAny = value, true
		return
	}
	if suffix, ok := wildcardSuffix(pattern); ok {
		if h.wildcard == nil {
			h.wildcard = map[string]T{}
		}
		h.wildcard[suffix] = value
		h.longest = max(h.longest, len(suffix))
		return
	}
	if h.exact == nil {
		h.exact = map[string]T{}
	}
	h.exact[pattern] = value
}

// get returns the value of exactly this pattern.
func (h *Hosts[T]) get(pattern string) (T, bool) {
	pattern = strings.ToLower(pattern)
	if pattern == "" {
		return h.any, h.hasAny
	}
	if suffix, ok := wildcardSuffix(pattern); ok {
		v, ok := h.wildcard[suffix]
		return v, ok
	}
	v, ok := h.exact[pattern]
	return v, ok
}

// Find returns the value of the most specific pattern that covers the host (lower case,
// without port), and false if none does. It does not allocate.
func (h *Hosts[T]) Find(host []byte) (T, bool) {
	if v, ok := h.exact[string(host)]; ok {
		return v, true
	}
	if at := h.nextWildcard(host, 0); at > 0 {
		return h.wildcard[string(host[at:])], true
	}
	return h.any, h.hasAny
}

// nextWildcard returns the first position from start on at which the rest of the host is
// a wildcard's suffix, or -1. Longer suffixes come first. Suffixes longer than any in
// the map are skipped, which bounds the work that a hostile host name can cause.
func (h *Hosts[T]) nextWildcard(host []byte, start int) int {
	if len(h.wildcard) == 0 {
		return -1
	}
	at := max(start, 1, len(host)-h.longest) // the star stands for at least one byte
	for at < len(host) {
		dot := bytes.IndexByte(host[at:], '.')
		if dot < 0 {
			return -1
		}
		at += dot
		if _, ok := h.wildcard[string(host[at:])]; ok {
			return at
		}
		at++
	}
	return -1
}

// values yields every value once.
func (h *Hosts[T]) values() iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, v := range h.exact {
			if !yield(v) {
				return
			}
		}
		for _, v := range h.wildcard {
			if !yield(v) {
				return
			}
		}
		if h.hasAny {
			yield(h.any)
		}
	}
}
