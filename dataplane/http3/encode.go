package http3

import (
	"strconv"

	"weir.dev/weir/dataplane/http2"
)

// Field sections of answers use no dynamic table and no Huffman code (RFC 9204 lets the
// encoder choose), as those of http2.

// appendPrefix appends what is in front of each section: nothing of a dynamic table is needed.
func appendPrefix(dst []byte) []byte { return append(dst, 0, 0) }

// statusIndices are the statuses that the static table has whole (RFC 9204 appendix A).
var statusIndices = map[int]int{
	100: 63, 103: 24, 200: 25, 204: 64, 206: 65, 302: 66, 304: 26, 400: 67, 403: 68, 404: 27, 421: 69, 425: 70, 500: 71, 503: 28,
}

// statusName is the index of ":status".
const statusName = 24

// appendStatus appends ":status", of three digits.
func appendStatus(dst []byte, status int) []byte {
	if i, ok := statusIndices[status]; ok {
		return http2.AppendInteger(dst, 0xc0, 6, i)
	}
	dst = http2.AppendInteger(dst, 0x50, 4, statusName)
	dst = append(dst, 3)
	return strconv.AppendInt(dst, int64(status), 10)
}

// appendField appends a field, its name in lower case, as a literal.
func appendField(dst, name, value []byte) []byte {
	var memory [32]byte
	if len(name) <= len(memory) {
		folded := memory[:len(name)]
		for i, c := range name {
			folded[i] = lower(c)
		}
		if index := staticNames[string(folded)]; index > 0 {
			dst = http2.AppendInteger(dst, 0x50, 4, index)
			return appendString(dst, value)
		}
	}
	dst = http2.AppendInteger(dst, 0x20, 3, len(name))
	for _, c := range name {
		dst = append(dst, lower(c))
	}
	return appendString(dst, value)
}

func appendString(dst, s []byte) []byte { return append(http2.AppendInteger(dst, 0, 7, len(s)), s...) }

// staticNames are the indices of names in the static table, without those of requests alone.
var staticNames = map[string]int{
	"accept-ranges":                    32,
	"access-control-allow-credentials": 73,
	"access-control-allow-headers":     33,
	"access-control-allow-methods":     76,
	"access-control-allow-origin":      35,
	"access-control-expose-headers":    79,
	"age":                              2,
	"alt-svc":                          83,
	"cache-control":                    36,
	"content-disposition":              3,
	"content-encoding":                 42,
	"content-length":                   4,
	"content-security-policy":          85,
	"content-type":                     44,
	"date":                             6,
	"etag":                             7,
	"last-modified":                    10,
	"link":                             11,
	"location":                         12,
	"server":                           92,
	"set-cookie":                       14,
	"strict-transport-security":        56,
	"timing-allow-origin":              93,
	"vary":                             59,
	"x-content-type-options":           61,
	"x-frame-options":                  97,
	"x-xss-protection":                 62,
}

// lower folds an ASCII letter, and nothing else, to lower case.
func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
