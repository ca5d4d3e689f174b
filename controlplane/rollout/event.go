package rollout

import (
	"time"

	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// Event is what has happened. One field is set; none: only time has passed.
type Event struct {
	Plan        *translate.RolloutPlan // it is new or has changed; delivered again it changes nothing
	Gone        bool                   // the Rollout was deleted
	Observation *model.ReleaseObservation
	Round       *RoundResult
	Command     *Command
	Freeze      *Freeze
}

// Command is what somebody wants.
type Command struct {
	Do     Verb
	By     string   // who
	Groups []string // that they are in
	Reason string
	Gate   string // of Approve; empty: the only one that waits
	// OverrideFreeze is why a freeze is to be disregarded, of Start and Promote; empty: it is not.
	OverrideFreeze string
}

// Verb is what a command does.
type Verb string

// The verbs.
const (
	Start   Verb = "start"   // a new run at stage one
	Promote Verb = "promote" // enter the next stage now: time, requests and gates are not waited for
	Pause   Verb = "pause"   // stay at the present share
	Resume  Verb = "resume"
	Abort   Verb = "abort"   // give everything back to stable
	Finish  Verb = "finish"  // what is live is to be written down
	Approve Verb = "approve" // a gate
)

// Verbs are all of them.
var Verbs = []Verb{Start, Promote, Pause, Resume, Abort, Finish, Approve}

// Freeze says that nothing may get a greater share for now, and whose doing that is. Of its zero value
// everything may.
type Freeze struct {
	Owner  string `json:"owner"` // namespace/name of the ServiceLevelObjective
	Reason string `json:"reason"`
}

// Do is what an action does.
type Do string

// What actions do.
const (
	Save   Do = "save"   // State must be durable before what follows is done
	Note   Do = "note"   // Entry belongs to the history, together with Save
	Tune   Do = "tune"   // proxies get Knob
	Ask    Do = "ask"    // gates, whose answer is to come back as a RoundResult
	Refuse Do = "refuse" // the command: Refusal says why
)

// Action is what is to be done.
type Action struct {
	Do Do
	// Retreat, of Save: the canary gets less or no more, which must not wait for a disk.
	Retreat bool
	Entry   *Entry
	Round   *Round
	Refusal string
}

// Entry is one line of the history of a Rollout.
type Entry struct {
	At         time.Time   `json:"at"`
	Run        uint64      `json:"run"`
	Generation uint64      `json:"generation"`
	Stage      int         `json:"stage"` // from 1; 0: none
	Share      model.Share `json:"share"` // after it
	What       string      `json:"what"`
	Who        string      `json:"who"` // a person, rollout, configuration or proxy
	Why        string      `json:"why,omitempty"`
	Numbers    string      `json:"numbers,omitempty"` // of both arms, before it
}

// Verdict is what a gate says.
type Verdict string

// The verdicts.
const (
	Pass         Verdict = "Pass"
	Fail         Verdict = "Fail"
	Inconclusive Verdict = "Inconclusive" // it was asked, and there is not enough to say
	Error        Verdict = "Error"        // it could not be asked, or its answer makes no sense
)

// GateResult is what became of a gate.
type GateResult struct {
	Gate    string    `json:"gate"`
	Verdict Verdict   `json:"verdict"`
	Message string    `json:"message"` // one sentence, with numbers
	At      time.Time `json:"at,omitzero"`
}

// Round asks the gates of a plan once. Those that people approve are not asked.
type Round struct {
	Run        uint64
	Generation uint64
	Number     uint64
	Gates      []translate.PlannedGate
	Ask        Question
}

// Question is what a gate is told.
type Question struct {
	Rollout   string      `json:"rollout"`
	Run       uint64      `json:"run"`
	Stage     int         `json:"stage"`     // from 1; the present one
	Share     model.Share `json:"share"`     // of the canary
	NextShare model.Share `json:"nextShare"` // that it is to get
	Stable    string      `json:"stable"`
	Canary    string      `json:"canary"`
}

// RoundResult is what became of a Round.
type RoundResult struct {
	Run, Generation, Number uint64
	Results                 []GateResult
}
