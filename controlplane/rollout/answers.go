package rollout

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"weir.dev/weir/controlplane/state"
	"weir.dev/weir/controlplane/translate"
)

// Command does what somebody wants. The error is ErrUnknown, a *Refusal, or says why it could not be
// written down. What takes from a canary or holds it is done whatever the disk does, and Status.Unsaved says that it is
// not there yet; anything else that a slow disk is still writing is done when it has, and Status.Decided says what that is.
// Nothing takes longer than a few times state.Patience.
func (l *Loop) Command(name string, c Command) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.land()
	r := l.rollouts[name]
	switch {
	case l.store == nil && (r != nil || slices.ContainsFunc(l.plans, func(p translate.RolloutPlan) bool { return p.Name == name })):
		return &Refusal{l.stateless()}
	case r == nil || r.Phase == Gone:
		return fmt.Errorf("%s: %w", name, ErrUnknown)
	}
	for _, o := range l.observe() {
		if o.Release == name {
			l.step(name, Event{Observation: &o}) // so that the history has the latest numbers
		}
	}
	l.thaw(l.rollouts[name])
	c.Reason, c.OverrideFreeze = tidy(c.Reason), tidy(c.OverrideFreeze)
	refused, err := l.step(name, Event{Command: &c}), l.settle()
	if refused != "" {
		return &Refusal{refused}
	}
	return err
}

// Statuses are those of all Rollouts that are written, by name.
func (l *Loop) Statuses() []Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]Status, 0, len(l.plans))
	for i := range l.plans {
		list = append(list, l.status(&l.plans[i]))
	}
	return list
}

// Status is that of one Rollout; false: there is none.
func (l *Loop) Status(name string) (Status, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.plans, func(p translate.RolloutPlan) bool { return p.Name == name })
	if i < 0 {
		return Status{}, false
	}
	return l.status(&l.plans[i]), true
}

func (l *Loop) status(p *translate.RolloutPlan) Status {
	r := l.rollouts[p.Name]
	if r == nil {
		r = New(p.Name, "")
		r.plan = p
		if p.Release != nil {
			r.Stable, r.Canary = p.Release.Stable, p.Release.Canary
		}
	}
	s := r.Status()
	_, s.Unsaved = l.unsaved[p.Name]
	if l.writing != nil {
		if t := l.writing.turns[p.Name]; t != nil && t.next != nil && !t.over {
			for _, e := range t.said {
				s.Decided = sentence("%s, share %v", e.What, e.Share)
			}
		}
	}
	switch {
	case l.store == nil:
		s.Problem = l.stateless()
	case l.problem != "" && (s.Unsaved || s.Decided != "" || r.Phase.running() || r.Phase == Waiting):
		s.Problem = l.problem
	}
	return s
}

// stateless says what follows from there being no store.
func (l *Loop) stateless() string {
	why := "nothing is decided without the state, and everything stays on stable"
	switch {
	case l.problem == "":
	case strings.Contains(l.problem, state.ErrHeld.Error()):
		why += "; " + l.problem + ": taken as soon as that process lets go of it"
	default:
		why += sentence("; trying again every %v: %s", retryEvery, l.problem)
	}
	return why
}

// Unsaved reports whether something has been decided that is not on disk yet: whoever took this process's place would
// not know of it.
func (l *Loop) Unsaved() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.land()
	return len(l.unsaved) > 0 || l.writing != nil && slices.ContainsFunc(slices.Collect(maps.Values(l.writing.turns)), func(t *turn) bool { return !t.figures() })
}

// History is that of a Rollout, the oldest entry first; of one that is gone, too.
func (l *Loop) History(name string) []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.land() // what the store has by now is not unsaved any more
	var list []Entry
	if l.store != nil {
		for _, text := range l.store.History(historyBucket, name) {
			var e Entry
			if json.Unmarshal(text, &e) == nil {
				list = append(list, e)
			}
		}
	}
	return append(list, l.unsaved[name]...)
}
