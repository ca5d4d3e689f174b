package shadow

import (
	"errors"
	"io"
	"time"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/http2"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/traffic/health"
)

const (
	timeout = 15 * time.Second // of one copy, answer included
	// maxAnswer is how many bytes of a copy's answer are read: about where a new connection costs less.
	maxAnswer = 1 << 20
	// keptMemory is how much memory of one copy is kept for the next one.
	keptMemory = 128 << 10
)

// Copy is one copy on its way. It shares nothing with the request, which it may outlive.
type Copy struct {
	// Request is what is sent. Whoever makes the copy appends the head, and as much of the body as is at hand.
	Request []byte

	of         *Set
	state      *state
	cluster    *cluster.Cluster
	method     []byte
	client     transport.Ends
	shard      int
	spare      bool  // for the baseline
	beside     bool  // it goes to where requests go that somebody waits for
	body       int   // bytes of the request's body so far, while it waits for the rest
	next       *Copy // in the list of those
	conn       *transport.Conn
	in         transport.Buffer // what the host sent
	resp       http1.Response
	comparison *comparison // nil: nobody looks at the answer
	into       *capture    // of the comparison, for this answer
}

// copy returns a copy of a request, without its bytes.
func (s *Set) copy(r *Original, state *state) *Copy {
	c := s.copies.Get().(*Copy)
	c.of, c.state = s, state
	c.Request, c.method = c.Request[:0], append(c.method[:0], r.Method...)
	c.client, c.shard = r.Client, r.Shard
	return c
}

// Send has the copy sent, or dropped if there is nobody to do it. It is not the caller's any more.
func (c *Copy) Send() {
	if !c.of.submit(c.shard, job{copy: c}) {
		c.drop(dropInFlight)
	}
}

// drop gives up a copy that has not been sent.
func (c *Copy) drop(why dropReason) {
	if !c.spare {
		c.state.drop(why)
	}
	c.end()
}

// end lets go of a copy, and of its place unless its comparison has that.
func (c *Copy) end() {
	t, state, of := c.comparison, c.state, c.of
	memory := c.Request[:0]
	if cap(memory) > keptMemory {
		memory = nil
	}
	c.resp.Reset()
	*c = Copy{Request: memory, method: c.method[:0], resp: c.resp}
	of.copies.Put(c)
	if t != nil {
		t.done(true)
	} else {
		state.leave()
	}
}

// fate is what becomes of a copy.
type fate uint8

const (
	fateFailed   fate = iota // no host, no connection, or no whole answer
	fateAnswered             // whatever the answer is
	fateRefused              // a limit of its cluster has kept it from being sent
	fateLong                 // its host takes no head so long
)

// run sends the copy and reads its answer to the end, so that the connection can be used again.
func (c *Copy) run() {
	end := fateFailed
	defer c.end()
	defer func() {
		if fault := recover(); fault != nil {
			c.of.cfg.Report(fault)
		}
		c.count(end)
	}()
	end = c.admitted()
}

func (c *Copy) count(end fate) {
	switch {
	case c.spare:
	case end == fateRefused:
		c.state.drop(dropBreaker)
	case end == fateLong:
		c.state.drop(dropBody)
	default:
		c.state.count(end == fateAnswered)
	}
}

// admitted sends the copy if its cluster takes it.
func (c *Copy) admitted() (end fate) {
	began := transport.Now()
	pass, refused := c.admit(began)
	if refused != nil {
		return fateRefused
	}
	defer pass.Excuse() // what becomes of copies trips nothing
	host, err := c.cluster.Pick(cluster.Request{})
	if err != nil {
		return fateFailed
	}
	host.Begin()
	defer func() {
		if end == fateRefused || end == fateLong {
			host.Cancel()
			return
		}
		now := transport.Now()
		outcome := cluster.Outcome{Shard: c.shard, Latency: now.Sub(began), Copy: true}
		if end == fateFailed {
			outcome.Result = health.Unanswered
		}
		host.End(now, outcome)
	}()
	return c.ask(host, began)
}

func (c *Copy) admit(now transport.Instant) (cluster.Pass, *cluster.Refusal) {
	if c.beside {
		return c.cluster.AdmitSpare(now)
	}
	return c.cluster.Admit(now, false)
}

// ask sends the copy to a host.
func (c *Copy) ask(host *cluster.Host, began transport.Instant) fate {
	by := began.Add(timeout)
	conn, reused, err := host.For(&c.client).Acquire(c.of.cfg.Context, began, by, c.shard)
	switch {
	case err == nil:
	case errors.As(err, new(*cluster.Refusal)):
		return fateRefused
	default:
		return fateFailed
	}
	reusable := false
	defer func() {
		c.in.Release()
		if reusable {
			host.Release(conn, c.shard, transport.Now())
		} else {
			host.Release(conn, c.shard, 0)
		}
	}()
	c.conn = conn
	reusable, err = c.exchange(began, transport.Wait{By: by, Watch: c.of.watch})
	if err == nil {
		return fateAnswered
	}
	if errors.As(err, new(*http2.HeadLong)) {
		return fateLong
	}
	if !reused {
		_ = host.Rejected(err) // remembers why; nobody waits for the copy
	}
	return fateFailed
}

// exchange reports whether the connection can be used again.
func (c *Copy) exchange(began transport.Instant, wait transport.Wait) (reusable bool, err error) {
	if _, _, err := c.conn.Exchange(c.Request, &c.in, wait); err != nil {
		return false, err
	}
	head, err := cluster.Answer{Conn: c.conn, In: &c.in, Head: &c.resp}.ReadHead(c.method, wait)
	if err != nil {
		return false, err
	}
	c.in.Consume(head)
	if c.into != nil {
		c.into.begin(c.comparison.shadow.compare, &c.resp, transport.Now().Sub(began))
	}
	return c.readBody(wait)
}

// readBody reads an answer's body, and forgets what nobody looks at.
func (c *Copy) readBody(wait transport.Wait) (reusable bool, err error) {
	chunks := http1.Chunked{Answer: true}
	rest := c.resp.Length
	if rest > maxAnswer {
		return false, nil
	}
	for read := 0; read < maxAnswer; {
		n, done := c.in.Len(), false
		switch c.resp.Body {
		case http1.BodyNone:
			n, done = 0, true
		case http1.BodyLength:
			n = int(min(int64(n), rest))
			rest -= int64(n)
			done = rest == 0
		case http1.BodyChunked:
			if n, done, err = chunks.Scan(c.in.Bytes()); err != nil {
				return false, err
			}
		}
		if c.into != nil {
			c.into.add(c.in.Bytes()[:n])
		}
		c.in.Consume(n)
		read += n
		if done {
			c.into.whole()
			return c.resp.KeepAlive && c.in.Len() == 0, nil
		}
		_, err := c.conn.ReadMore(&c.in, wait)
		if c.resp.Body == http1.BodyUntilClose && errors.Is(err, io.EOF) {
			c.into.whole()
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}
