package console

import (
	"net/http"
	"time"

	"weir.dev/weir/controlplane/rollout"
	"weir.dev/weir/controlplane/slo"
	"weir.dev/weir/telemetry"
)

func (c *Console) serveStatus(w http.ResponseWriter, r *http.Request) {
	s, applied := c.cfg.Live.Snapshot()
	unmatched, _ := c.cfg.Metrics.RouteStats(telemetry.Unmatched)
	v := statusView{
		Program: c.cfg.Version, Started: c.started, State: c.cfg.Live.State(), Counts: c.counts(c.index.of(s)),
		Traffic:       c.trafficOf(seriesKey{}, c.cfg.Metrics.Totals()),
		Streams:       c.trafficOf(seriesKey{kind: ofStreams}, c.cfg.Metrics.StreamTotals()),
		Unmatched:     c.trafficOf(seriesKey{ofRoute, telemetry.Unmatched, ""}, unmatched),
		MutationsOpen: c.authorised(r),
	}
	if s != nil {
		v.Revision, v.Version, v.Applied = s.Revision, s.Version, &applied
		v.AgeSeconds = c.cfg.Now().Sub(applied).Seconds()
	}
	answer(w, v)
}

func (c *Console) counts(ix *index) counts {
	n := counts{Routes: len(ix.routes), Hosts: ix.hosts}
	if ix.snapshot != nil {
		n.Listeners, n.Clusters = len(ix.snapshot.Listeners), len(ix.snapshot.Clusters)
	}
	for _, d := range c.cfg.Objects.Diagnostics() {
		switch d.Severity {
		case "error":
			n.Errors++
		case "warning":
			n.Warnings++
		}
	}
	objects := c.cfg.Objects.Objects()
	n.Objects = len(objects)
	for i := range objects {
		if !objects[i].Accepted {
			n.Quarantined++
		}
	}
	for _, h := range c.cfg.Hosts.Hosts() {
		if !h.Healthy && !h.Draining {
			n.Unhealthy++
		}
	}
	for _, p := range c.protections() {
		if p.State == StateActing {
			n.Acting++
		}
	}
	c.countReleases(&n)
	return n
}

// abortedFor is how long a Rollout that went back is worth a look.
const abortedFor = time.Hour

// countReleases counts what of releases, objectives and faults wants a look.
func (c *Console) countReleases(n *counts) {
	for _, r := range c.cfg.Releases.Rollouts() {
		if r.Problem != "" {
			n.Undecided++
		}
		switch {
		case r.Phase == rollout.Holding:
			n.Holding++
		case r.Phase == rollout.Aborted && c.cfg.Now().Sub(r.Since) < abortedFor:
			n.Aborted++
		}
	}
	for _, o := range c.cfg.Objectives.Objectives() {
		if o.Severity != "" {
			n.Burning++
		}
		if o.Severity == slo.Page {
			n.Paging++
		}
		if o.State == slo.Exhausted {
			n.Exhausted++
		}
	}
	for _, f := range c.cfg.Faults.Faults() {
		if f.State == FaultActive {
			n.Faults++
		}
	}
}
