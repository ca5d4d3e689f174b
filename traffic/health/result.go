package health

import "sync/atomic"

// Result is how a try at a host ended, for its health's sake.
type Result uint8

// The results of tries.
const (
	// Served: the host answered, and not with an error of its own.
	Served Result = iota
	// Faulty: it answered with an error of its own, a 5xx or a faulty code of gRPC
	// (model.GRPCCode.Faulty).
	Faulty
	// Unanswered: it gave no whole answer that can be understood. It could not be connected to,
	// reset the connection, took too long, or broke the protocol. These are of local origin.
	Unanswered
	Results // how many there are, for arrays indexed by Result
)

// Failed reports whether the try failed.
func (r Result) Failed() bool { return r != Served }

// Streaks counts the failures in a row of one host, of each kind apart. The zero Streaks has
// none. It is safe for concurrent use; tries that end at the same time count in any order.
//
//	              faults               unanswered
//	Served        0                    0
//	Faulty        one more             0: there was an answer
//	Unanswered    as before            one more
//
// A try without an answer is no answer, so it does not end a row of faulty ones: a host that
// alternates between a 500 and a reset is found by its faults. Worked example, + served, 5 faulty
// and x unanswered: after + 5 x 5 x x there are two faults and two unanswered in a row.
type Streaks struct {
	rows atomic.Uint64 // faults in the low half, unanswered in the high one
}

// Observe counts a result and returns how long the row is that it belongs to; 0 for Served.
func (s *Streaks) Observe(r Result) uint32 {
	if r == Served {
		if s.rows.Load() != 0 {
			s.rows.Store(0)
		}
		return 0
	}
	for {
		old := s.rows.Load()
		faults, unanswered := uint32(old), uint32(old>>32)
		length := &faults
		if r == Unanswered {
			length = &unanswered
		} else {
			unanswered = 0
		}
		*length++
		if s.rows.CompareAndSwap(old, uint64(unanswered)<<32|uint64(faults)) {
			return *length
		}
	}
}

// Rows returns how long the rows are now.
func (s *Streaks) Rows() (faulty, unanswered uint32) {
	rows := s.rows.Load()
	return uint32(rows), uint32(rows >> 32)
}

// Reset forgets both rows.
func (s *Streaks) Reset() { s.rows.Store(0) }
