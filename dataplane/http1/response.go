package http1

import "weir.dev/weir/model"

// Response is an upstream's answer's head. Its slices point into the buffer of the last Parse.
type Response struct {
	Head

	Status int    // 100 to 599
	Reason []byte // as received, possibly empty
	Minor  int    // of the version: 0 or 1
	Body   Body
	Length int64 // of a BodyLength body; 0 for every other
	// KeepAlive says that the connection may carry another exchange after this answer and its
	// body. It is false for 101 and where a tunnel follows.
	KeepAlive bool
	// Upgrade is the value of Upgrade when Connection names it, else nil. It is never nil
	// for status 101.
	Upgrade []byte
	// GRPC says that the content is application/grpc.
	GRPC bool

	reasonAt, reasonEnd int
}

// Reset makes r ready for the next answer. Slices from the last one are invalid from here on.
func (r *Response) Reset() {
	r.reset()
	r.Status, r.Minor, r.Body, r.Length, r.KeepAlive = 0, 0, BodyNone, 0, false
	r.Reason, r.Upgrade, r.GRPC = nil, nil, false
	r.reasonAt, r.reasonEnd = 0, 0
}

// Parse parses the head at the start of buf as Request.Parse does, as the answer to a
// request with the given method. Interim answers (1xx) are answers of their own, without
// a body: Reset and Parse again for the one that follows. Every err is an *Error with status 502.
func (r *Response) Parse(buf []byte, lim *Limits, requestMethod []byte) (n int, err error) {
	done, refusal := r.parse(buf, lim, requestMethod)
	switch {
	case refusal != nil:
		return 0, refusal.upstream
	case !done:
		return 0, nil
	}
	return r.at, nil
}

func (r *Response) parse(buf []byte, lim *Limits, requestMethod []byte) (done bool, err *Error) {
	if r.stage != stageFields {
		// No answer starts with another byte, so a stray one need not wait for its line's end.
		if len(buf) > 0 && buf[0] != 'H' {
			return false, errStatusLine
		}
		line, ok, err := r.line(buf, min(lim.line()+2, lim.head()), errHeadTooLarge)
		if !ok {
			return false, err
		}
		r.stage = stageFields
		if err := r.splitLine(line); err != nil {
			return false, err
		}
	}
	if done, err := r.parseFields(buf, lim, model.NameKeep); !done {
		return false, err
	}
	return true, r.finish(requestMethod)
}

// splitLine validates HTTP-version SP status-code [SP reason-phrase] (RFC 9112 4). The
// space before an empty reason may be missing: many servers leave it out, and nothing is ambiguous without it.
func (r *Response) splitLine(line []byte) *Error {
	if len(line) < 12 || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return errStatusLine
	}
	minor, err := parseVersion(line[:8])
	if err != nil {
		return err
	}
	for _, c := range line[9:12] {
		if !isDigit(c) {
			return errStatusLine
		}
		r.Status = r.Status*10 + int(c-'0')
	}
	if r.Status < 100 || r.Status > 599 {
		return errStatus
	}
	r.reasonAt, r.reasonEnd = min(13, len(line)), len(line)
	if !cleanValue(line[r.reasonAt:]) {
		return errReasonBytes
	}
	r.Minor = minor
	return nil
}

// finish interprets the complete head (RFC 9112 6.3).
func (r *Response) finish(requestMethod []byte) *Error {
	r.Reason = r.buf[r.reasonAt:r.reasonEnd:r.reasonEnd]
	s, err := r.survey()
	if err != nil {
		return err
	}
	body, length, announced, err := r.framing(&s, r.Minor)
	if err != nil {
		return err
	}
	r.KeepAlive = s.keepAlive(r.Minor)
	r.Upgrade = r.upgradeValue(&s, r.Minor)
	r.GRPC = s.kind >= 0 && IsGRPC(r.Value(s.kind))
	if r.Status == 101 {
		if r.Upgrade == nil {
			return errSwitch
		}
		r.KeepAlive = false
	}
	switch {
	case r.Status < 200 || r.Status == 204:
		// What is announced here is either not sent or not read by everyone.
		if body != BodyNone {
			return errNoContent
		}
		// RFC 9110 8.6 forbids even a length of 0, but it is harmless and servers send it.
		if s.length >= 0 {
			r.Fields[s.length].Dropped = true
		}
	case r.Status == 304 || string(requestMethod) == "HEAD":
		// The length, if any, is that of the body that is not sent.
	case string(requestMethod) == "CONNECT" && r.Status < 300:
		r.KeepAlive = false // a tunnel follows
	case !announced:
		r.Body, r.KeepAlive = BodyUntilClose, false
	default:
		r.Body, r.Length = body, length
	}
	return nil
}
