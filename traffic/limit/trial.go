package limit

// trial finds out whether the latency that keeps the limit low comes from waiting in the
// service or from the service itself, by letting a quarter more in for a moment. It never lowers
// the limit.
//
//	rest ──── the limit holds requests back, and rests ────► base: latency as it is
//	 ▲                                                            │ trialSamples
//	 │ latency has grown by less than trialShare of the           ▼
//	 │ quarter: the long latency moves half way to it           more: latency with a quarter more
//	 ├────────────────────────────────────────────────────────────┤
//	 │ it has grown more, so it is waiting: rest twice as long    │
//	 └────────────────────────────────────────────────────────────┘
//
// The limit stands still while latency is measured.
// Whatever says that the limit is not too low, or that there are failures, ends it.
type trial struct {
	stage   stage
	windows int // in this stage
	rest    int // windows of the next rest
	limit   float64
	count   float64
	sum     float64
	base    float64 // latency before
}

type stage uint8

const (
	stageRest stage = iota
	stageBase
	stageMore
)

const (
	trialRest    = 20  // windows of the first rest
	trialLongest = 640 // and of the longest
	trialWindows = 12  // of each measurement, at least
	trialSamples = 1000
	trialLift    = 1.25
	trialShare   = 0.5
	trialSettle  = 3 // windows until those who came before have left
)

// try goes on with a trial, and reports whether it decides the limit of the next window.
func (g *Gradient) try(w *window, limit, gradient float64) bool {
	t := &g.trial
	if gradient == 1 || !w.near(limit) || w.dropped > 0 || w.peak > 1.1*limit+1 { // the last: it is not enforced
		rest := max(t.rest, trialRest)
		if gradient == 1 && t.stage != stageMore {
			rest = trialRest
		}
		*t = trial{rest: rest}
		return false
	}
	t.windows++
	switch t.stage {
	case stageRest:
		if t.windows >= max(t.rest, trialRest) && g.fall.rests() {
			t.measure(stageBase, limit)
		}
		return false
	case stageBase:
		if t.measured(w) {
			t.base = t.sum / t.count
			t.measure(stageMore, limit)
			g.set(max(limit*trialLift, limit+1))
		}
		return true
	case stageMore:
		if t.measured(w) {
			g.conclude(limit)
		}
		return true
	}
	return false
}

// measure begins a stage.
func (t *trial) measure(s stage, limit float64) {
	t.stage, t.windows, t.limit, t.count, t.sum = s, 0, limit, 0, 0
}

// measured adds a window to the measurement, and reports whether there are enough.
func (t *trial) measured(w *window) bool {
	if t.windows > trialSettle {
		t.count += w.count
		t.sum += w.sum
	}
	return t.windows >= trialWindows && t.count >= trialSamples
}

// conclude ends a trial.
func (g *Gradient) conclude(limit float64) {
	t := &g.trial
	more := t.sum / t.count
	grown, lifted := more/t.base-1, limit/t.limit-1
	rest := trialRest
	if grown < trialShare*lifted {
		g.long += (more - g.long) / 2
	} else {
		rest = min(2*max(t.rest, trialRest), trialLongest)
		g.set(t.limit)
	}
	*t = trial{rest: rest}
}
