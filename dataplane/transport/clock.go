package transport

import "time"

// Instant is a point on the monotonic clock in nanoseconds since an arbitrary start. The
// zero Instant means none. Inside a testing/synctest bubble it follows the bubble's clock.
type Instant int64

// base lies far enough back for a bubble's clock, which starts in the year 2000, to be
// behind it as well.
var base = time.Now().Add(-50 * 365 * 24 * time.Hour)

// Now returns the present Instant.
func Now() Instant { return Instant(time.Since(base)) }

// Add returns the Instant d later, and none if d is not positive: no duration is no deadline.
func (i Instant) Add(d time.Duration) Instant {
	if d <= 0 {
		return 0
	}
	return i + Instant(d)
}

// Sub returns the time from j to i.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// Earlier returns the earlier of two instants; none is later than all.
func Earlier(i, j Instant) Instant {
	if i == 0 || (j != 0 && j < i) {
		return j
	}
	return i
}

// Time returns the wall-clock form, for contexts and SetDeadline.
func (i Instant) Time() time.Time { return base.Add(time.Duration(i)) }
