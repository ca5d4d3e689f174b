package proxy

import (
	"bytes"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/traffic/compare"
)

// comparison is one request whose answers are compared, and these: the one that the client gets, the shadow's, and with
// a baseline a second one of the primary. Whoever brings the last one has it judged, by a worker. Until then it
// has the place among its shadow's copies, which so bounds all its memory.
type comparison struct {
	of     *shadows
	shadow *shadow
	state  *shadowState
	shard  int
	parts  atomic.Int32 // answers that are yet to come, whatever comes of them
	at     time.Time
	method []byte
	path   []byte

	primary, other, second capture
	paired                 bool // there is to be a second one

	differences, noise []compare.Difference
}

// capture is an answer on its way into a comparison.
type capture struct {
	limit    int  // bytes of its body
	bodiless bool // bodies are not compared
	spoiled  bool // it is longer than that
	complete bool
	chunks   bool // body has the framing of chunks still
	latency  time.Duration

	answer compare.Answer
	fields []byte // values of headers and the coding; ends has where each ends, below 0: it is absent
	ends   []int
	body   []byte
}

// tryShadow has the answer to a copy compared.
func (x *exchange) tryShadow(s *shadow, c *copied) {
	t := x.p.shadows.comparisons.Get().(*comparison)
	t.of, t.shadow, t.state, t.shard, t.at = x.p.shadows, s, s.state, x.c.Shard, x.asked.Time()
	t.method, t.path = append(t.method[:0], x.req.Method...), append(t.path[:0], x.req.Path...)
	t.parts.Store(2)
	limit, bodiless := int(s.state.limits.Load().Body), !s.compare.WantsBody()
	for _, r := range [...]*capture{&t.primary, &t.other, &t.second} {
		r.reset()
		r.limit, r.bodiless = limit, bodiless
	}
	t.paired = false
	c.comparison, c.into = t, &t.other
	h := x.shadower()
	h.comparisons = append(h.comparisons, t)
}

// witness begins to look at the answer whose head has been read, as the host sent it.
func (x *exchange) witness() {
	h, took := x.shadowing, transport.Now().Sub(x.timings.attempt)
	for _, t := range h.comparisons {
		t.primary.begin(t.shadow.compare, &x.up.resp, took)
	}
	h.watching, h.by = len(h.comparisons) > 0, x.timings.attempt.Add(shadowTimeout)
}

// add takes bytes of the answer's body as they are sent on.
func (h *shadowing) add(p []byte) {
	if h == nil || !h.watching {
		return
	}
	spoiled := true
	if transport.Now() > h.by { // by now the copy's is over: a stream without end does not keep its place
		h.end(false)
		return
	}
	for _, t := range h.comparisons {
		t.primary.add(p)
		spoiled = spoiled && t.primary.spoiled
	}
	if spoiled { // the rest may take long
		h.end(false)
	}
}

// decoded says that bytes come without the chunks around them.
func (h *shadowing) decoded() {
	if h != nil {
		for _, t := range h.comparisons {
			t.primary.chunks = false
		}
	}
}

// endWitness ends an answer, which the client has by now.
func (x *exchange) endWitness(whole bool) {
	h := x.shadowing
	if !h.watching || !whole {
		h.end(false)
		return
	}
	for _, t := range h.comparisons {
		if t.shadow.baseline && x.mayAskAgain() {
			t.paired = true
			t.parts.Add(1)
			x.sendBaseline(t)
		}
	}
	h.end(true)
}

// end says to all comparisons that the primary's answer is over.
func (h *shadowing) end(whole bool) {
	for i, t := range h.comparisons {
		h.comparisons[i] = nil
		if whole {
			t.primary.whole()
		}
		t.done(false)
	}
	h.comparisons, h.watching = h.comparisons[:0], false
}

// mayAskAgain reports whether the request can be sent to the primary a second time, without
// harm: its method is safe (RFC 9110 section 9.2.1).
func (x *exchange) mayAskAgain() bool {
	switch string(x.req.Method) {
	case "GET", "HEAD", "OPTIONS", "TRACE":
		return x.body.whole && x.body.untouched()
	}
	return false
}

// sendBaseline sends the request to the primary once more.
func (x *exchange) sendBaseline(t *comparison) {
	c := x.p.shadows.copy(x, t.state)
	c.cluster, c.spare, c.beside = x.arm.cluster, true, true
	c.comparison, c.into = t, &t.second
	c.request = x.appendRequest(c.request, x.arm.request, sending{n: 1, marks: shadowMark, copied: true})
	x.p.shadows.send(c)
}

// done says that one of the answers has come, or never will. A worker judges itself; others have it done.
func (t *comparison) done(worker bool) {
	switch {
	case t.parts.Add(-1) > 0:
	case worker:
		t.run()
	case !t.of.submit(t.shard, job{judge: t}):
		t.state.tally.Uncompared()
		t.end()
	}
}

// run judges.
func (t *comparison) run() {
	defer t.end()
	defer func() {
		if fault := recover(); fault != nil {
			t.of.p.report(fault)
			t.state.tally.Uncompared()
		}
	}()
	c := t.shadow.compare
	if !t.primary.settle() || !t.other.settle() || t.paired && !t.second.settle() {
		t.state.tally.Uncompared()
		return
	}
	differences, comparable := c.Compare(t.differences[:0], &t.primary.answer, &t.other.answer, t.primary.limit)
	noise := t.noise[:0]
	if comparable && t.paired {
		noise, comparable = c.Compare(noise, &t.primary.answer, &t.second.answer, t.primary.limit)
	}
	t.differences, t.noise = differences, noise
	if !comparable {
		t.state.tally.Uncompared()
		return
	}
	finding := compare.Finding{At: t.at, Differences: differences, Noise: noise, Paired: t.paired}
	if len(differences) > 0 { // else nobody shows it
		finding.Method, finding.Path = string(t.method), string(t.path)
	}
	t.state.tally.Add(&finding)
	if t.shadow.latency {
		t.state.ours.Observe(t.shard, t.primary.latency)
		t.state.theirs.Observe(t.shard, t.other.latency)
	}
}

// end gives back the place of the copy, and the memory.
func (t *comparison) end() {
	state, of := t.state, t.of
	t.of, t.shadow, t.state = nil, nil, nil
	clear(t.differences)
	clear(t.noise)
	of.comparisons.Put(t)
	state.leave()
}

// reset forgets everything but the memory.
func (r *capture) reset() {
	if cap(r.body) > shadowMemory {
		r.body = nil
	}
	*r = capture{fields: r.fields[:0], ends: r.ends[:0], body: r.body[:0], answer: compare.Answer{Headers: r.answer.Headers[:0]}}
}

// begin takes an answer's head.
func (r *capture) begin(c *compare.Comparer, resp *http1.Response, latency time.Duration) {
	r.latency, r.answer.Status, r.chunks = latency, resp.Status, resp.Body == http1.BodyChunked
	for _, name := range c.Headers() {
		r.field(resp, name)
	}
	r.field(resp, "content-encoding")
}

func (r *capture) field(resp *http1.Response, name string) {
	value, ok := resp.Joined(name)
	if !ok {
		r.ends = append(r.ends, -1)
		return
	}
	r.fields = append(r.fields, value...)
	r.ends = append(r.ends, len(r.fields))
}

// add takes bytes of its body, with framing or without.
func (r *capture) add(p []byte) {
	if r.bodiless || r.spoiled {
		return
	}
	room := r.limit
	if r.chunks {
		room *= 2
	}
	if r.spoiled = len(r.body)+len(p) > room; !r.spoiled {
		r.body = append(r.body, p...)
	}
}

// whole says that all of it has come.
func (r *capture) whole() {
	if r != nil {
		r.complete = !r.spoiled
	}
}

// settle makes it ready to be compared, if it can be.
func (r *capture) settle() bool {
	if !r.complete || r.chunks && !r.unchunk() || len(r.body) > r.limit {
		return false
	}
	from := 0
	headers := r.answer.Headers[:0]
	for _, to := range r.ends {
		var value []byte
		if to >= 0 {
			value = r.fields[from:to:to]
			from = to
		}
		headers = append(headers, value)
	}
	last := len(headers) - 1
	r.answer.Coding, r.answer.Headers, r.answer.Body = headers[last], headers[:last], r.body
	return true
}

// unchunk takes the framing away, in place.
func (r *capture) unchunk() bool {
	chunks := http1.Chunked{Answer: true}
	rest, body := r.body, r.body[:0]
	for {
		data, n, done, err := chunks.Next(rest)
		if err != nil || n == 0 && !done {
			return false
		}
		body = append(body, data...)
		if rest = rest[n:]; done {
			r.body, r.chunks = body, false
			return len(bytes.TrimSpace(rest)) == 0
		}
	}
}
