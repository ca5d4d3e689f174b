package telemetry

import "sync/atomic"

// MirrorResult is what became of one mirrored copy of a request.
type MirrorResult uint8

// The results.
const (
	MirrorSent    MirrorResult = iota // an answer came; what it was does not matter
	MirrorFailed                      // no host, no connection, or no whole answer
	MirrorDropped                     // too many copies under way, or a body too large to copy
	mirrorResults
)

var mirrorNames = [mirrorResults]string{"sent", "failed", "dropped"}

// Mirrors counts mirrored copies.
type Mirrors [mirrorResults]atomic.Uint64

// Count counts one copy.
func (m *Mirrors) Count(r MirrorResult) { m[r].Add(1) }
