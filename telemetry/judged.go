package telemetry

import (
	"time"

	"weir.dev/weir/model"
)

// Judged returns how many of the requests say something about who serves, and how many of those failed:
// a 5xx, a faulty code of gRPC, no answer, or one that broke off. Those whose client went away before
// there was an answer say nothing.
func (s *Stats) Judged() (total, failed uint64) {
	left := min(s.Classes[0], s.Flags[model.FlagDC])
	total = s.Requests - min(left, s.Requests)
	flagged := s.Classes[0] - left
	for f, n := range s.Flags {
		if failure(model.Flag(f)) {
			flagged += n
		}
	}
	// Every failure has a flag, but for faults that were injected: they have one of their own, with
	// whatever status.
	return total, min(max(flagged, s.Classes[5]), total)
}

// failure reports whether a flag says that the client did not get what it asked for, and that it was
// not the client's doing.
func failure(f model.Flag) bool {
	info := &model.FlagInfos[f]
	switch info.Blame {
	case model.BlameUpstream, model.BlameProxy:
		return true
	case model.BlamePolicy:
		return info.Status >= 500
	default:
		return false
	}
}

// Slower returns how many requests there were, and how many of them took longer than d. Where d lies
// inside a bucket, which Exact tells, those of that bucket count in proportion.
func (s *Stats) Slower(d time.Duration) (total, slower float64) {
	bucket := scale.Bucket(d)
	for i, n := range s.Buckets {
		total += float64(n)
		if i > bucket {
			slower += float64(n)
		}
	}
	if bucket == bucketCount-1 { // it has no end: all of it may be slower
		return total, float64(s.Buckets[bucket])
	}
	var lower time.Duration
	if bucket > 0 {
		lower = scale.Upper(bucket - 1)
	}
	upper := scale.Upper(bucket)
	slower += float64(s.Buckets[bucket]) * float64(upper-d) / float64(upper-lower)
	return total, slower
}

// Exact reports whether a duration is a bound of the buckets, so that Slower is no estimate.
func Exact(d time.Duration) bool { return scale.Upper(scale.Bucket(d)) == d }
