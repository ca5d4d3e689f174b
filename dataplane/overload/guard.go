package overload

import (
	"time"

	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	load "weir.dev/weir/traffic/overload"
)

// Guard is a route's model.Overload ready for use. It is immutable; what it counts is in its
// scope.
type Guard struct {
	Model      *model.Overload
	Scope      *Scope // nil: nothing bounds the requests
	Priorities *policy.Priorities
	Fair       *policy.Keys            // nil: the queue is fair to nobody
	Stale      time.Duration           // the oldest answer that a step may give; 0: none
	gives      []*telemetry.Protection // of each step of degradation, what it gives up; see givenUp
}

// Guard returns the guard of a route, when the route is compiled; nil for one that has none, or a disabled one.
func (o *Set) Guard(m *model.Overload) *Guard {
	if m == nil {
		return nil
	}
	s := o.scope(m) // also of a disabled one: its state goes on
	if m.Mode == model.ModeDisabled {
		return nil
	}
	g := &Guard{Model: m, Scope: s, Priorities: policy.CompilePriorities(m.Priorities)}
	if m.Queue != nil {
		g.Fair = policy.CompileKeys(m.Queue.FairBy)
	}
	if s == nil {
		return g
	}
	for i := range m.Degrade {
		g.gives = append(g.gives, o.givenUp(m, &m.Degrade[i])...)
		g.Stale = max(g.Stale, m.Degrade[i].ServeStale)
	}
	return g
}

// Give is something that a step of degradation gives up.
type Give int

// What there is to give up, in the order of a guard's gives.
const (
	GiveShed Give = iota
	GiveRetries
	GiveTime
	GiveStale
	GiveAnswer
	gives
)

var giveNames = [gives]telemetry.ProtectionKind{"shed", "noRetries", "timeouts", "serveStale", "answer"}

// givenUp returns the counters of one step: gives of them, nil for what the step leaves alone.
func (o *Set) givenUp(m *model.Overload, d *model.Degrade) []*telemetry.Protection {
	list := make([]*telemetry.Protection, gives)
	for i, has := range [gives]bool{
		d.Shed != model.ClassNone, d.NoRetries, d.Timeouts != nil, d.ServeStale > 0, d.Answer != nil,
	} {
		if has {
			list[i] = o.metrics.Protection(m.Scope, telemetry.ProtectDegrade+giveNames[i])
		}
	}
	return list
}

// Less is what all steps that apply to a request come to.
type Less struct {
	Shed      model.Class // and the classes below it; ClassNone: nobody
	NoRetries bool
	Timeouts  *model.Timeouts    // nil: the route's
	Stale     time.Duration      // how old an answer may be given; 0: none
	Answer    *model.FixedAnswer // nil: none
}

// Less returns what a request gets less while the scope is this busy, and false for nothing.
func (g *Guard) Less(heat load.Heat, random func() uint64) (l Less, some bool) {
	for i := range g.Model.Degrade {
		s := &g.Model.Degrade[i]
		if !heat.Active(s.At, random) {
			continue
		}
		some = true
		l.Shed = max(l.Shed, s.Shed)
		l.NoRetries = l.NoRetries || s.NoRetries
		l.Stale = max(l.Stale, s.ServeStale)
		if s.Timeouts != nil {
			l.Timeouts = s.Timeouts
		}
		if s.Answer != nil {
			l.Answer = s.Answer
		}
	}
	return l, some
}

// CountGiven counts that something was given up, at the first step that does.
func (g *Guard) CountGiven(what Give) {
	for i := int(what); i < len(g.gives); i += int(gives) {
		if g.gives[i] != nil {
			g.gives[i].Count(g.Model.Mode)
			return
		}
	}
}

// CountWould counts what a request would have been given less, but for being shed, where the guard only observes.
func (g *Guard) CountWould(l *Less) {
	for i, would := range [gives]bool{
		GiveRetries: l.NoRetries, GiveTime: l.Timeouts != nil, GiveStale: l.Stale > 0, GiveAnswer: l.Answer != nil,
	} {
		if would {
			g.CountGiven(Give(i))
		}
	}
}
