package shadow

import (
	"sync/atomic"
	"time"
)

// A copy needs a goroutine, as it is I/O that blocks. Those of a shard stay for a while after their
// copy, with the stack that it made them grow, so that under load none is begun:
//
//	        one is idle: it is claimed         none is: one more, up to maxCrew
//	submit ─────────────► jobs ─► worker       submit ─────────────► worker
//	                                ▲  │
//	                                └──┘ idle, until there is nothing to do for crewIdle
//
// Whoever claims has counted the idle down, so there are never more jobs in the channel than workers that
// wait for one, and submitting never blocks.
type crew struct {
	jobs chan job
	idle atomic.Int64 // that nobody has claimed
	all  atomic.Int64
	_    [40]byte // crews of other shards are on other cache lines
}

const (
	maxCrew  = 4096 // workers of a shard
	crewIdle = 5 * time.Second
)

// job is one of these.
type job struct {
	copy  *Copy
	judge *comparison // whose answers have all come
}

func (j job) do() {
	if j.copy != nil {
		j.copy.run()
	} else {
		j.judge.run()
	}
}

// submit has a job done, and reports whether there is a worker for it.
func (s *Set) submit(shard int, j job) bool {
	w := &s.crews[uint(shard)%uint(len(s.crews))]
	if w.claim() {
		w.jobs <- j
		return true
	}
	if w.all.Add(1) > maxCrew {
		w.all.Add(-1)
		return false
	}
	s.work.Add(1)
	go s.labour(w, j)
	return true
}

// claim takes one of the idle, if there are any.
func (w *crew) claim() bool {
	for n := w.idle.Load(); n > 0; n = w.idle.Load() {
		if w.idle.CompareAndSwap(n, n-1) {
			return true
		}
	}
	return false
}

// labour is a worker, from its first job on.
func (s *Set) labour(w *crew, j job) {
	defer s.work.Done()
	defer w.all.Add(-1)
	timer := time.NewTimer(crewIdle)
	defer timer.Stop()
	for {
		j.do()
		w.idle.Add(1)
		timer.Reset(crewIdle)
		select {
		case j = <-w.jobs:
			continue
		case <-timer.C:
		case <-s.over:
		}
		if w.claim() { // itself
			return
		}
		j = <-w.jobs // it has been claimed: a job is on its way
	}
}
