package cluster

import (
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/traffic/stats"
)

const (
	// latencySlices slices of latencySlice make up the last minute.
	latencySlices = 6
	latencySlice  = 10 * time.Second
	// leastBeyond is how many answers must have taken longer than a quantile for it to mean
	// something: 0.95 needs 100 answers, 0.99 needs 500.
	leastBeyond = 5
)

// WatchLatency has the time that answers take counted from now on: somebody hedges by a
// quantile of it.
func (c *Cluster) WatchLatency() {
	if c.latency.Load() == nil {
		c.latency.CompareAndSwap(nil, stats.NewRecent(c.set.config.Shards, latencySlices, latencySlice))
	}
}

// ObserveLatency counts a good answer that took so long, if anybody watches. The shard is the
// caller's.
func (c *Cluster) ObserveLatency(shard int, took time.Duration) {
	if r := c.latency.Load(); r != nil {
		r.Observe(shard, took)
	}
}

// Quantile returns the time that the share q of the cluster's good answers of the last minute
// did not exceed; false if nobody watches, or there were too few to say.
func (c *Cluster) Quantile(now transport.Instant, q float64) (time.Duration, bool) {
	r := c.latency.Load()
	if r == nil {
		return 0, false
	}
	d, of := r.Quantile(int64(now), q)
	return d, float64(of)*(1-q) >= leastBeyond-1e-6
}
