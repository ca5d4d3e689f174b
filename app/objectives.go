package app

import (
	"context"
	"path/filepath"
	"time"

	"weir.dev/weir/console"
	"weir.dev/weir/controlplane/rollout"
	"weir.dev/weir/controlplane/slo"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/telemetry/store"
)

// seriesAfter is how long after this process serves the store of time series is opened: to start quickly
// matters more, and no counter that began before is missed.
const seriesAfter = time.Second

// Series says what time series are kept, and where from. The zero Series has the defaults of
// telemetry/store.
type Series struct {
	Off       bool          // nothing is kept
	Retention time.Duration // how long
	Bytes     int64         // how much of the disk they may take
	Scrape    []store.Target
}

// newSeries builds what keeps time series.
func (a *App) newSeries() *store.Store {
	dir := ""
	if a.cfg.StateDir != "" {
		dir = filepath.Join(a.cfg.StateDir, "series")
	}
	return store.New(store.Config{
		Off: a.cfg.Series.Off, Dir: dir, Retention: a.cfg.Series.Retention, Bytes: a.cfg.Series.Bytes, Targets: a.cfg.Series.Scrape,
		Metrics: a.metrics, Log: a.log, Version: a.cfg.Version,
	})
}

// newObjectives builds what judges objectives.
func (a *App) newObjectives() *slo.Tracker {
	t := slo.New(slo.Config{Queries: a.series, Read: a.readObject, Exact: telemetry.Exact, Kept: a.series.Kept(), Log: a.log})
	a.metrics.WatchObjectives(func() []telemetry.ObjectiveState {
		var states []telemetry.ObjectiveState
		for _, c := range t.Counts() {
			states = append(states, telemetry.ObjectiveState(c))
		}
		return states
	})
	return t
}

// readObject is what a route or a cluster has counted.
func (a *App) readObject(object string, cluster bool, below time.Duration) (total, bad float64) {
	read := a.metrics.RouteStats
	if cluster {
		read = a.metrics.ClusterStats
	}
	stats, _ := read(object)
	if below > 0 {
		return stats.Slower(below)
	}
	judged, failed := stats.Judged()
	return float64(judged), float64(failed)
}

// planObjectives has what was promised judged.
func (a *App) planObjectives(out translate.Output) {
	a.objectives.Plan(out.Objectives, out.Rollouts)
	a.series.SetRules(slo.Rules(out.Objectives))
}

// runSeries keeps time series from soon after this process serves.
func (a *App) runSeries(ctx context.Context) error {
	if a.cfg.Series.Off {
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-a.serving:
	}
	timer := time.NewTimer(seriesAfter)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-timer.C:
	}
	return a.series.Run(ctx)
}

// objectives is what Rollouts ask of objectives.
type objectives struct{ tracker *slo.Tracker }

// verdicts are what a state of an objective is for a gate.
var verdicts = map[slo.State]rollout.Verdict{
	slo.Healthy: rollout.Pass, slo.Burning: rollout.Fail, slo.Exhausted: rollout.Fail, slo.NoData: rollout.Inconclusive,
}

// Judge implements rollout.Objectives. A state that is kept only so that it does not flap is no evidence
// against a release: three failures in a row end its run.
func (o objectives) Judge(name string) (rollout.Verdict, string) {
	s, ok := o.tracker.Status(name)
	if !ok {
		return rollout.Error, "there is no ServiceLevelObjective " + name
	}
	verdict := verdicts[s.State]
	if s.Until != nil {
		verdict = rollout.Inconclusive
	}
	return verdict, name + " is " + string(s.State) + ": " + s.Reason
}

// Frozen implements rollout.Objectives.
func (o objectives) Frozen(name string) (owner, reason string, frozen bool) {
	return o.tracker.Frozen(name)
}

// Objectives are how objectives are kept.
func (w window) Objectives() []slo.Status { return w.objectives.Statuses() }

var _ console.Objectives = window{}
