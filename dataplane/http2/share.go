package http2

// What HTTP/3 has in common with HTTP/2, so that both judge a request alike: RFC 9114 section 4
// has the rules of RFC 9113 section 8.

// RequestHead makes an HTTP/1.1 head, or trailer lines, of the fields of a request. The zero
// value needs a Reset.
type RequestHead struct{ head head }

// Reset makes r ready for another field section, of limit bytes at most.
func (r *RequestHead) Reset(limit int, trailer bool) { r.head.reset(limit, trailer) }

// Add takes the next field. It reports whether more are wanted: not after a fault, or beyond
// the limit.
func (r *RequestHead) Add(name, value string) bool {
	r.head.take(name, value)
	return r.head.fault == nil && !r.head.over
}

// Cut says that the section has more than was added: its head is beyond the limit.
func (r *RequestHead) Cut() { r.head.over = true }

// Finish judges the complete section of a request, whose body may be known to be empty. The
// error says what is wrong with it.
func (r *RequestHead) Finish(ended bool) error {
	if wrong := r.head.finish(ended); wrong != nil {
		return wrong
	}
	return nil
}

// FinishTrailers returns the lines of a trailer section.
func (r *RequestHead) FinishTrailers() ([]byte, error) {
	switch h := &r.head; {
	case h.fault != nil:
		return nil, h.fault
	case h.over:
		return nil, errTrailerLong
	}
	return r.head.fields, nil
}

// Method is the request's, as HTTP/1.1 has it: a WebSocket is opened with GET.
func (r *RequestHead) Method() string {
	if r.Tunnels() {
		return "GET"
	}
	return r.head.method
}

// Length is what the request announces that its body has, in bytes; -1: nothing.
func (r *RequestHead) Length() int64 { return r.head.length }

// Tunnels reports whether the request opens a WebSocket (RFC 8441, RFC 9220).
func (r *RequestHead) Tunnels() bool { return r.head.tunnels() }

// AppendTo appends the HTTP/1.1 head, of a body in chunks if so. One beyond the limit is longer
// than that, and no whole head, whatever follows.
func (r *RequestHead) AppendTo(dst []byte, chunked bool) []byte { return r.head.appendTo(dst, chunked) }

// Allowance bounds what a client may waste: a bucket of units, each about a microsecond of
// work, that honest use fills faster than it empties. The owner guards it.
type Allowance struct{ allowance }

// NewAllowance returns a full one, of a client that may open and give up so many streams at once;
// 0: as many as by default.
func NewAllowance(resets int) Allowance {
	return Allowance{newAllowance(Limits{Resets: resets}.Filled().Resets)}
}

// Spend takes units, and reports false when there are not that many.
func (a *Allowance) Spend(units int) bool { return a.spend(units) }

// Earn gives units back.
func (a *Allowance) Earn(units int) { a.earn(units) }

// AppendInteger appends an integer with a prefix of some bits behind what first has (RFC 7541
// section 5.1, RFC 9204 section 4.1.1).
func AppendInteger(dst []byte, first byte, bits uint, n int) []byte {
	limit := 1<<bits - 1
	if n < limit {
		return append(dst, first|byte(n))
	}
	dst = append(dst, first|byte(limit))
	n -= limit
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}
