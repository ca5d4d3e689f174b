package app

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"weir.dev/weir/console"
	"weir.dev/weir/controlplane/slo"
	"weir.dev/weir/model"
)

// heedEvery is how often faults are held against objectives.
const heedEvery = time.Second

// heedObjectives stops faults on what a promise is about that is being broken, until ctx ends: what
// we break on purpose must not cost users more than they were promised.
func (a *App) heedObjectives(ctx context.Context) {
	tick := time.NewTicker(heedEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := a.pipeline.now.Load()
		if now == nil {
			continue
		}
		if err := a.faults.heed(a.objectives.Statuses(), now.output.Snapshot); err != nil {
			a.log.LogAttrs(ctx, slog.LevelError, "faults on what users were promised", slog.Any("error", err))
		}
	}
}

// heed stops the active faults of routes that an objective in trouble covers. One that only was in trouble, and whose
// alert goes on so that it does not flap, stops none: whoever breaks something then has waited for the trouble's end.
func (f *faultControl) heed(statuses []slo.Status, s *model.Snapshot) error {
	statuses = slices.DeleteFunc(slices.Clone(statuses), func(s slo.Status) bool {
		return s.State != slo.Burning && s.State != slo.Exhausted || s.Until != nil
	})
	if len(statuses) == 0 {
		return nil
	}
	var done []string
	for _, state := range f.faults() {
		m := state.Fault
		if state.Stopped || !time.Now().Before(m.Expires) || slices.Contains(done, m.Policy) {
			continue
		}
		at := slices.IndexFunc(statuses, func(o slo.Status) bool { return covers(&o, state.Routes, s) })
		if at < 0 {
			continue
		}
		o := &statuses[at]
		done = append(done, m.Policy)
		_, err := f.stop(console.FaultOrder{
			Policies: []string{m.Policy},
			Stop:     console.Stop{By: "ServiceLevelObjective " + o.Name, Reason: string(o.State) + ": " + o.Reason, At: time.Now()},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// covers reports whether an objective is about one of the routes, or about a backend of one.
func covers(o *slo.Status, routes []string, s *model.Snapshot) bool {
	if slices.ContainsFunc(routes, func(r string) bool { return slices.Contains(o.Routes, r) }) {
		return true
	}
	if len(o.Clusters) == 0 {
		return false
	}
	for _, table := range s.RouteTables {
		for _, e := range table.Entries {
			if slices.Contains(routes, e.Route.Name) && slices.ContainsFunc(e.Route.Split.Arms, func(a model.Arm) bool { return slices.Contains(o.Clusters, a.Cluster) }) {
				return true
			}
		}
	}
	return false
}
