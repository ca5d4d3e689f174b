package proxy

import (
	"time"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/policy"
)

// bond is what ties a request to a host, beyond the choice that its cluster would make: the
// session that it belongs to, else the hash of its key. It is empty for a route with neither.
type bond struct {
	hash   uint64
	hashed bool
	now    time.Time
	held   *cluster.Host // where the session lives; nil: there is none, or its host is gone
}

// chooseArm chooses where the request goes: to the arm of its session, whatever that arm's
// weight is now (GEP-1619 puts sessions before weights), else by weight.
func (x *exchange) chooseArm() *arm {
	r := x.route
	if r.release != nil {
		return x.chooseReleased()
	}
	if r.session != nil {
		x.bond.now = time.Now()
		if a := x.resume(); a != nil {
			return a
		}
	}
	if r.keys != nil {
		x.bond.hash, x.bond.hashed = r.keys.Hash(x.known())
		x.facts = policy.Facts{}
	}
	return r.draw(x.p.cfg.Random)
}

// known fills in and returns what is known of the request.
func (x *exchange) known() *policy.Facts {
	x.facts = policy.Facts{
		Request: &x.req, Caller: &x.caller, Forwarding: x.view.forwarding,
		Port: x.c.Remote.Port(), Identity: x.c.Identity(), Route: x.route.model, Clock: time.Now,
	}
	return &x.facts
}

// resume returns the arm that has the host of the request's session, or nil. Where several
// arms have it, one that still has a weight comes before others.
func (x *exchange) resume() *arm {
	b := &x.bond
	host, ok := x.route.session.Read(&x.req.Head, b.now)
	if !ok {
		return nil
	}
	var found *arm
	for i := range x.route.arms {
		a := &x.route.arms[i]
		if a.cluster == nil || found != nil && a.model.Weight == 0 {
			continue
		}
		if h := a.cluster.ByToken(host); h != nil {
			found, b.held = a, h
			if a.model.Weight > 0 {
				break
			}
		}
	}
	return found
}

// pick chooses a host for the next try: the session's, unless a try there has failed.
func (x *exchange) pick(tried []*cluster.Host) (*cluster.Host, error) {
	if x.bond.held != nil && len(tried) == 0 {
		return x.bond.held, nil
	}
	return x.arm.cluster.Pick(cluster.Request{Hash: x.bond.hash, Hashed: x.bond.hashed, Tried: tried})
}

// appendSession appends the field that gives the client its token, if it needs one: because
// it has none, or because another host answered than the one it came with.
func (x *exchange) appendSession(dst []byte) []byte {
	s, b := x.route.session, &x.bond
	if s == nil || b.held == x.up.host {
		return dst
	}
	return s.AppendTo(dst, x.up.host.Token(), b.now, x.view.forwarding.HTTPS(&x.caller, &x.req.Head))
}
