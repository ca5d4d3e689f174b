package rollout

import (
	"time"

	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// Status is what people are told of a Rollout.
type Status struct {
	Name       string             `json:"name"`
	Phase      Phase              `json:"phase"`
	Since      time.Time          `json:"since,omitzero"` // the phase
	Strategy   translate.Strategy `json:"strategy,omitempty"`
	Stable     string             `json:"stable,omitempty"`
	Canary     string             `json:"canary,omitempty"`
	Subject    model.Hash         `json:"subject,omitempty"`
	Run        uint64             `json:"run"`
	Began      time.Time          `json:"began,omitzero"` // the run
	Generation uint64             `json:"generation"`
	Share      model.Share        `json:"share"` // of the canary, of what both arms have
	Stage      int                `json:"stage"` // from 1; 0: none
	Stages     []StageStatus      `json:"stages,omitempty"`
	// Elapsed is how much of the stage has been observed.
	Elapsed string `json:"elapsed,omitempty"`
	// Blocking is what blocks the next stage, or has ended the run.
	Blocking  *Signal            `json:"blocking,omitempty"`
	Trip      *model.ReleaseTrip `json:"trip,omitempty"`
	Gates     []GateResult       `json:"gates,omitempty"` // of the last round; those that were not asked are absent
	Approvals []Approval         `json:"approvals,omitempty"`
	Freeze    *Freeze            `json:"freeze,omitempty"`
	// Figures are of the present stage, or of the last one of a run that is over.
	Figures *Figures `json:"figures,omitempty"`
	// Notes say what may have spoilt the comparison in this run.
	Notes   []string     `json:"notes,omitempty"`
	Problem string       `json:"problem,omitempty"` // why nothing can be decided: the state cannot be written
	Unsaved bool         `json:"unsaved,omitempty"` // proxies know of it, and the disk does not yet
	Decided string       `json:"decided,omitempty"` // what takes effect as soon as a slow disk has it
	Origin  model.Origin `json:"origin,omitzero"`
}

// StageStatus is one stage of a plan.
type StageStatus struct {
	Share model.Share `json:"share"`
	For   string      `json:"for,omitempty"`
}

// Status says how far the Rollout is.
func (r *Rollout) Status() Status {
	s := Status{
		Name: r.Name, Phase: r.Phase, Since: r.PhaseBegan, Stable: r.Stable, Canary: r.Canary, Subject: r.Subject,
		Run: r.Run, Began: r.Began, Generation: r.Generation, Share: model.Share(r.Share), Stage: r.stageNumber(),
		Blocking: r.Signal, Trip: r.Trip, Gates: r.Verdicts, Approvals: r.Approvals, Freeze: r.freeze, Notes: r.Notes,
	}
	if s.Figures = r.Last; r.Phase.running() {
		s.Figures = r.Figures()
		s.Elapsed = r.Elapsed.Round(time.Second).String()
	}
	if p := r.plan; p != nil {
		s.Strategy, s.Origin = p.Strategy, p.Origin
		for _, stage := range stages(p) {
			shown := StageStatus{Share: model.Share(stage.Share)}
			if stage.For > 0 {
				shown.For = stage.For.String()
			}
			s.Stages = append(s.Stages, shown)
		}
	}
	return s
}
