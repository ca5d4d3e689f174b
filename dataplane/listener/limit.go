package listener

import (
	"log/slog"
	"sync/atomic"
	"syscall"
	"time"

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

// fullAgain is how long after it has been said once that a listener refuses connections for want of
// room it is said again.
const fullAgain = time.Minute

// refuse counts a connection, or session, that a listener has no room for, and says so, but seldom.
// of is the process's budget, and said is when the listener last did.
func (s *Set) refuse(name string, stats *telemetry.ConnStats, limit int64, of *budget, said *atomic.Int64) {
	stats.Refuse(telemetry.RefusedLimit)
	now, last := transport.Now(), said.Load()
	if last != 0 && now.Sub(transport.Instant(last)) < fullAgain || !said.CompareAndSwap(last, int64(now)) {
		return
	}
	s.cfg.Log.Warn("connections or sessions are refused: there is room for no more; client.maxConnections of a TrafficPolicy is the listener's limit, and the process's follows from ulimit -n, of which sessions have half",
		slog.String("listener", name), slog.Int64("open", stats.Active()), slog.Int64("limit", limit),
		slog.Int64("processOpen", of.used.Load()), slog.Int64("processLimit", of.max))
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
