package slo

import "time"

// alerts are the alerts of an objective.
type alerts struct {
	burns     map[BurnWindow]*alert
	exhausted alert
}

// of returns the alert of a condition of burning.
func (a *alerts) of(w BurnWindow) *alert {
	if a.burns == nil {
		a.burns = map[BurnWindow]*alert{}
	}
	if a.burns[w] == nil {
		a.burns[w] = &alert{}
	}
	return a.burns[w]
}

// alert is on at once when its condition holds, and stays on for a while after, as Prometheus's
// keep_firing_for has it: a condition that comes and goes is one alert.
//
//	        it holds               it does not
//	off ─────────────► on ◄──────────────────────► on, since it does not: quiet
//	 ▲                          it holds again                  │
//	 └───────────────── quiet for as long as keep ──────────────┘
//
// What nobody can tell changes nothing.
type alert struct {
	on    bool
	quiet time.Time // zero while the condition holds
}

// see takes note of whether the condition holds, if that is known, and returns whether the alert is on, and,
// if the condition no longer holds, when it goes off.
func (a *alert) see(now time.Time, holds, known bool, keep time.Duration) (on bool, until *time.Time) {
	switch {
	case holds:
		*a = alert{on: true}
	case a.on && known && (a.quiet.IsZero() || now.Before(a.quiet)): // a clock may go back
		a.quiet = now
	case a.on && known && now.Sub(a.quiet) >= keep:
		*a = alert{}
	}
	if a.on && !a.quiet.IsZero() {
		end := a.quiet.Add(keep)
		return true, &end
	}
	return a.on, nil
}
