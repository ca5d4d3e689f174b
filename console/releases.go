package console

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"weir.dev/weir/controlplane/rollout"
	"weir.dev/weir/model"
)

// Releases tells how far each Rollout is, and has people move them.
type Releases interface {
	Rollouts() []rollout.Status
	// RolloutHistory is what happened to one, the oldest first.
	RolloutHistory(name string) []rollout.Entry
	// CommandRollout is ErrUnknown of package rollout, or a *Refusal of it, where it cannot be done.
	CommandRollout(ctx context.Context, name string, c rollout.Command) error
	// RolloutPatch is what to change in the written configuration so that it says what is live; empty:
	// it does already, or the Rollout has not succeeded.
	RolloutPatch(name string) string
	// Observations are what the proxies of this process see.
	Observations() []model.ReleaseObservation
}

type rolloutCommandView struct {
	Name           string       `json:"name" doc:"namespace/name of the Rollout"`
	Do             rollout.Verb `json:"do" doc:"start, promote, pause, resume, abort, finish or approve"`
	Gate           string       `json:"gate,omitempty" doc:"of approve, where several wait"`
	Reason         string       `json:"reason,omitempty"`
	OverrideFreeze string       `json:"overrideFreeze,omitempty" doc:"why a freeze by a ServiceLevelObjective is disregarded"`
}

type rolloutDoneView struct {
	Done   string          `json:"done"`
	Status *rollout.Status `json:"status,omitempty"`
	Patch  string          `json:"patch,omitempty" doc:"of finish: what to change in the written configuration"`
}

type rolloutHistoryView struct {
	Revision uint64          `json:"revision"`
	Items    []rollout.Entry `json:"items"`
}

func (c *Console) releaseEndpoints(get func(path, summary string, parameters []parameter, answer any, handle http.HandlerFunc, problems ...int) endpoint) []endpoint {
	which := []parameter{{"name", "string", "namespace/name of the Rollout; without it there is nothing"}}
	return []endpoint{
		get("/api/v1/rollouts", "Rollouts: how far each is, both arms, the evidence, and what blocks it; those under way first.", join(paging, byName, []parameter{
			{"phase", "string", "as in Progressing, Holding, Aborted"},
		}), list[rollout.Status]{}, c.serveRollouts, 400),
		get("/api/v1/rollouts/history", "What happened to a Rollout, who did it and why.", which, rolloutHistoryView{}, c.serveRolloutHistory, 400, 404),
		get("/api/v1/rollouts/evidence", "Both arms of a Rollout and its evidence over the last ten minutes.",
			join(which, historyParameters[len(historyParameters)-1:]), evidenceView{}, c.serveEvidence, 400, 404),
		{
			method: "POST", path: "/api/v1/rollouts", summary: "Starts, promotes, pauses, resumes, aborts, finishes or approves.",
			body: rolloutCommandView{}, status: 200, answer: rolloutDoneView{}, media: "application/json",
			problems: []int{400, 404, 409, 413}, mutation: true, handle: c.commandRollout,
		},
	}
}

// phaseRanks puts what wants attention first.
var phaseRanks = map[rollout.Phase]string{
	rollout.Holding: "0", rollout.Progressing: "1", rollout.Paused: "2", rollout.Aborted: "3",
	rollout.Waiting: "4", rollout.Succeeded: "5", rollout.Finished: "6", rollout.Gone: "7",
}

func (c *Console) serveRollouts(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p, ok := pageOf(w, q)
	if !ok {
		return
	}
	var items []keyed[rollout.Status]
	for _, s := range c.cfg.Releases.Rollouts() {
		if fits(q, "phase", string(s.Phase)) && named(q, s.Name) {
			items = append(items, keyed[rollout.Status]{phaseRanks[s.Phase] + s.Name, s})
		}
	}
	serveList(c, w, p, sorted(items), func(s rollout.Status) rollout.Status { return s })
}

// rolloutNamed answers for a Rollout that is not there.
func (c *Console) rolloutNamed(w http.ResponseWriter, name string) *rollout.Status {
	var names []string
	for _, s := range c.cfg.Releases.Rollouts() {
		if s.Name == name {
			return &s
		}
		names = append(names, s.Name)
	}
	detail := "there is none at all"
	if len(names) > 0 {
		detail = "there are " + strings.Join(names[:min(len(names), 20)], ", ")
	}
	problem{
		Status: http.StatusNotFound, Title: "no Rollout " + name, Where: "name", Detail: detail,
		Remedy: "give namespace/name; weir lint says why one that is written is not accepted",
	}.write(w)
	return nil
}

func (c *Console) serveRolloutHistory(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("name")
	if name != "" && c.rolloutNamed(w, name) == nil {
		return
	}
	s, _ := c.cfg.Live.Snapshot()
	answer(w, rolloutHistoryView{Revision: revisionOf(s), Items: append([]rollout.Entry{}, c.cfg.Releases.RolloutHistory(name)...)})
}

func revisionOf(s *model.Snapshot) uint64 {
	if s == nil {
		return 0
	}
	return s.Revision
}

func (c *Console) commandRollout(w http.ResponseWriter, r *http.Request) {
	var body rolloutCommandView
	if !readBody(w, r, &body, problem{
		Status: http.StatusBadRequest, Title: "which Rollout", Where: "request body",
		Remedy: `send {"name": "namespace/name", "do": "promote"}`,
	}) {
		return
	}
	if c.rolloutNamed(w, body.Name) == nil {
		return
	}
	who := PrincipalOf(r.Context())
	err := c.cfg.Releases.CommandRollout(context.WithoutCancel(r.Context()), body.Name, rollout.Command{
		Do: body.Do, By: who.Name, Groups: who.Groups, Reason: body.Reason, Gate: body.Gate, OverrideFreeze: body.OverrideFreeze,
	})
	var refused *rollout.Refusal
	switch {
	case errors.As(err, &refused):
		problem{Status: http.StatusConflict, Title: "not possible now", Where: body.Name, Detail: refused.Error(), Remedy: "see weir rollout status " + body.Name}.write(w)
		return
	case err != nil:
		problem{Status: http.StatusInternalServerError, Title: "it did not work", Where: body.Name, Detail: err.Error(), Remedy: "look at the log"}.write(w)
		return
	}
	done := rolloutDoneView{Done: string(body.Do)}
	for _, s := range c.cfg.Releases.Rollouts() {
		if s.Name == body.Name {
			done.Status = &s
		}
	}
	if body.Do == rollout.Finish {
		done.Patch = c.cfg.Releases.RolloutPatch(body.Name)
	}
	answer(w, done)
}
