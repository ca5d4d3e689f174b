package proxy

import (
	"slices"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/compare"
)

// A request may be copied to other clusters: for the mirrors of its route, whose answers nobody looks at, and
// for its Shadows, whose answers may be compared with the one that the client gets. Neither may show in
// that answer, nor in when it comes:
//
//	exchange: head ─► copy ─┬──────────► try ─► answer to the client ─► witness ─┐
//	                        │ body, as it streams to the try                     ▼
//	crew:                   └──► copied: sent once it is whole ─► answer ─► comparison: compared
//
// The exchange only appends bytes to the copy's own memory and hands it over; it waits for nothing. What
// does not fit into the bounds of a shadow is dropped, and counted by reason.

// shadowMark says that a request is a copy.
var shadowMark = []byte("X-Weir-Shadow: 1\r\n")

var shadowField = "x-weir-shadow"

// shadow is a place that copies of a route's requests go to.
type shadow struct {
	state    *shadowState
	share    policy.Share
	methods  []string         // nil: all
	target   string           // the cluster's name; empty: what it refers to does not resolve
	cluster  *cluster.Cluster // nil: there is none of that name
	edit     *policy.HeaderEdit
	compare  *compare.Comparer // nil: answers are read and forgotten
	latency  bool
	baseline bool
	beside   bool // the route's requests go to the same cluster: copies are to leave room for them
}

// shadowsOf makes the shadows of a route: its mirrors first.
func shadowsOf(p *Proxy, m *model.Route) []shadow {
	if len(m.Mirrors) == 0 && len(m.Shadows) == 0 {
		return nil
	}
	edit := policy.CompileHeaderEdit(m.RequestHeaders)
	var list []shadow
	for i := range m.Mirrors {
		at := &m.Mirrors[i]
		list = append(list, shadow{
			state: &p.shadows.mirrors, share: policy.CompileMirror(at), edit: edit,
			target: at.Cluster, cluster: p.clusters.Cluster(at.Cluster),
		})
	}
	for i := range m.Shadows {
		at := &m.Shadows[i]
		made := shadow{state: p.shadows.state(p, at), share: policy.CompileShare(at.Share), methods: at.Methods, edit: edit}
		if at.Refusal == nil {
			made.target, made.cluster = at.Cluster, p.clusters.Cluster(at.Cluster)
		}
		if at.Compare != nil {
			made.compare, _ = compare.Compile(at.Compare) // the control plane has refused what is wrong
			made.latency, made.baseline = at.Compare.Latency, at.Compare.Baseline
		}
		list = append(list, made)
	}
	for i := range list {
		list[i].beside = slices.ContainsFunc(m.Split.Arms, func(a model.Arm) bool { return a.Cluster == list[i].target })
	}
	return list
}

// copies reports whether requests with a method are copied, of which the share is one.
func (s *shadow) copies(method []byte) bool {
	return s.methods == nil || slices.Contains(s.methods, string(method))
}

// shadowing is what the present request has to do with copies. It is made once for an exchange.
type shadowing struct {
	tap         *copied // copies that wait for the rest of the body, in a list; the pump's while there is one
	comparisons []*comparison
	watching    bool              // the answer that the client gets, as the host sends it, is being looked at
	by          transport.Instant // and how long
}

// sendShadows copies the request to its route's shadows, each a share of it.
func (x *exchange) sendShadows() bool {
	for i := range x.route.shadows {
		s := &x.route.shadows[i]
		if s.copies(x.req.Method) && s.share.Chosen(x.p.cfg.Random()) {
			x.copyTo(s)
		}
	}
	return false
}

// copyTo makes one copy, or counts why there is none.
func (x *exchange) copyTo(s *shadow) {
	if why := x.uncopied(s); why != "" {
		s.state.drop(why)
		return
	}
	c := x.p.shadows.copy(x, s.state)
	c.cluster, c.beside = s.cluster, s.beside
	c.request = x.appendRequest(c.request, s.edit, sending{n: 1, by: x.tryBy(), marks: shadowMark, copied: true})
	if s.compare != nil {
		x.tryShadow(s, c)
	}
	if x.body.whole {
		x.p.shadows.send(c)
		return
	}
	c.body = x.body.have
	h := x.shadower()
	c.next, h.tap = h.tap, c
}

// uncopied returns why a request is not copied; empty, and a place is taken: it is.
func (x *exchange) uncopied(s *shadow) dropReason {
	limit := s.state.limits.Load()
	switch {
	case s.cluster == nil:
		return dropUnresolved
	case x.upgrading():
		return dropUpgrade
	case x.body.have > int(limit.Body) || x.req.Body == http1.BodyLength && x.req.Length > limit.Body:
		return dropBody
	case x.id.Marked && x.isCopy():
		return dropCopy
	case !s.state.take(limit.InFlight):
		return dropInFlight
	}
	return ""
}

// isCopy reports whether the request itself is a copy, by the word of whoever may say so. It is
// copied no further: a shadow that leads back here would have no end.
func (x *exchange) isCopy() bool {
	_, marked := x.req.Lookup(shadowField)
	return marked && x.caller.Trusted
}

// shadower returns the exchange's shadowing, which ends with the request.
func (x *exchange) shadower() *shadowing {
	if x.shadowing == nil {
		if x.shadowMemory == nil {
			x.shadowMemory = new(shadowing)
		}
		x.shadowing = x.shadowMemory
	}
	return x.shadowing
}

// pass gives bytes of the request's body, which have just been validated, to the copies that wait for
// them. whole is whether there are no more.
func (h *shadowing) pass(p []byte, whole bool) {
	if h == nil {
		return
	}
	var waiting *copied
	for c := h.tap; c != nil; {
		next := c.next
		c.next = nil
		if c.body += len(p); c.body > int(c.state.limits.Load().Body) {
			c.drop(dropBody)
		} else if c.request = append(c.request, p...); whole {
			c.of.send(c)
		} else {
			c.next, waiting = waiting, c
		}
		c = next
	}
	h.tap = waiting
}

// endShadows ends what the present request has to do with copies: those that still wait for its body
// never get it, and an answer that has not been seen whole never was.
func (x *exchange) endShadows() {
	h := x.shadowing
	x.shadowing = nil
	for c := h.tap; c != nil; {
		next := c.next
		c.next = nil
		c.drop(dropUnfinished)
		c = next
	}
	h.tap = nil
	h.end(false)
}
