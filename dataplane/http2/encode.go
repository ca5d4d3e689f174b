package http2

import "strconv"

// Header blocks use no dynamic table and no Huffman code (RFC 7541 lets the
// encoder choose): so they can be made in any order, cost little, and an idle connection
// keeps no table. Names that the static table has are sent as its indices.

// appendNoTable tells the decoder that the dynamic table stays empty.
func appendNoTable(dst []byte) []byte { return append(dst, 0x20) }

// statusIndices are the statuses that the static table has whole (RFC 7541 appendix A).
var statusIndices = map[int]byte{200: 8, 204: 9, 206: 10, 304: 11, 400: 12, 404: 13, 500: 14}

// statusName is the index of ":status".
const statusName = 8

// appendStatus appends ":status", of three digits.
func appendStatus(dst []byte, status int) []byte {
	if status == 200 {
		return append(dst, 0x80|8)
	}
	if i, ok := statusIndices[status]; ok {
		return append(dst, 0x80|i)
	}
	dst = append(dst, statusName, 3)
	return strconv.AppendInt(dst, int64(status), 10)
}

// appendField appends a field, its name in lower case, as a literal that no table remembers.
func appendField(dst, name, value []byte) []byte {
	if len(name) < len(staticNames) {
		for _, n := range staticNames[len(name)] {
			if folds(name, n.name) {
				return appendString(AppendInteger(dst, 0, 4, n.index), value)
			}
		}
	}
	dst = append(dst, 0)
	dst = AppendInteger(dst, 0, 7, len(name))
	at := len(dst)
	dst = append(dst, name...)
	for i := at; i < len(dst); i++ {
		dst[i] = lower[dst[i]]
	}
	return appendString(dst, value)
}

func appendString(dst, s []byte) []byte {
	return append(AppendInteger(dst, 0, 7, len(s)), s...)
}

// staticName is a name that the static table has (RFC 7541 appendix A).
type staticName struct {
	name  string
	index int
}

// staticNames are those of fields by their length.
var staticNames = byLength(map[string]int{
	"accept-charset":              15,
	"accept-encoding":             16,
	"accept-language":             17,
	"accept-ranges":               18,
	"accept":                      19,
	"access-control-allow-origin": 20,
	"age":                         21,
	"allow":                       22,
	"authorization":               23,
	"cache-control":               24,
	"content-disposition":         25,
	"content-encoding":            26,
	"content-language":            27,
	"content-length":              28,
	"content-location":            29,
	"content-range":               30,
	"content-type":                31,
	"cookie":                      32,
	"date":                        33,
	"etag":                        34,
	"expect":                      35,
	"expires":                     36,
	"from":                        37,
	"if-match":                    39,
	"if-modified-since":           40,
	"if-none-match":               41,
	"if-range":                    42,
	"if-unmodified-since":         43,
	"last-modified":               44,
	"link":                        45,
	"location":                    46,
	"max-forwards":                47,
	"proxy-authenticate":          48,
	"range":                       50,
	"referer":                     51,
	"refresh":                     52,
	"retry-after":                 53,
	"server":                      54,
	"set-cookie":                  55,
	"strict-transport-security":   56,
	"transfer-encoding":           57,
	"user-agent":                  58,
	"vary":                        59,
	"via":                         60,
	"www-authenticate":            61,
})

func byLength(indices map[string]int) (t [28][]staticName) {
	for name, index := range indices {
		t[len(name)] = append(t[len(name)], staticName{name, index})
	}
	return t
}

// trim cuts spaces and tabs off both ends: what bytes.Trim does, but that does not prepare for any others.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// lower folds ASCII letters, and nothing else, to lower case.
var lower = lowerTable()

func lowerTable() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
	}
	for b := 'A'; b <= 'Z'; b++ {
		t[b] = byte(b) + 'a' - 'A'
	}
	return t
}
