package policy

import (
	"bytes"
	"iter"

	"weir.dev/weir/dataplane/http1"
)

// cookie returns the value of the first cookie with the name, and whether there is one.
func cookie(h *http1.Head, name string) (value []byte, ok bool) {
	for v := range cookies(h, name) {
		return v, true
	}
	return nil, false
}

// cookies yields the values of a request's cookies with the name, in the order received
// (RFC 6265 section 5.4: the one with the longest path first). Names are compared byte by
// byte, values stay as they are, quotes included. What has no "=" is no cookie of any name.
// Several Cookie fields count as one, as HTTP/2 may split it (RFC 9113 section 8.2.3).
func cookies(h *http1.Head, name string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := range h.Fields {
			if h.Fields[i].Known != http1.NameCookie || h.Fields[i].Dropped {
				continue
			}
			for rest := h.Value(i); len(rest) > 0; {
				var pair []byte
				pair, rest, _ = bytes.Cut(rest, []byte{';'})
				if n, value, ok := bytes.Cut(pair, []byte{'='}); ok && string(trim(n)) == name && !yield(trim(value)) {
					return
				}
			}
		}
	}
}
