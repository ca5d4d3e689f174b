package uri

// byteSet is a set of bytes, indexed by the byte.
type byteSet [256]bool

// pathBytes and queryBytes are the bytes that stand for themselves in the path and the query
// of a URI (RFC 3986 sections 3.3 and 3.4), and "%", which starts an escape already made.
var (
	pathBytes  = setOf("-._~!$&'()*+,;=:@%/")
	queryBytes = setOf("-._~!$&'()*+,;=:@%/?")
	hostBytes  = setOf("-._~!$&'()*+,;=:%[]")
)

func setOf(others string) *byteSet {
	var s byteSet
	for c := byte('0'); c <= '9'; c++ {
		s[c] = true
	}
	for c := byte('a'); c <= 'z'; c++ {
		s[c], s[c-'a'+'A'] = true, true
	}
	for i := range len(others) {
		s[others[i]] = true
	}
	return &s
}

// appendEscaped appends b with every byte that is not in keep as an escape.
func appendEscaped(dst, b []byte, keep *byteSet) []byte {
	const hex = "0123456789ABCDEF"
	for i, c := range b {
		if !keep[c] {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
			continue
		}
		dst = append(dst, b[i])
	}
	return dst
}
