package release

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/transport"
)

// A request is late from the moment on at which its time has passed, whether its answer comes or not: what
// hangs is noticed while it hangs. So those that are tested have a place in a table while they wait for
// the head of their answer, and one goroutine looks through it again and again.
//
//	free ── claim ── the instant at which it is late ── in time: free
//	                                                 └─ sweep: judged ── the request's end: free

// lateTable holds those of a hearing. It neither blocks nor allocates. What finds no place is judged when
// its head comes, or it ends.
type lateTable struct {
	of    *hearing
	slots []lateSlot
	next  []lateCursor // by shard: where a place is looked for
}

// lateSlot is the place of one request.
type lateSlot struct {
	at  atomic.Int64  // the instant at which it is late, or one of the values below
	who atomic.Uint64 // epoch (16 bits), user (16), side (8), shard (8)
}

type lateCursor struct {
	at atomic.Uint32
	_  [60]byte
}

const (
	slotFree    = 0
	slotJudged  = -1
	slotClaimed = -2

	lateSlots  = 4096 // in a table
	lateProbes = 8    // places that are looked at for one that is free
)

func newLateTable(t *hearing, shards int) *lateTable {
	return &lateTable{of: t, slots: make([]lateSlot, lateSlots), next: make([]lateCursor, shards)}
}

// claim takes a place for a request that is late at a time; nil if none is found.
func (l *lateTable) claim(shard int, at transport.Instant, s role, user uint16, epoch uint16) *lateSlot {
	region := len(l.slots) / len(l.next)
	shard = int(uint(shard) % uint(len(l.next)))
	from := l.next[shard].at.Add(1)
	for i := range uint32(lateProbes) {
		slot := &l.slots[shard*region+int((from+i*7)%uint32(region))]
		if slot.at.Load() == slotFree && slot.at.CompareAndSwap(slotFree, slotClaimed) {
			slot.who.Store(uint64(epoch)<<32 | uint64(user)<<16 | uint64(s)<<8 | uint64(shard&0xff))
			slot.at.Store(int64(at))
			return slot
		}
	}
	l.of.of.totals.unwatched.Add(1)
	return nil
}

// free gives a place back and reports whether the request has been judged late meanwhile.
func (s *lateSlot) free() (judged bool) { return s.at.Swap(slotFree) == slotJudged }

// sweep judges those that are late now.
func (l *lateTable) sweep(now transport.Instant) {
	for i := range l.slots {
		s := &l.slots[i]
		at := s.at.Load()
		if at <= 0 || at > int64(now) {
			continue
		}
		who := s.who.Load()
		if s.at.CompareAndSwap(at, slotJudged) {
			l.of.lateness(int(who&0xff), role(who>>8&0xff), uint16(who>>16), uint16(who>>32), true)
		}
	}
}

// lateness tells the judge whether a request was late.
func (t *hearing) lateness(shard int, s role, user uint16, epoch uint16, late bool) {
	if late {
		t.arms[s].cell(shard).slow.Add(1)
	}
	if s == canarySide {
		t.judged(t.judge.CanaryLate(user, epoch, late))
	} else {
		t.judge.StableLate(shard, user, epoch, late)
	}
}

// lateWatch are the tables of the hearings that go on.
type lateWatch struct {
	wake   chan struct{} // a table was added
	mu     sync.Mutex
	tables []*lateTable // never changed: made anew
}

func (w *lateWatch) add(t *hearing) {
	if t.late == nil {
		return
	}
	w.mu.Lock()
	w.tables = append(slices.Clone(w.tables), t.late)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *lateWatch) remove(t *hearing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tables = slices.DeleteFunc(slices.Clone(w.tables), func(l *lateTable) bool { return l == t.late })
}

func (w *lateWatch) present() []*lateTable {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tables
}

// run sweeps the tables as long as there are any, until ctx ends.
func (w *lateWatch) run(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		tables := w.present()
		if len(tables) == 0 {
			ticker.Stop()
			select {
			case <-w.wake:
				ticker.Reset(every)
			case <-ctx.Done():
				return
			}
			continue
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now := transport.Now()
		for _, l := range tables {
			l.sweep(now)
		}
	}
}
