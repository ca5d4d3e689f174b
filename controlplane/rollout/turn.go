package rollout

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"weir.dev/weir/controlplane/state"
	"weir.dev/weir/controlplane/translate"
)

// turn is what one Rollout has decided since all of them were settled last.
type turn struct {
	was                 *Rollout // before it
	kept                []Entry  // that the history is to get, earlier ones that it could not get among them
	said                []Entry  // of kept, those of this turn
	save, retreat, tune bool
	ask                 *Round

	next *Rollout // after it, once it is on disk; nil: it does not wait for that
	over bool     // the canary was held, or something taken from it, since: next is not to be any more
}

// writing is what the disk has begun to write and not written in time.
type writing struct {
	done  <-chan error
	turns map[string]*turn
	began time.Time
}

// restOf is how many times as long as it took to write the last time a slow disk is not given mere figures, so
// that there is nearly always room for a decision; maxRest is how long that may be.
const (
	restOf  = 10
	maxRest = time.Minute
)

// figures reports whether nothing but figures is to be written of a turn.
func (t *turn) figures() bool { return !t.tune && !t.retreat && len(t.kept) == 0 }

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
// canary, or holds it, is done before, whatever the disk does. What a slow disk is still writing is done by land.
func (l *Loop) settle() error {
	turns := l.turns
	l.turns = map[string]*turn{}
	names := slices.Sorted(maps.Keys(turns))
	if slices.ContainsFunc(names, func(name string) bool { return turns[name].tune && turns[name].retreat }) {
		l.tune(turns)
	}
	err := l.write(names, turns)
	if err != nil {
		names, err = l.undo(names, turns, err)
	}
	l.perform(names, turns)
	return err
}

// perform does what turns have decided.
func (l *Loop) perform(names []string, turns map[string]*turn) {
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
}

// land does what a slow disk has written by now.
func (l *Loop) land() {
	if l.writing == nil {
		return
	}
	var err error
	select {
	case err = <-l.writing.done:
	default:
		return
	}
	turns := l.writing.turns
	l.rest = time.Now().Add(min(restOf*time.Since(l.writing.began), maxRest))
	l.writing = nil
	if err != nil {
		l.failed(err)
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(turns)) {
		t := turns[name]
		switch waits := l.unsaved[name]; {
		case err != nil:
			l.unsaved[name] = append(make([]Entry, 0, len(waits)), waits...) // to be written again
		case t.over:
			l.unsaved[name] = waits[min(len(waits), t.waiting()):]
		default:
			delete(l.unsaved, name)
		}
		if t.next == nil {
			continue
		}
		if why := l.outlived(name, t, err); why != "" {
			l.withdraw(name, t, why)
		} else {
			l.rollouts[name] = t.next
			names = append(names, name)
		}
	}
	if err == nil && len(l.unsaved) == 0 {
		l.problem = ""
	}
	l.perform(names, turns)
}

// outlived says why what the disk was slow to write is not to be any more: something came in between that
// the decision did not know of. Empty: it is to be.
func (l *Loop) outlived(name string, t *turn, err error) string {
	i := slices.IndexFunc(l.plans, func(p translate.RolloutPlan) bool { return p.Name == name })
	switch {
	case err != nil:
		return err.Error()
	case t.over:
		return "what was decided since comes first"
	case i < 0 && t.next.Phase != Gone:
		return "there is no such Rollout any more"
	case i >= 0 && (t.next.plan == nil || !reflect.DeepEqual(*t.next.plan, l.plans[i])):
		return "what is written has changed since"
	case l.cfg.Objectives != nil && t.next.freeze == nil && t.next.Share > t.was.Share:
		if _, reason, frozen := l.cfg.Objectives.Frozen(name); frozen {
			return "it is frozen since: " + reason
		}
	}
	return ""
}

// withdraw takes back what proxies have not heard of. What was before is to be on disk again, and the history says
// what came to nothing.
func (l *Loop) withdraw(name string, t *turn, why string) {
	if l.rollouts[name] == nil {
		l.rollouts[name] = t.was
	}
	list := make([]Entry, 0, len(l.unsaved[name])+1)
	list = append(list, l.unsaved[name]...)
	if n := len(t.said); n > 0 {
		var whats []string
		for _, e := range t.said {
			whats = append(whats, e.What)
		}
		was, last := t.was.clone(), t.said[n-1]
		was.step = step{now: time.Now()}
		was.note("withdrawn", byRollout, sentence("%s, share %v, by %s, was not on disk in time: %s", strings.Join(whats, ", "), last.Share, last.Who, why))
		if e := was.notes[0]; len(list) == 0 || list[len(list)-1].Why != e.Why { // a disk that fails again says nothing new
			list = append(list, e)
			l.say(name, &e)
		}
	}
	l.unsaved[name] = list
}

// waiting is how many of the entries that a turn keeps are unsaved ones while it is being written.
func (t *turn) waiting() int {
	if t.retreat {
		return len(t.kept)
	}
	return len(t.kept) - len(t.said)
}

// write writes the turns that have to be. If it is the history there is no room for, the decisions are
// made without it.
func (l *Loop) write(names []string, turns map[string]*turn) error {
	var whole, bare state.Batch
	var saved []string
	for _, name := range names {
		t := turns[name]
		if _, waits := l.unsaved[name]; t.save && !waits && t.figures() && time.Now().Before(l.rest) {
			t.save = false
		}
		if t.save {
			saved = append(saved, name)
			whole.Put(stateBucket, name, l.rollouts[name].State)
			bare.Put(stateBucket, name, l.rollouts[name].State)
			for _, n := range t.kept {
				whole.Append(historyBucket, name, n, historyKept)
			}
		}
	}
	decided := slices.ContainsFunc(saved, func(name string) bool { return !turns[name].figures() })
	switch {
	case len(saved) == 0:
		return nil
	case l.writing != nil: // it may be through by now: what was decided without it is not to follow it
		if decided {
			l.failed(state.ErrHangs)
		}
		return fmt.Errorf("what came earlier is not on disk yet, try again: %w", state.ErrHangs)
	}
	err := l.store.Commit(&whole)
	if errors.Is(err, state.ErrFull) {
		l.failed(err)
		err = l.store.Commit(&bare)
	} else if err == nil {
		l.problem, l.told = "", ""
	}
	if err != nil {
		if _, slow := errors.AsType[*state.Slow](err); decided || !slow {
			l.failed(err)
		}
		return err
	}
	for _, name := range saved {
		delete(l.unsaved, name)
	}
	return nil
}

// undo takes the turns back that could not be written down, and returns the others. The error is nil if
// all of those that count were kept, or are being written still.
func (l *Loop) undo(names []string, turns map[string]*turn, err error) ([]string, error) {
	slow, isSlow := errors.AsType[*state.Slow](err)
	var undone error
	kept := slices.DeleteFunc(names, func(name string) bool {
		t := turns[name]
		switch {
		case !t.save:
			return false
		case t.retreat:
			l.unsaved[name] = append(make([]Entry, 0, len(t.kept)), t.kept...)
			if l.writing != nil && l.writing.turns[name] != nil {
				l.writing.turns[name].over = true
			}
			return false
		case isSlow && t.figures():
			return false
		case isSlow:
			t.next = l.rollouts[name]
		default:
			undone = err
		}
		l.rollouts[name] = t.was
		if t.was.plan == nil && t.was.Run == 0 {
			delete(l.rollouts, name) // as if it had not been seen
		}
		return true
	})
	if isSlow {
		l.writing = &writing{slow.Done, maps.Clone(turns), time.Now().Add(-state.Patience)}
		maps.DeleteFunc(l.writing.turns, func(_ string, t *turn) bool { return !t.save })
	}
	return kept, undone
}
