package guard

import (
	"fmt"
	"math"
	"sync/atomic"

	"weir.dev/weir/model"
)

// recent is how stable has answered of late: about the last so many times.
type recent struct {
	window   float64
	before   counted
	all, bad float64
}

// see takes all answers of stable until now.
func (r *recent) see(stable counted) {
	news := stable - r.before
	if news == 0 {
		return
	}
	r.before = stable
	fade := math.Exp(-float64(news.all()) / r.window)
	// Of more answers than the window holds there are as many as it holds.
	weight := min(1, r.window/float64(max(news.all(), 1)))
	r.all = r.all*fade + float64(news.all())*weight
	r.bad = r.bad*fade + float64(news.bad())*weight
}

func (r *recent) share() float64 { return r.bad / max(r.all, 1) }

// health is whether stable's answers say that it is well.
type health struct {
	recent
	unhealthy bool
}

const (
	healthWindow = 100
	rowWindow    = 20
	enough       = 10 // answers that there have to be before stable can be unhealthy
	sick         = 0.1
	well         = 0.05 // below that it is well again
)

func (h *health) see(stable counted) {
	h.recent.see(stable)
	switch share := h.share(); {
	case h.all < enough || share < well:
		h.unhealthy = false
	case share >= sick:
		h.unhealthy = true
	}
}

// row counts the canary's failures that follow one another, beside what stable answers meanwhile.
// One user alone makes no row that counts, as users come in bursts.
type row struct {
	limit   int // 0: off
	count   atomic.Int64
	user    uint16 // of the first of them
	several bool   // others have come since
	since   int64  // when the first of them came
	begun   counted
	stable  recent
}

// add takes an answer of the canary that came at a time, beside all answers of stable until now, and says whether the
// row is long enough. A good one that came before the row began does not break it, though it is heard of later. It counts only beside a stable that does better: with half as many answers
// since it began, and a tenth of these failed at most, nor of the last twenty or so. A row of one is
// as long as it is, and only the latter counts.
func (r *row) add(user uint16, at int64, failed bool, stable counted, unhealthy bool) (trip bool) {
	if !failed && !unhealthy && at < r.since {
		return false
	}
	if !failed || unhealthy || r.limit == 0 {
		r.count.Store(0)
		return false
	}
	if r.count.Load() == 0 {
		r.user, r.several, r.begun, r.since = user, false, stable, at
	}
	r.several = r.several || user != r.user
	return int(r.count.Add(1)) >= r.limit && (r.several || r.limit == 1) && r.beside(stable)
}

func (r *row) beside(stable counted) bool {
	if r.limit == 1 { // then nothing comes while it lasts
		return r.stable.all > 0 && r.stable.share() <= sick
	}
	news := stable - r.begun
	return int(news.all()) >= (r.limit+1)/2 && float64(news.bad()) <= sick*float64(news.all()) && r.stable.share() <= sick
}

func (r *row) observation() model.TestObservation {
	return model.TestObservation{
		Name: "consecutiveFailures", Evidence: float64(r.count.Load()), Boundary: float64(r.limit),
		Detail: "answers of the canary that failed one after another",
	}
}

func (r *row) reason(stable counted) string {
	news := stable - r.begun
	return fmt.Sprintf("%d answers of the canary failed one after another, and %d of %d of stable's meanwhile", r.count.Load(), news.bad(), news.all())
}
