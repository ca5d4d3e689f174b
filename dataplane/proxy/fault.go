package proxy

import (
	"bytes"
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// faults are what routes break on purpose, by key. Their state outlives snapshots for as long as
// one has them, and what is stopped stays so whether a snapshot has it or not.
type faults struct {
	mu      sync.Mutex
	byKey   map[string]*faultState
	stopped map[string]bool
}

// faultState is one of them. Requests look at it without a lock.
type faultState struct {
	stopped  atomic.Bool
	injected atomic.Uint64
	model    *model.Fault // guarded by the lock of faults
	routes   []string     // too
}

// routeFault is one fault of a route.
type routeFault struct {
	*policy.Fault
	state *faultState
}

// of returns a route's faults ready for use, in the order in which they are met.
func (f *faults) of(m *model.Route) []routeFault {
	var list []routeFault
	for i := range m.Faults {
		if made := policy.CompileFault(&m.Faults[i]); made != nil {
			list = append(list, routeFault{made, f.state(&m.Faults[i])})
		}
	}
	return list
}

func (f *faults) state(m *model.Fault) *faultState {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.byKey[m.Key]
	if s == nil {
		s = new(faultState)
		s.stopped.Store(f.stopped[m.Key])
		if f.byKey == nil {
			f.byKey = map[string]*faultState{}
		}
		f.byKey[m.Key] = s
	}
	s.model = m
	return s
}

// retain forgets the faults that no route of s has.
func (f *faults) retain(s *model.Snapshot) {
	routes := map[string][]string{}
	for _, rt := range s.RouteTables {
		for _, e := range rt.Entries {
			for i := range e.Route.Faults {
				key := e.Route.Faults[i].Key
				routes[key] = append(routes[key], e.Route.Name)
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, state := range f.byKey {
		if routes[key] == nil {
			state.stopped.Store(true) // for those who are held back by it
			delete(f.byKey, key)
			continue
		}
		slices.Sort(routes[key])
		state.routes = slices.Compact(routes[key])
	}
}

// stop stops the faults with these keys, and lets all others go on.
func (f *faults) stop(keys []string) {
	stopped := make(map[string]bool, len(keys))
	for _, key := range keys {
		stopped[key] = true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = stopped
	for key, state := range f.byKey {
		state.stopped.Store(stopped[key])
	}
}

// Faults returns the faults of the live snapshot that may be met, in the order of their keys.
func (p *Proxy) Faults() []model.FaultState {
	f := &p.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]model.FaultState, 0, len(f.byKey))
	for _, s := range f.byKey {
		list = append(list, model.FaultState{
			Fault: s.model, Routes: s.routes, Injected: s.injected.Load(), Stopped: s.stopped.Load(),
		})
	}
	slices.SortFunc(list, func(a, b model.FaultState) int { return cmp.Compare(a.Fault.Key, b.Fault.Key) })
	return list
}

// faultStats is the same for metrics.
func (p *Proxy) faultStats() []telemetry.FaultStats {
	states := p.Faults()
	list := make([]telemetry.FaultStats, len(states))
	for i, s := range states {
		list[i] = telemetry.FaultStats{
			Policy: s.Fault.Policy, Fault: s.Fault.Name, Injected: s.Injected,
			Active: !s.Stopped && time.Now().Before(s.Fault.Expires),
		}
	}
	return list
}

// broken is what the present request has met on purpose.
type broken struct {
	met   [4]*policy.Fault // those whose marks it bears
	n     int
	late  bool        // it was delayed, or its answer is
	rate  int64       // bytes of the answer a second; 0: as fast as may be
	slow  *routeFault // whose rate that is
	due   transport.Instant
	begun bool       // the head has been written, at once
	cut   model.Flag // why the answer was given up while it was held back
}

// marks appends the fields that name what was met.
func (b *broken) marks(dst []byte) []byte {
	for _, f := range b.met[:b.n] {
		dst = f.AppendTo(dst)
	}
	return dst
}

// breakOnPurpose has the request meet the faults of its route, each by its own draw: delays add
// up, and the first that answers or resets ends it.
func (x *exchange) breakOnPurpose() (answered bool) {
	for i := range x.route.faults {
		f := &x.route.faults[i]
		now := time.Now() // a delay may have outlasted the next
		if f.state.stopped.Load() || !f.Drawn(now, x.p.cfg.Random()) || f.Conditional() && !f.Holds(x.known()) {
			continue
		}
		f.state.injected.Add(1)
		if x.broken.n < len(x.broken.met) {
			x.broken.met[x.broken.n] = f.Fault
			x.broken.n++
		}
		if answered = x.meet(f, now); answered {
			break
		}
	}
	x.facts = policy.Facts{}
	return answered
}

// meet has the request meet one fault.
func (x *exchange) meet(f *routeFault, now time.Time) (answered bool) {
	switch {
	case f.Delay > 0:
		return x.delay(f, min(f.Delay, f.Expires.Sub(now)))
	case f.Reset:
		x.result.flag, x.result.detail, x.result.abort = model.FlagFI, f.Policy+"/"+f.Name, true
		return true
	case f.Abort != nil:
		x.refuseOnPurpose(f.Fault)
		return true
	case f.Throttle > 0 && (x.broken.rate == 0 || f.Throttle < x.broken.rate):
		x.broken.late, x.broken.rate, x.broken.slow = true, f.Throttle, f
	}
	return false
}

// refuseOnPurpose gives the fault's own answer. A call of gRPC gets its code where it has one, and
// anything else the status, or what the code means in HTTP.
func (x *exchange) refuseOnPurpose(f *policy.Fault) {
	r := refusal{status: f.Abort.Status, flag: model.FlagFI, detail: f.Policy + "/" + f.Name, code: f.Abort.GRPC}
	if r.status == 0 {
		r.status = 503
	}
	x.refuse(r)
}

// delay holds the request back, and reports whether nobody waits for it any more.
func (x *exchange) delay(f *routeFault, d time.Duration) (answered bool) {
	x.broken.late, x.waited = true, true
	switch x.hold(f, transport.Now().Add(d)) {
	case model.FlagNone:
		return false
	case model.FlagDC:
		x.refuse(refusal{flag: model.FlagDC})
	case model.FlagPT:
		x.refuse(refusal{flag: model.FlagPT, detail: "the request's time passed in an injected delay"})
	default:
		x.refuse(refusal{flag: model.FlagWD})
	}
	return true
}

// hold waits until then, for as long as the fault is not stopped, nobody drains, and the request's
// time and its client allow. The flag says which of these two ended it, or that the process ends.
func (x *exchange) hold(f *routeFault, until transport.Instant) model.Flag {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := transport.Now()
		by := x.requestBy()
		switch {
		case now >= until || f.state.stopped.Load() || x.closing():
			return model.FlagNone
		case by != 0 && now >= by:
			return model.FlagPT
		case x.clientLeft() != nil:
			return model.FlagDC
		}
		timer.Reset(min(transport.Earlier(by, until), now.Add(lookUp)).Sub(now))
		select {
		case <-timer.C:
		case <-x.p.ctx.Done():
			return model.FlagWD
		}
	}
}

// paceGap is how often a throttled answer gets its next piece.
const paceGap = 50 * time.Millisecond

// writeSlowly writes to the client at the rate of a fault, in pieces, until that is stopped or over.
func (x *exchange) writeSlowly(p []byte) error {
	b := &x.broken
	if !b.begun {
		end := bytes.Index(p, []byte("\r\n\r\n"))
		if b.begun = end >= 0; !b.begun {
			return x.writeNow(p)
		}
		if err := x.writeNow(p[:end+4]); err != nil {
			return err
		}
		p = p[end+4:]
	}
	piece := int(max(b.rate/int64(time.Second/paceGap), 1))
	for len(p) > 0 {
		if flag := x.hold(b.slow, b.due); flag != model.FlagNone {
			x.broken.cut = flag
			return errClient
		}
		if b.slow.state.stopped.Load() || !time.Now().Before(b.slow.Expires) {
			b.rate = 0
			return x.writeNow(p)
		}
		n := min(len(p), piece)
		if err := x.writeNow(p[:n]); err != nil {
			return err
		}
		p = p[n:]
		b.due = transport.Now().Add(time.Duration(int64(n) * int64(time.Second) / b.rate))
	}
	return nil
}
