package http1

import "bytes"

// maxMethod is the longest method, in bytes; registered ones have up to 17.
const maxMethod = 32

// Request is a request's head. Like its Head's, its slices point into the buffer of the last
// Parse, or into scratch memory that the next request reuses. They are set only once the head is complete.
type Request struct {
	Head

	Method, Target []byte // as received
	// Path is in normal form: what routes match and what is forwarded. It starts with "/",
	// or is "*" for OPTIONS *.
	Path     []byte
	Query    []byte // as received, without "?"
	HasQuery bool   // "?" was there, even if nothing followed it
	// Host is in lower case, without port and final dot; an IPv6 literal has its brackets.
	// It is that of the target in absolute form, else of the Host field, and empty only in HTTP/1.0.
	Host      []byte
	Authority []byte // Host as received, with its port if there is one
	Minor     int    // of the version: 0 or 1
	Body      Body
	Length    int64 // of a BodyLength body; 0 for every other
	KeepAlive bool  // the client may send another request after this one
	Continue  bool  // the client waits for 100 (Continue) before it sends the body
	// Upgrade is the value of Upgrade when Connection names it, else nil.
	Upgrade []byte
	// GRPC says that the request is a call of gRPC: a POST whose content is application/grpc.
	GRPC bool

	methodAt, methodEnd, targetAt, targetEnd int
	path, host                               []byte // scratch
}

// Reset makes r ready for the next request. Slices from the last one are invalid from here on.
func (r *Request) Reset() {
	r.reset()
	r.Method, r.Target, r.Path, r.Query, r.Host, r.Authority, r.Upgrade = nil, nil, nil, nil, nil, nil, nil
	r.HasQuery, r.KeepAlive, r.Continue, r.GRPC = false, false, false, false
	r.Minor, r.Body, r.Length = 0, BodyNone, 0
	r.methodAt, r.methodEnd, r.targetAt, r.targetEnd = 0, 0, 0, 0
}

// Parse parses the head at the start of buf. Called again with more of the same bytes, wherever
// they are in memory, it goes on where it stopped, so its work is linear in the head's
// length whatever the pieces. n > 0: the head is complete and n bytes long. n == 0 and no
// err: more bytes are needed. err, when not nil, is always an *Error. After n > 0 or an
// error, r needs a Reset before the next head. One empty line before the request line is skipped and counts in n (RFC 9112 2.2).
func (r *Request) Parse(buf []byte, lim *Limits) (n int, err error) {
	done, refusal := r.parse(buf, lim)
	switch {
	case refusal != nil:
		return 0, refusal
	case !done:
		return 0, nil
	}
	return r.at, nil
}

func (r *Request) parse(buf []byte, lim *Limits) (done bool, err *Error) {
	if r.stage != stageFields {
		if done, err := r.parseLine(buf, lim); !done {
			return false, err
		}
	}
	if done, err := r.parseFields(buf, lim, lim.Underscores); !done {
		return false, err
	}
	return true, r.finish(lim)
}

// parseLine parses the request line and an empty line before it.
func (r *Request) parseLine(buf []byte, lim *Limits) (done bool, err *Error) {
	if r.stage == stageStart && len(buf) > 0 && buf[0] == '\r' {
		switch {
		case len(buf) < 2:
			return false, nil
		case buf[1] != '\n':
			return false, errBareCR
		}
		r.at, r.scanned, r.stage = 2, 2, stageLine
	}
	start := r.at
	if len(buf) == start {
		return false, nil
	}
	// Bytes that no request starts with, such as a TLS handshake, are refused at once.
	if first := buf[start]; classes[first]&isToken == 0 {
		return false, firstByteFault(first)
	}
	line, ok, err := r.line(buf, min(start+lim.line()+2, lim.head()), errLineTooLong)
	if !ok {
		return false, err
	}
	r.stage = stageFields
	err = r.splitLine(line, start)
	return err == nil, err
}

func firstByteFault(b byte) *Error {
	switch b {
	case '\r':
		return errBlankLines
	case '\n':
		return errBareLF
	}
	return errFirstByte
}

// splitLine validates method SP request-target SP HTTP-version (RFC 9112 3) at start.
func (r *Request) splitLine(line []byte, start int) *Error {
	method := 0
	for method < len(line) && classes[line[method]]&isToken != 0 {
		method++
	}
	version := bytes.LastIndexByte(line, ' ') + 1
	switch {
	case bytes.IndexByte(line, '\r') >= 0:
		return errBareCR
	case method == 0 || method == len(line) || line[method] != ' ' || version <= method+2:
		return errRequestLine
	case method > maxMethod:
		return errMethodLong
	}
	minor, err := parseVersion(line[version:])
	if err != nil {
		return err
	}
	target := line[method+1 : version-1]
	for _, c := range target {
		if classes[c]&isTarget == 0 {
			if c == '#' {
				return errFragment
			}
			return errTarget
		}
	}
	r.Minor = minor
	r.methodAt, r.methodEnd = start, start+method
	r.targetAt, r.targetEnd = start+method+1, start+version-1
	return nil
}

// parseVersion reads "HTTP/1.0" or "HTTP/1.1" (RFC 9112 2.3).
func parseVersion(b []byte) (minor int, err *Error) {
	switch string(b) {
	case "HTTP/1.1":
		return 1, nil
	case "HTTP/1.0":
		return 0, nil
	}
	if len(b) == 8 && string(b[:5]) == "HTTP/" && isDigit(b[5]) && b[6] == '.' && isDigit(b[7]) {
		return 0, errNotOne
	}
	return 0, errVersion
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

// finish interprets the complete head.
func (r *Request) finish(lim *Limits) *Error {
	r.Method = r.buf[r.methodAt:r.methodEnd:r.methodEnd]
	r.Target = r.buf[r.targetAt:r.targetEnd:r.targetEnd]
	s, err := r.survey()
	if err != nil {
		return err
	}
	if err := r.finishTarget(&s, lim); err != nil {
		return err
	}
	r.Body, r.Length, _, err = r.framing(&s, r.Minor)
	if err != nil {
		return err
	}
	if r.Body != BodyNone && string(r.Method) == "TRACE" {
		return errTraceBody
	}
	r.KeepAlive = s.keepAlive(r.Minor)
	r.Upgrade = r.upgradeValue(&s, r.Minor)
	r.GRPC = s.kind >= 0 && IsGRPC(r.Value(s.kind)) && r.Minor == 1 && string(r.Method) == "POST"
	// HTTP/1.0 has no 100 (Continue), and without a body there is nothing to wait for
	// (RFC 9110 10.1.1).
	r.Continue = s.expect >= 0 && r.Minor == 1 && r.Body != BodyNone &&
		foldEqual(r.Value(s.expect), "100-continue")
	return nil
}
