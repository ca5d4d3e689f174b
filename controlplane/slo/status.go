package slo

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"weir.dev/weir/model"
)

// State is how an objective is kept.
type State string

// The states, the worst first.
const (
	Exhausted State = "Exhausted" // more requests were bad than the window allows
	Burning   State = "Burning"   // too many are, for too long
	NoData    State = "NoData"    // nobody can tell: there were no requests, or the series cannot be read
	Healthy   State = "Healthy"
)

// Status is how one objective stands. What nobody can tell is absent.
type Status struct {
	Name      string       `json:"name" doc:"namespace/name of the ServiceLevelObjective"`
	Indicator string       `json:"indicator" doc:"availability, or latency"`
	Below     string       `json:"below,omitempty" doc:"of latency: how long a good request takes at most"`
	Estimated bool         `json:"estimated,omitempty" doc:"below is inside a bucket of durations, whose requests count in proportion"`
	Objective float64      `json:"objective" doc:"the share of requests that is to be good, 0 to 1"`
	Window    string       `json:"window"`
	Targets   []string     `json:"targets" doc:"as written: Kind namespace/name"`
	Routes    []string     `json:"routes,omitempty"`
	Clusters  []string     `json:"clusters,omitempty"`
	State     State        `json:"state" doc:"Healthy, Burning, Exhausted or NoData"`
	Severity  Severity     `json:"severity,omitempty" doc:"of Burning: page or ticket"`
	Reason    string       `json:"reason" doc:"one sentence with numbers"`
	Since     time.Time    `json:"since" doc:"when the state began"`
	Until     *time.Time   `json:"until,omitempty" doc:"of Burning and Exhausted: what made it so no longer holds, and at this time the state ends if it does not again"`
	Good      float64      `json:"good" doc:"requests in the window"`
	Bad       float64      `json:"bad"`
	Ratio     *float64     `json:"ratio,omitempty" doc:"share of good requests in the window"`
	Recent    *float64     `json:"recent,omitempty" doc:"share of good requests in the shortest of the long windows of burns"`
	Budget    *Budget      `json:"budget,omitempty"`
	Burns     []Burn       `json:"burns"`
	Freezes   bool         `json:"freezes" doc:"whether Rollouts wait while it burns or is exhausted"`
	Frozen    bool         `json:"frozen" doc:"whether they wait now"`
	Rollouts  []string     `json:"rollouts,omitempty" doc:"those that have a route or backend of it"`
	Problem   string       `json:"problem,omitempty" doc:"why it does not cover what is written, or what it says is of a while ago"`
	At        model.Origin `json:"at"`
}

// Budget is the requests that may be bad in the window, of as many as there were.
type Budget struct {
	Allowed   float64 `json:"allowed" doc:"how many requests may be bad"`
	Spent     float64 `json:"spent" doc:"share of them that were; above 1 when it is exhausted"`
	Remaining float64 `json:"remaining" doc:"1 less spent; below 0 when it is exhausted"`
}

// Burn is how a BurnWindow stands.
type Burn struct {
	Severity  Severity `json:"severity"`
	Long      string   `json:"long"`
	Short     string   `json:"short"`
	Factor    float64  `json:"factor" doc:"above which it burns, in both"`
	LongBurn  *float64 `json:"longBurn,omitempty" doc:"how many times too fast the budget burns over the long window"`
	ShortBurn *float64 `json:"shortBurn,omitempty"`
	Burning   bool     `json:"burning" doc:"whether the alert is on"`
	// Until is there from when the condition no longer holds.
	Until *time.Time `json:"until,omitempty" doc:"of an alert that is on: its condition no longer holds, and at this time it ends if it does not again"`
}

// events are requests in a window.
type events struct{ good, bad float64 }

func (e events) total() float64 { return e.good + e.bad }

// usable reports whether anything can be said by these.
func (e events) usable() bool {
	return !math.IsNaN(e.total()) && !math.IsInf(e.total(), 0) && e.total() > 0
}

// ratio is the share of good ones, nil if nobody can tell.
func (e events) ratio() *float64 {
	if !e.usable() {
		return nil
	}
	r := e.good / e.total()
	return &r
}

// burn is how many times faster than allowed the budget burns, nil if nobody can tell.
func (e events) burn(allowed float64) *float64 {
	if !e.usable() {
		return nil
	}
	b := e.bad / e.total() / allowed
	return &b
}

// budget is what a window's events leave of what is allowed.
func (e events) budget(allowed float64) *Budget {
	if !e.usable() {
		return nil
	}
	spent := e.bad / (e.total() * allowed)
	return &Budget{Allowed: e.total() * allowed, Spent: spent, Remaining: 1 - spent}
}

// judge fills in what follows from the events of each window, and from what was so shortly before. of
// gives a window's events, and false if the series cannot be read; whole are those of the objective's own window, which is known if they
// could be read.
func (s *Status) judge(windows []BurnWindow, before *alerts, of func(time.Duration) (events, bool), whole events, known bool, allowed float64, now time.Time) {
	s.Good, s.Bad, s.Ratio, s.Budget = whole.good, whole.bad, whole.ratio(), whole.budget(allowed)
	if s.Budget == nil {
		s.Good, s.Bad = 0, 0
	}
	s.burn(windows, before, of, allowed, now)
	spent := s.Budget != nil && s.Budget.Remaining < 0
	exhausted, until := before.exhausted.see(now, spent, known, windows[0].Long)
	var worst *Burn
	for i := range s.Burns { // the most severe come first; of those, one that holds
		b := &s.Burns[i]
		if b.Burning && (worst == nil || worst.Severity == b.Severity && worst.Until != nil && b.Until == nil) {
			worst = b
		}
	}
	if s.Severity = ""; worst != nil {
		s.Severity = worst.Severity
	}
	switch {
	case s.Budget == nil:
		s.State, s.Reason = NoData, "no requests in "+s.Window
	case spent:
		s.State, s.Reason = Exhausted, fmt.Sprintf("%s of %s requests were bad in %s, and %s may be", count(whole.bad), count(whole.total()), s.Window, count(s.Budget.Allowed))
	case exhausted && (worst == nil || worst.Until != nil): // what burns now is worse than what did
		s.State, s.Until = Exhausted, until
		s.Reason = fmt.Sprintf("%s of the budget is left again; this ends at %s if it stays so", percent(s.Budget.Remaining), clock(*until))
	case worst != nil && worst.Until != nil:
		s.State, s.Until = Burning, ends(s.Burns)
		s.Reason = fmt.Sprintf("the budget no longer burns more than %s times too fast over both %s and %s; this ends at %s if it stays so",
			number(worst.Factor), worst.Long, worst.Short, clock(*worst.Until))
	case worst != nil:
		s.State, s.Until = Burning, ends(s.Burns)
		s.Reason = fmt.Sprintf("the budget burns %s times too fast over %s and %s times over %s; more than %s is too fast",
			number(*worst.LongBurn), worst.Long, number(*worst.ShortBurn), worst.Short, number(worst.Factor))
	default:
		s.State, s.Reason = Healthy, fmt.Sprintf("%s of the budget is left", percent(s.Budget.Remaining))
	}
}

// burn fills in how each alert stands.
func (s *Status) burn(windows []BurnWindow, before *alerts, of func(time.Duration) (events, bool), allowed float64, now time.Time) {
	s.Burns = nil
	for i, w := range windows {
		long, knownLong := of(w.Long)
		short, knownShort := of(w.Short)
		b := Burn{
			Severity: w.Severity, Long: promDuration(w.Long), Short: promDuration(w.Short), Factor: w.Factor,
			LongBurn: long.burn(allowed), ShortBurn: short.burn(allowed),
		}
		if i == 0 {
			s.Recent = long.ratio()
		}
		holds := b.LongBurn != nil && b.ShortBurn != nil && *b.LongBurn > w.Factor && *b.ShortBurn > w.Factor
		b.Burning, b.Until = before.of(w).see(now, holds, knownLong && knownShort, w.Keep())
		s.Burns = append(s.Burns, b)
	}
}

// ends is when the last of the alerts that are on ends; nil if the condition of one holds.
func ends(burns []Burn) *time.Time {
	var last *time.Time
	for i := range burns {
		switch b := &burns[i]; {
		case b.Burning && b.Until == nil:
			return nil
		case b.Burning && (last == nil || b.Until.After(*last)):
			last = b.Until
		}
	}
	return last
}

// clock writes a moment that is not far away.
func clock(at time.Time) string { return at.UTC().Format("15:04:05 UTC") }

func number(v float64) string {
	if v >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(rounded(v), 'g', 3, 64)
}

// count writes a number of requests, which may have been added up from parts of some.
func count(v float64) string {
	if v < 10 {
		return strconv.FormatFloat(v, 'g', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}

func percent(v float64) string { return strconv.FormatFloat(100*v, 'f', 1, 64) + "%" }
