package telemetry

import (
	"time"

	"weir.dev/weir/model"
)

// Stats is what a series had counted at one moment.
type Stats struct {
	Requests uint64 // ended
	InFlight int64
	Classes  [classes]uint64 // by the hundreds digit of the status; index 0: no answer was sent
	Flags    [model.FlagCount]uint64
	Calls    [grpcEnds]uint64 // of gRPC, by GRPCEnd; index 0 is not used
	Buckets  Buckets
	Duration time.Duration // sum
	BytesIn  uint64
	BytesOut uint64
	Retries  uint64
}

// settle derives what is not counted itself.
func (s *Stats) settle() {
	s.Requests = 0
	for _, n := range s.Classes {
		s.Requests += n
	}
	s.InFlight = max(s.InFlight, 0)
}

// Since returns what was counted between an earlier moment of the same series and s.
// InFlight stays that of s. If the series began anew in between, it is s whole.
func (s Stats) Since(earlier *Stats) Stats {
	if s.Requests < earlier.Requests {
		return s
	}
	for i := range s.Classes {
		s.Classes[i] -= min(earlier.Classes[i], s.Classes[i])
	}
	for i := range s.Flags {
		s.Flags[i] -= min(earlier.Flags[i], s.Flags[i])
	}
	for i := range s.Calls {
		s.Calls[i] -= min(earlier.Calls[i], s.Calls[i])
	}
	for i := range s.Buckets {
		s.Buckets[i] -= min(earlier.Buckets[i], s.Buckets[i])
	}
	s.Requests -= earlier.Requests
	s.Duration -= earlier.Duration
	s.BytesIn -= min(earlier.BytesIn, s.BytesIn)
	s.BytesOut -= min(earlier.BytesOut, s.BytesOut)
	s.Retries -= min(earlier.Retries, s.Retries)
	return s
}

// Quantile estimates the duration that the share q (0 to 1) of the requests did not exceed.
func (s *Stats) Quantile(q float64) time.Duration { return s.Buckets.Quantile(q) }

// Blamed returns how many requests had a flag of the given blame; for BlameNone, how many
// had no flag.
func (s *Stats) Blamed(b model.Blame) uint64 {
	var n, flagged uint64
	for f, c := range s.Flags {
		flagged += c
		if model.Flag(f).Blame() == b {
			n += c
		}
	}
	if b == model.BlameNone {
		return s.Requests - min(flagged, s.Requests)
	}
	return n
}

// ClassName returns how metrics name an index of Stats.Classes: 2xx, or none for 0.
func ClassName(class int) string { return classNames[class] }
