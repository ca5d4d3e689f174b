package proxy

import (
	"errors"
	"io"
	"time"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/traffic/health"
)

const (
	shadowTimeout = 15 * time.Second // of one copy, answer included
	// shadowAnswer is how many bytes of a copy's answer are read: about where a new connection costs less.
	shadowAnswer = 1 << 20
	// shadowMemory is how much memory of one copy is kept for the next one.
	shadowMemory = 128 << 10
)

// copied is one copy on its way. It shares nothing with the exchange, which it may outlive.
type copied struct {
	of         *shadows
	state      *shadowState
	cluster    *cluster.Cluster
	request    []byte
	method     []byte
	client     shadowed
	shard      int
	spare      bool    // for the baseline
	beside     bool    // it goes to where requests go that somebody waits for
	body       int     // bytes of the request's body so far, while it waits for the rest
	next       *copied // in the list of those
	up         upstream
	comparison *comparison // nil: nobody looks at the answer
	into       *capture    // of the comparison, for this answer
}

// shadowed is the client of a request that was copied, which may have left.
type shadowed transport.Ends

// Ends implements cluster.Client.
func (s shadowed) Ends() transport.Ends { return transport.Ends(s) }

// copy returns a copy of the present request, without its bytes.
func (s *shadows) copy(x *exchange, state *shadowState) *copied {
	c := s.copies.Get().(*copied)
	c.of, c.state = s, state
	c.request, c.method = c.request[:0], append(c.method[:0], x.req.Method...)
	c.client, c.shard = shadowed(x.c.Ends()), x.c.Shard
	return c
}

// drop gives up a copy that has not been sent.
func (c *copied) drop(why dropReason) {
	if !c.spare {
		c.state.drop(why)
	}
	c.end()
}

// end lets go of a copy, and of its place unless its comparison has that.
func (c *copied) end() {
	t, state, of := c.comparison, c.state, c.of
	memory := c.request[:0]
	if cap(memory) > shadowMemory {
		memory = nil
	}
	c.up.resp.Reset()
	*c = copied{request: memory, method: c.method[:0], up: upstream{resp: c.up.resp}}
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
)

// run sends the copy and reads its answer to the end, so that the connection can be used again.
func (c *copied) run() {
	end := fateFailed
	defer c.end()
	defer func() {
		if fault := recover(); fault != nil {
			c.of.p.report(fault)
		}
		c.count(end)
	}()
	end = c.admitted()
}

func (c *copied) count(end fate) {
	switch {
	case c.spare:
	case end == fateRefused:
		c.state.drop(dropBreaker)
	default:
		c.state.count(end == fateAnswered)
	}
}

// admitted sends the copy if its cluster takes it.
func (c *copied) admitted() (end fate) {
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
		if end == fateRefused {
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

func (c *copied) admit(now transport.Instant) (cluster.Pass, *cluster.Refusal) {
	if c.beside {
		return c.cluster.AdmitSpare(now)
	}
	return c.cluster.Admit(now, false)
}

// ask sends the copy to a host.
func (c *copied) ask(host *cluster.Host, began transport.Instant) fate {
	by := began.Add(shadowTimeout)
	conn, reused, err := host.For(&c.client).Acquire(c.of.p.ctx, began, by, c.shard)
	switch {
	case err == nil:
	case errors.As(err, new(*cluster.Refusal)):
		return fateRefused
	default:
		return fateFailed
	}
	reusable := false
	defer func() {
		c.up.buf.Release()
		if reusable {
			host.Release(conn, c.shard, transport.Now())
		} else {
			host.Release(conn, c.shard, 0)
		}
	}()
	c.up.conn = conn
	reusable, err = c.exchange(began, transport.Wait{By: by, Watch: c.of.watch})
	if err == nil {
		return fateAnswered
	}
	if !reused {
		_ = host.Rejected(err) // remembers why; nobody waits for the copy
	}
	return fateFailed
}

// exchange reports whether the connection can be used again.
func (c *copied) exchange(began transport.Instant, wait transport.Wait) (reusable bool, err error) {
	u := &c.up
	if _, _, err := u.conn.Exchange(c.request, &u.buf, wait); err != nil {
		return false, err
	}
	if err := u.readHead(c.method, wait); err != nil {
		return false, err
	}
	u.buf.Consume(u.head)
	if c.into != nil {
		c.into.begin(c.comparison.shadow.compare, &u.resp, transport.Now().Sub(began))
	}
	return c.readBody(wait)
}

// readBody reads an answer's body, and forgets what nobody looks at.
func (c *copied) readBody(wait transport.Wait) (reusable bool, err error) {
	u := &c.up
	chunks := http1.Chunked{Answer: true}
	rest := u.resp.Length
	if rest > shadowAnswer {
		return false, nil
	}
	for read := 0; read < shadowAnswer; {
		n, done := u.buf.Len(), false
		switch u.resp.Body {
		case http1.BodyNone:
			n, done = 0, true
		case http1.BodyLength:
			n = int(min(int64(n), rest))
			rest -= int64(n)
			done = rest == 0
		case http1.BodyChunked:
			if n, done, err = chunks.Scan(u.buf.Bytes()); err != nil {
				return false, err
			}
		}
		if c.into != nil {
			c.into.add(u.buf.Bytes()[:n])
		}
		u.buf.Consume(n)
		read += n
		if done {
			c.into.whole()
			return u.resp.KeepAlive && u.buf.Len() == 0, nil
		}
		err := u.more(wait)
		if u.resp.Body == http1.BodyUntilClose && errors.Is(err, io.EOF) {
			c.into.whole()
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}
