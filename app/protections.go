package app

import (
	"context"
	"log/slog"
	"strings"

	"weir.dev/weir/console"
	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/overload"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/breaker"
	"weir.dev/weir/traffic/retry"
)

// Protections are what protects backends, scopes and the process, as it stands now.
func (w window) Protections() []console.Protection {
	var list []console.Protection
	at := map[string]int{} // of backends
	backend := func(name string) *console.Protection {
		i, known := at[name]
		if !known {
			i = len(list)
			at[name], list = i, append(list, console.Protection{Target: name, Kind: console.OfBackend})
		}
		return &list[i]
	}
	for _, b := range w.proxy.Breakers() {
		if shown := breakerOf(&b); shown != nil {
			backend(b.Cluster).Breaker = shown
		}
		if b.Budget {
			budget := &console.RetryBudget{Mode: string(b.BudgetMode), First: b.First, Retries: b.Retries}
			if b.Remaining != retry.Unlimited {
				budget.Remaining = &b.Remaining
			}
			backend(b.Cluster).Budget = budget
		}
	}
	for _, t := range w.proxy.Throttles() {
		backend(t.Cluster).Throttle = &console.Throttle{Requests: t.Requests, Accepted: t.Accepts}
	}
	for _, s := range w.proxy.Overloads() {
		list = append(list, console.Protection{Target: s.Scope, Kind: console.OfScope, Overload: overloadOf(&s)})
	}
	var process []console.Pressure
	for _, s := range w.guard.states() {
		process = append(process, console.Pressure{Resource: s.Resource, Share: s.Share, Layer: s.Layer.String()})
	}
	if process != nil {
		list = append(list, console.Protection{Target: telemetry.Process, Kind: console.OfProcess, Pressure: process})
	}
	return list
}

// CloseBreaker closes a breaker, and says in the log who wanted it.
func (w window) CloseBreaker(o console.BreakerOrder) (was string, ok bool) {
	state, ok := w.proxy.CloseBreaker(o.Target)
	was = stateText(state)
	if ok {
		w.log.LogAttrs(context.Background(), slog.LevelWarn, "a breaker is closed by hand", slog.String("backend", o.Target), slog.String("was", was),
			slog.String("by", o.By), slog.String("reason", o.Reason))
	}
	return was, ok
}

func stateText(s breaker.State) string { return strings.ReplaceAll(s.String(), " ", "-") }

// breakerOf shows a breaker; nil: nothing of it is configured.
func breakerOf(b *cluster.BreakerStatus) *console.Breaker {
	shown := &console.Breaker{Mode: string(b.Mode)}
	for _, bound := range b.Bounds {
		if bound.Most > 0 {
			shown.Bounds = append(shown.Bounds, console.Bound{Name: string(bound.Kind), Used: bound.Used, Most: bound.Most})
		}
	}
	if b.Trips {
		t := &b.Trip
		shown.Trip = &console.Trip{
			State: stateText(t.State), Since: b.Since, Failures: t.Failures, Needed: t.Needed, Of: t.Of, Passed: t.Passed,
		}
		if t.State == breaker.Open {
			shown.Trip.Wait = max(t.Wait.Seconds(), 0)
		}
	}
	if shown.Bounds == nil && shown.Trip == nil {
		return nil
	}
	return shown
}

func overloadOf(s *overload.Status) *console.Overload {
	shown := &console.Overload{
		Mode: string(s.Mode), Adaptive: s.Adaptive, Limit: s.Limit, InFlight: s.InFlight, Queued: s.Queued, Heat: s.Heat, Others: s.Others,
	}
	for i, step := range s.Steps {
		shown.Steps = append(shown.Steps, console.Step{At: step, Active: i < s.Active})
	}
	for c := model.ClassSheddable; c < model.Classes; c++ {
		if of := s.Classes[c]; of.Admitted > 0 || of.Shed > 0 {
			shown.Classes = append(shown.Classes, console.Class{Name: c.String(), InFlight: of.InFlight, Ceiling: of.Ceiling, Admitted: of.Admitted, Shed: of.Shed})
		}
	}
	for _, t := range s.Tenants {
		shown.Tenants = append(shown.Tenants, console.Share{Tenant: t.Tenant, Refused: t.Refused})
	}
	return shown
}
