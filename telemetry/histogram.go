package telemetry

import (
	"time"

	"weir.dev/weir/traffic/stats"
)

// scale has two buckets an octave, from 50 µs to about 105 s, in round numbers: see stats.Scale.
// Every odd bucket ends an octave; only those bounds are exported.
var scale = stats.Scale{Unit: 50 * time.Microsecond, Bits: 1, Buckets: bucketCount}

const bucketCount = 43

// Buckets is how many observations fell into each bucket of the histogram.
type Buckets [bucketCount]uint64

// Count returns the number of observations.
func (b *Buckets) Count() uint64 { return stats.Total(b[:]) }

// Quantile estimates the duration that the share q (0 to 1) of the observations did not
// exceed, by linear interpolation in its bucket: wrong by at most a third to a half of
// the true value, mostly far less. It is zero without observations, and the last finite
// bound if the quantile lies beyond it.
func (b *Buckets) Quantile(q float64) time.Duration { return stats.Quantile(scale, b[:], q) }
