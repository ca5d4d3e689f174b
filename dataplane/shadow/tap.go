package shadow

import (
	"time"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/transport"
)

// Tap is what one request has to do with its copies. Neither may show in the answer that the client gets, nor in when
// it comes:
//
//	request: head ─► Copy ─┬──────────► try ─► answer to the client ─► Witness, Add ─┐
//	                       │ body, as it streams to the try: Pass                     ▼
//	crew:                  └──► sent once it is whole ─────► answer ─────► comparison: compared
//
// The request only appends bytes to the copies' own memory and hands them over; it waits for nothing. What
// does not fit into the bounds of a shadow is dropped, and counted by reason. A nil Tap has no copies, and is told of bodies in
// vain.
type Tap struct {
	waiting     *Copy // for the rest of the body, in a list; the pump's while there is one
	comparisons []*comparison
	watching    bool              // the answer that the client gets, as the host sends it, is being looked at
	by          transport.Instant // and how long
}

// Await has a copy wait for the rest of the body, of which it has so many bytes.
func (h *Tap) Await(c *Copy, have int) {
	c.body = have
	c.next, h.waiting = h.waiting, c
}

// Pass gives bytes of the request's body, which have just been validated, to the copies that wait for
// them. whole is whether there are no more.
func (h *Tap) Pass(p []byte, whole bool) {
	if h == nil {
		return
	}
	var waiting *Copy
	for c := h.waiting; c != nil; {
		next := c.next
		c.next = nil
		if c.body += len(p); c.body > int(c.state.limits.Load().Body) {
			c.drop(dropBody)
		} else if c.Request = append(c.Request, p...); whole {
			c.Send()
		} else {
			c.next, waiting = waiting, c
		}
		c = next
	}
	h.waiting = waiting
}

// Close ends what the request has to do with copies: those that still wait for its body
// never get it, and an answer that has not been seen whole never was.
func (h *Tap) Close() {
	for c := h.waiting; c != nil; {
		next := c.next
		c.next = nil
		c.drop(dropUnfinished)
		c = next
	}
	h.waiting = nil
	h.end(false)
}

// Compares reports whether answers to its copies are compared.
func (s *Shadow) Compares() bool { return s.compare != nil }

// Compare has the answer to a copy for s compared with the request's, which came at a time with a path.
func (h *Tap) Compare(s *Shadow, c *Copy, at time.Time, path []byte) {
	t := s.of.comparisons.Get().(*comparison)
	t.of, t.shadow, t.state, t.shard, t.at = s.of, s, s.state, c.shard, at
	t.method, t.path = append(t.method[:0], c.method...), append(t.path[:0], path...)
	t.parts.Store(2)
	limit, bodiless := int(s.state.limits.Load().Body), !s.compare.WantsBody()
	for _, r := range [...]*capture{&t.primary, &t.other, &t.second} {
		r.reset()
		r.limit, r.bodiless = limit, bodiless
	}
	t.paired = false
	c.comparison, c.into = t, &t.other
	h.comparisons = append(h.comparisons, t)
}

// Witness begins to look at the answer whose head has been read, as the host sent it, of a try that began then.
func (h *Tap) Witness(resp *http1.Response, began transport.Instant) {
	took := transport.Now().Sub(began)
	for _, t := range h.comparisons {
		t.primary.begin(t.shadow.compare, resp, took)
	}
	h.watching, h.by = len(h.comparisons) > 0, began.Add(timeout)
}

// Add takes bytes of the answer's body as they are sent on.
func (h *Tap) Add(p []byte) {
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

// Decoded says that bytes come without the chunks around them.
func (h *Tap) Decoded() {
	if h != nil {
		for _, t := range h.comparisons {
			t.primary.chunks = false
		}
	}
}

// Comparisons is of how many copies the answers are compared still: Baseline knows them by their place.
func (h *Tap) Comparisons() int {
	if !h.watching {
		return 0
	}
	return len(h.comparisons)
}

// Baseline returns a copy, without its bytes, for the cluster that has answered the request, where a comparison wants a
// second answer of it; else nil.
func (h *Tap) Baseline(place int, r *Original, primary *cluster.Cluster) *Copy {
	t := h.comparisons[place]
	if !t.shadow.baseline {
		return nil
	}
	t.paired = true
	t.parts.Add(1)
	c := t.of.copy(r, t.state)
	c.cluster, c.spare, c.beside = primary, true, true
	c.comparison, c.into = t, &t.second
	return c
}

// End ends the answer, which the client has by now, all of it if whole.
func (h *Tap) End(whole bool) { h.end(whole && h.watching) }

// end says to all comparisons that the primary's answer is over.
func (h *Tap) end(whole bool) {
	for i, t := range h.comparisons {
		h.comparisons[i] = nil
		if whole {
			t.primary.whole()
		}
		t.done(false)
	}
	h.comparisons, h.watching = h.comparisons[:0], false
}
