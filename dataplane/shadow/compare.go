package shadow

import (
	"bytes"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/traffic/compare"
)

// comparison is one request whose answers are compared, and these: the one that the client gets, the shadow's, and with
// a baseline a second one of the primary. Whoever brings the last one has it judged, by a worker. Until then it
// has the place among its shadow's copies, which so bounds all its memory.
type comparison struct {
	of     *Set
	shadow *Shadow
	state  *state
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
			t.of.cfg.Report(fault)
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
	if cap(r.body) > keptMemory {
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
