package listener

import (
	"errors"
	"runtime"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/telemetry"
)

// errBusy: too many handshakes wait for their turn.
var errBusy = errors.New("too many handshakes wait to be computed")

// queuedPerTurn is how many handshakes may wait for each that is computed. A handshake takes
// some 0.3 ms, so the last in the queue waits a third of a second: no client has given up by
// then, and what is computed for it is not lost.
const queuedPerTurn = 1000

// turns bounds the handshakes that are computed at once, in all sockets: as many as there are
// cores. A flood of them then makes each request wait for one step of a handshake, not for
// all. A handshake has its turn while it computes and gives it back while it waits for its
// client, so slow clients keep nobody waiting.
type turns struct {
	slots  chan struct{}
	queued atomic.Int64
	queue  int64 // how many may wait
}

func newTurns() *turns {
	n := runtime.GOMAXPROCS(0)
	return &turns{slots: make(chan struct{}, n), queue: int64(n) * queuedPerTurn}
}

// take waits for a turn until by, which give ends.
func (t *turns) take(by transport.Instant, stats *telemetry.ConnStats) error {
	select {
	case t.slots <- struct{}{}:
		return nil
	default:
	}
	if t.queued.Add(1) > t.queue {
		t.queued.Add(-1)
		return errBusy
	}
	stats.QueueHandshake(1)
	defer func() {
		t.queued.Add(-1)
		stats.QueueHandshake(-1)
	}()
	var late <-chan time.Time
	if by != 0 {
		timer := time.NewTimer(by.Sub(transport.Now()))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case t.slots <- struct{}{}:
		return nil
	case <-late:
		return transport.ErrTimeout
	}
}

func (t *turns) give() { <-t.slots }
