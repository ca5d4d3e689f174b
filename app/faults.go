package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"weir.dev/weir/console"
	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// faultControl keeps which faults are stopped, by model.Fault.Key.
type faultControl struct {
	log    *slog.Logger
	faults func() []model.FaultState
	tune   func() error                     // has engines get the knobs, with stopped among them
	keep   func(map[string]faultStop) error // makes them outlive the process

	orders sync.Mutex // held while one is carried out: engines get them in their order
	mu     sync.Mutex
	stops  map[string]faultStop
}

// faultStop is why a fault is stopped, and until when that is of interest.
type faultStop struct {
	console.Stop
	Expires time.Time `json:"expires"` // of the fault
}

// forgetAfter is how long a stop outlives the fault that it stopped: by so much may a clock be set
// back without the fault acting again.
const forgetAfter = 24 * time.Hour

// stopped returns the keys of what is stopped, sorted.
func (f *faultControl) stopped() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.stops))
}

// restore takes over what was kept, and has engines stop it.
func (f *faultControl) restore(stops map[string]faultStop) error {
	f.orders.Lock()
	defer f.orders.Unlock()
	f.mu.Lock()
	for key, stop := range stops {
		if _, newer := f.stops[key]; !newer {
			f.put(key, stop)
		}
	}
	f.mu.Unlock()
	return f.tune()
}

// put has a fault stopped. The lock is held.
func (f *faultControl) put(key string, stop faultStop) {
	if f.stops == nil {
		f.stops = map[string]faultStop{}
	}
	f.stops[key] = stop
}

// stop carries out an order and returns how many live faults it named. The engines come first:
// what cannot be kept is stopped all the same, for as long as the process lasts.
func (f *faultControl) stop(o console.FaultOrder) (int, error) {
	f.orders.Lock()
	defer f.orders.Unlock()
	named, stops := f.change(o)
	if named == 0 {
		return 0, nil
	}
	f.log.LogAttrs(context.Background(), slog.LevelWarn, "faults are ordered", slog.Bool("stopped", !o.Resume), slog.String("by", o.Stop.By),
		slog.String("reason", o.Stop.Reason), slog.Any("policies", o.Policies), slog.Int("faults", named))
	err := f.tune()
	if err != nil {
		err = fmt.Errorf("stop faults: %w", err)
	}
	if problem := f.keep(stops); problem != nil {
		err = errors.Join(err, fmt.Errorf("what was ordered will not last over a restart: %w", problem))
	}
	return named, err
}

// change notes what an order stops, and returns how many faults it names and all that are stopped
// then.
func (f *faultControl) change(o console.FaultOrder) (named int, stops map[string]faultStop) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.stops, func(_ string, s faultStop) bool { return time.Since(s.Expires) > forgetAfter })
	for _, s := range f.faults() {
		if len(o.Policies) > 0 && !slices.Contains(o.Policies, s.Fault.Policy) {
			continue
		}
		named++
		_, already := f.stops[s.Fault.Key]
		switch {
		case o.Resume:
			delete(f.stops, s.Fault.Key)
		case !already:
			f.put(s.Fault.Key, faultStop{o.Stop, s.Fault.Expires})
		}
	}
	return named, maps.Clone(f.stops)
}

// list tells of all faults.
func (f *faultControl) list(now time.Time) []console.Fault {
	states := f.faults()
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]console.Fault, 0, len(states))
	for _, s := range states {
		m := s.Fault
		view := console.Fault{
			Policy: m.Policy, Name: m.Name, Does: m.Does(), Share: m.Share, When: m.When, Routes: s.Routes,
			Reason: m.Reason, Expires: m.Expires, State: console.FaultActive, Injected: s.Injected,
		}
		if m.Origin.File != "" {
			view.Origin = fmt.Sprintf("%s:%d", m.Origin.File, m.Origin.Line)
		}
		if stop, ok := f.stops[m.Key]; ok {
			view.State, view.Stop = console.FaultStopped, &stop.Stop
		}
		if !now.Before(m.Expires) {
			view.State = console.FaultExpired
		}
		list = append(list, view)
	}
	return list
}

// clockCheck is how long the clock is trusted to go on as it does.
const clockCheck = time.Minute

// untilExpiry is when to look at the clock for something that expires, or zero for nothing that does.
func untilExpiry(at time.Time) time.Duration {
	if at.IsZero() {
		return clockCheck
	}
	return min(max(time.Until(at), 0), clockCheck)
}

// nextExpiry is when the first FaultPolicy expires of those that had not; zero: there is none.
func nextExpiry(set *resource.Set, now time.Time) (first time.Time) {
	for _, f := range resource.All[*v1alpha1.FaultPolicy](set) {
		if at := f.Spec.Expires.Time; at.After(now) {
			first = earlier(first, at)
		}
	}
	return first
}

// earlier is the first of two times; zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// rejudge has what is live judged by the present time: statuses and diagnostics of what has expired, certificates among it. The snapshot
// stays, for engines know themselves what is over, and count it until the next change.
func (p *pipeline) rejudge() {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := *p.now.Load()
	next.judged = time.Now()
	out := translate.Translate(translate.Input{Set: next.set, Memo: p.memo, Local: localAddresses(), Now: next.judged})
	out.Snapshot = next.output.Snapshot
	next.output = out
	p.publish(&next)
}

// Faults implements console.Faults.
func (w window) Faults() []console.Fault { return w.faults.list(time.Now()) }

// StopFaults implements console.Faults.
func (w window) StopFaults(_ context.Context, o console.FaultOrder) (int, error) {
	return w.faults.stop(o)
}
