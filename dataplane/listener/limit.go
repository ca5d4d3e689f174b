package listener

import (
	"sync/atomic"
	"syscall"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/telemetry"
)

// reservedFiles are kept for everything that is not a client's connection or its
// upstream's: the admin port, files being read, logs.
const reservedFiles = 128

// crowd is after how many connections somebody looks how near to its end the process is.
const crowd = 256

// budget counts connections against one bound.
type budget struct {
	used atomic.Int64
	max  int64
}

func newBudget(limit int) *budget { return &budget{max: int64(limit)} }

func (b *budget) take() bool {
	if b.used.Add(1) > b.max {
		b.used.Add(-1)
		return false
	}
	return true
}

func (b *budget) give() { b.used.Add(-1) }

// take takes a place for one connection within the process's limit and that of the listener
// whose counters stats are, 0 for none.
func (s *Set) take(stats *telemetry.ConnStats, limit int64) bool {
	if !s.total.take() {
		return false
	}
	if limit > 0 && stats.Active() >= limit {
		s.total.give()
		return false
	}
	if s.cfg.Crowd != nil && s.taken.Add(1)%crowd == 0 {
		s.cfg.Crowd()
	}
	return true
}

// connectionsForFiles derives the bound from the limit on open files: each client's
// connection may need one to the upstream as well, and what is spliced between them needs pipes.
func connectionsForFiles() int {
	const fallback = 10_000
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil || lim.Cur > 1<<31 {
		return fallback
	}
	return max((int(lim.Cur)-reservedFiles-transport.SpliceFiles())/2, 16)
}
