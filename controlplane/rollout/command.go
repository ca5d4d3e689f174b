package rollout

import (
	"slices"
	"strings"
	"time"

	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// commanded does what somebody wants, or refuses it.
func (r *Rollout) commanded(c *Command) {
	if r.plan == nil {
		r.refused = "the Rollout is not there any more"
		return
	}
	do, known := verbs[c.Do]
	if !known {
		r.refused = sentence("%q is no command", c.Do)
		return
	}
	r.refused = do(r, c)
}

// verbs return why they refuse; empty: it is done.
var verbs = map[Verb]func(*Rollout, *Command) string{
	Start: (*Rollout).start, Promote: (*Rollout).promote, Pause: (*Rollout).pause, Resume: (*Rollout).resume,
	Abort: (*Rollout).abort, Finish: (*Rollout).finish, Approve: (*Rollout).approve,
}

// thawed says why a freeze forbids a command; empty: it does not.
func (r *Rollout) thawed(c *Command) string {
	if r.freeze != nil && strings.TrimSpace(c.OverrideFreeze) == "" {
		return r.freeze.signal().Message + "; to do it all the same say why (--override-freeze REASON)"
	}
	return ""
}

// because is the reason of a command, with that of an override.
func (r *Rollout) because(c *Command) string {
	if r.freeze == nil || strings.TrimSpace(c.OverrideFreeze) == "" {
		return c.Reason
	}
	why := sentence("in spite of the freeze of %s: %s", r.freeze.Owner, c.OverrideFreeze)
	if c.Reason != "" {
		why = c.Reason + "; " + why
	}
	return why
}

func (r *Rollout) start(c *Command) string {
	switch {
	case r.halt() != "":
		return "it cannot start: " + r.halt()
	case r.Phase.running():
		return sentence("run %d is under way (%s, %v): abort it first", r.Run, r.Phase, model.Share(r.Share))
	}
	if why := r.thawed(c); why != "" {
		return why
	}
	if r.Share > 0 {
		r.retreat = true
	}
	r.begin(c.By, r.because(c))
	return ""
}

func (r *Rollout) promote(c *Command) string {
	if !r.Phase.running() {
		return r.idle()
	}
	if why := r.thawed(c); why != "" {
		return why
	}
	if r.halt() != "" {
		return "it cannot go on: " + r.halt()
	}
	next := r.next()
	if next < 0 {
		r.succeed("promoted by " + c.By)
		return ""
	}
	why := r.because(c)
	if waits := r.waits(); waits != "" {
		why = strings.TrimPrefix(why+"; without waiting: "+waits, "; ")
	}
	r.to(next, c.By, why)
	return ""
}

// waits says what a promotion does not wait for; empty: nothing was left to wait for.
func (r *Rollout) waits() string {
	switch {
	case r.Elapsed < r.lasts():
		return sentence("the stage has lasted %v of %v", r.Elapsed.Round(100*time.Millisecond), r.lasts())
	case r.Signal != nil && r.Phase == Holding:
		return r.Signal.Name + ": " + r.Signal.Message
	}
	return ""
}

// idle says that no run is under way.
func (r *Rollout) idle() string {
	why := sentence("no run is under way: it is %s", r.Phase)
	if r.Signal != nil {
		why += " (" + r.Signal.Message + ")"
	}
	return why
}

func (r *Rollout) pause(c *Command) string {
	switch {
	case r.Phase == Paused:
		return "it is paused already"
	case !r.Phase.running():
		return r.idle()
	}
	r.asking, r.retreat = false, true
	r.enter(Paused, &Signal{"pause", "paused by " + c.By})
	r.note("paused", c.By, c.Reason)
	return ""
}

func (r *Rollout) resume(c *Command) string {
	if r.Phase != Paused {
		return sentence("it is not paused: it is %s", r.Phase)
	}
	r.enter(Progressing, nil)
	r.askedAt = r.clock - askEvery
	r.note("resumed", c.By, c.Reason)
	return ""
}

func (r *Rollout) abort(c *Command) string {
	switch {
	case r.Phase == Aborted:
		return "it is aborted already"
	case r.Phase == Finished:
		return "it is finished: what is written says what is live; change that"
	case !r.Phase.running() && r.Phase != Succeeded:
		return r.idle()
	}
	why := "aborted by " + c.By
	if c.Reason != "" {
		why += ": " + c.Reason
	}
	r.end(Aborted, "aborted", c.By, &Signal{"abort", why})
	r.notes[len(r.notes)-1].Why = c.Reason
	return ""
}

func (r *Rollout) finish(c *Command) string {
	switch {
	case r.Phase == Finished:
		return "" // the patch may be asked for again
	case r.Phase != Succeeded:
		return sentence("it has not succeeded: it is %s, with %v", r.Phase, model.Share(r.Share))
	}
	r.enter(Finished, nil)
	r.note("finished", c.By, c.Reason)
	return ""
}

func (r *Rollout) approve(c *Command) string {
	if !r.Phase.running() {
		return r.idle()
	}
	if r.next() < 0 {
		return "there is no stage left to approve"
	}
	open := slices.DeleteFunc(slices.Clone(r.plan.Gates), func(g translate.PlannedGate) bool { return len(g.Approval) == 0 })
	if len(open) == 0 {
		return "it has no gate that people approve"
	}
	at := slices.IndexFunc(open, func(g translate.PlannedGate) bool { return g.Name == c.Gate })
	switch {
	case at < 0 && c.Gate == "" && len(open) == 1:
		at = 0
	case at < 0:
		return sentence("it has no approval %q: %s", c.Gate, names(open))
	}
	gate := open[at]
	if !slices.ContainsFunc(gate.Approval, func(who string) bool { return who == "user:"+c.By || slices.Contains(c.Groups, who) }) {
		return sentence("%s may not approve %s: that is for %s", c.By, gate.Name, strings.Join(gate.Approval, " or "))
	}
	if slices.ContainsFunc(r.Approvals, func(a Approval) bool { return a.Gate == gate.Name }) {
		return ""
	}
	r.Approvals = append(r.Approvals, Approval{Gate: gate.Name, By: c.By, Reason: c.Reason, At: r.now})
	r.askedAt = r.clock - askEvery // the others are asked at once
	r.note("approved "+gate.Name, c.By, c.Reason)
	return ""
}

func names(gates []translate.PlannedGate) string {
	list := make([]string, 0, len(gates))
	for _, g := range gates {
		list = append(list, g.Name)
	}
	return strings.Join(list, ", ")
}
