package rollout

import (
	"encoding/json"
	"fmt"
	"slices"

	"weir.dev/weir/controlplane/translate"
)

// Command does what somebody wants. The error is ErrUnknown, a *Refusal, or says why it could not be
// written down. What takes from a canary is done whatever the disk does, and Status.Unsaved says that it is not there
// yet; nothing takes longer than a few times state.Patience.
func (l *Loop) Command(name string, c Command) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.rollouts[name]
	switch {
	case l.store == nil && (r != nil || slices.ContainsFunc(l.plans, func(p translate.RolloutPlan) bool { return p.Name == name })):
		return &Refusal{"this process does not hold the state: " + l.problem}
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
	}
	s := r.Status()
	_, s.Unsaved = l.unsaved[p.Name]
	if l.problem != "" && (l.store == nil || l.unsaved[p.Name] != nil || r.Phase.running() || r.Phase == Waiting) {
		s.Problem = l.problem
	}
	return s
}

// Unsaved reports whether something has been decided that is not on disk yet: whoever took this process's place would
// not know of it.
func (l *Loop) Unsaved() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.unsaved) > 0
}

// History is that of a Rollout, the oldest entry first; of one that is gone, too.
func (l *Loop) History(name string) []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
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
