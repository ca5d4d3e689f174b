package http1

import "math"

// Body says how a message's body is delimited.
type Body uint8

// The ways to delimit a body (RFC 9112 6.3).
const (
	BodyNone       Body = iota // nothing follows the head, also when its length is announced as 0
	BodyLength                 // Length bytes follow, at least one
	BodyChunked                // chunks follow: see Chunked
	BodyUntilClose             // answers only: everything until the connection closes
)

// String returns the body's kind as it stands in logs.
func (b Body) String() string {
	return [...]string{"none", "length", "chunked", "until close"}[b]
}

// framing returns what the fields announce, without regard to methods and statuses.
// announced is false when they announce nothing.
func (h *Head) framing(s *survey, minor int) (body Body, length int64, announced bool, err *Error) {
	if s.coding >= 0 {
		switch {
		case s.length >= 0:
			return 0, 0, false, errLengthCoding
		case minor == 0:
			return 0, 0, false, errCodingOld
		}
		return BodyChunked, 0, true, checkCoding(h.Value(s.coding))
	}
	if s.length < 0 {
		return BodyNone, 0, false, nil
	}
	length, err = parseLength(h.Value(s.length))
	if err != nil {
		return 0, 0, false, err
	}
	if length == 0 {
		return BodyNone, 0, true, nil
	}
	return BodyLength, length, true, nil
}

// parseLength reads a Content-Length: digits only, up to the largest int64 (RFC 9110 8.6).
func parseLength(b []byte) (int64, *Error) {
	if len(b) == 0 || len(b) > 19 {
		return 0, errLength
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, errLength
		}
		n = n*10 + uint64(c-'0')
	}
	if n > math.MaxInt64 {
		return 0, errLength
	}
	return int64(n), nil
}

// checkCoding accepts a Transfer-Encoding that is exactly "chunked". Other codings in a
// well-formed list are unknown; everything else is malformed (RFC 9112 6.1).
func checkCoding(b []byte) *Error {
	if foldEqual(b, "chunked") {
		return nil
	}
	if len(b) == 0 || b[len(b)-1] == ',' {
		return errCoding
	}
	chunked, unknown := 0, false
	for len(b) > 0 {
		var coding []byte
		coding, b = nextElement(b)
		if len(coding) == 0 || !allIn(coding, isToken) {
			return errCoding
		}
		if foldEqual(coding, "chunked") {
			chunked++
		} else {
			unknown = true
		}
	}
	if chunked > 1 || !unknown {
		return errCoding
	}
	return errCodingUnknown
}
