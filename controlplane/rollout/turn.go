package rollout

import (
	"errors"
	"maps"
	"slices"
	"time"

	"weir.dev/weir/controlplane/state"
)

// turn is what one Rollout has decided since all of them were settled last.
type turn struct {
	was                 *Rollout // before it
	kept                []Entry  // that the history is to get, earlier ones that it could not get among them
	said                []Entry  // of kept, those of this turn
	save, retreat, tune bool
	ask                 *Round
}

// step has one Rollout take note of an event, and says why it refuses a command. What it decides is done by
// settle.
func (l *Loop) step(name string, e Event) (refused string) {
	if t := l.turns[name]; t != nil && t.tune { // one decision is done before the next is made
		_ = l.settle() // an error is shown
	}
	t := l.turns[name]
	if t == nil {
		earlier, unsaved := l.unsaved[name]
		t = &turn{was: l.rollouts[name], kept: slices.Clip(earlier), save: unsaved}
		l.turns[name] = t
	}
	next := l.rollouts[name].clone()
	for _, a := range next.Step(time.Now(), e) {
		switch a.Do {
		case Save:
			t.save, t.retreat = true, t.retreat || a.Retreat
		case Note:
			t.kept, t.said = append(t.kept, *a.Entry), append(t.said, *a.Entry)
		case Tune:
			t.tune = true
		case Ask:
			t.ask = a.Round
		case Refuse:
			refused = a.Refusal
		}
	}
	l.rollouts[name] = next
	return refused
}

// settle writes down what has been decided, all at once however many Rollouts there are, and then does it.
// Where that cannot be written down nothing has happened, and the error says why; but what takes from a
// canary is done before, whatever the disk does.
func (l *Loop) settle() error {
	turns := l.turns
	l.turns = map[string]*turn{}
	names := slices.Sorted(maps.Keys(turns))
	if slices.ContainsFunc(names, func(name string) bool { return turns[name].tune && turns[name].retreat }) {
		l.tune(turns)
	}
	err := l.write(names, turns)
	if err != nil {
		l.failed(err)
		names, err = l.undo(names, turns, err)
	}
	tune := false
	for _, name := range names {
		t := turns[name]
		for i := range t.said {
			l.say(name, &t.said[i])
		}
		tune = tune || t.tune
	}
	if tune {
		l.tune(nil)
	}
	for _, name := range names {
		if t := turns[name]; t.ask != nil {
			l.ask(name, t.ask)
		}
	}
	return err
}

// write writes the turns that have to be. If it is the history there is no room for, the decisions are
// made without it.
func (l *Loop) write(names []string, turns map[string]*turn) error {
	var whole, bare state.Batch
	var saved []string
	for _, name := range names {
		if t := turns[name]; t.save {
			saved = append(saved, name)
			whole.Put(stateBucket, name, l.rollouts[name].State)
			bare.Put(stateBucket, name, l.rollouts[name].State)
			for _, n := range t.kept {
				whole.Append(historyBucket, name, n, historyKept)
			}
		}
	}
	if len(saved) == 0 {
		return nil
	}
	err := l.store.Commit(&whole)
	if errors.Is(err, state.ErrFull) {
		l.failed(err)
		err = l.store.Commit(&bare)
	} else if err == nil {
		l.problem = ""
	}
	if err == nil {
		for _, name := range saved {
			delete(l.unsaved, name)
		}
	}
	return err
}

// undo takes the turns back that could not be written down, and returns the others. The error is nil if
// all of those that count were kept.
func (l *Loop) undo(names []string, turns map[string]*turn, err error) ([]string, error) {
	var undone error
	kept := slices.DeleteFunc(names, func(name string) bool {
		t := turns[name]
		switch {
		case !t.save:
			return false
		case t.retreat:
			l.unsaved[name] = append(make([]Entry, 0, len(t.kept)), t.kept...)
			return false
		}
		undone = err
		if errors.Is(err, state.ErrHangs) && l.unsaved[name] == nil { // it may come to be there
			l.unsaved[name] = []Entry{}
		}
		l.rollouts[name] = t.was
		if t.was.plan == nil && t.was.Run == 0 {
			delete(l.rollouts, name) // as if it had not been seen
		}
		return true
	})
	return kept, undone
}
