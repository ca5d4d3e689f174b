package stream

import (
	"errors"
	"io"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// bulk is how many bytes a read must bring for the next ones to be spliced, or read into a
// large buffer: fewer are cheaper to copy.
const bulk = transport.Small - transport.Headroom

// Bytes of connections that last are told to the metrics as they pass:
const (
	tellBytes = 1 << 20 // when there are so many of them
	tellAfter = transport.Instant(time.Second)
)

// errReset: one of the connections has been reset.
var errReset = errors.New("reset")

// way is one direction of a tunnel: what comes from one connection goes to the other. It
// has one goroutine, which copies through a buffer that it has only while there is something
// in it, or in bulk splices.
type way struct {
	t        *Tunnel
	from, to *transport.Conn
	back     *way // the other direction
	inwards  bool // from is the client

	splicer *transport.Splicer // nil: not in bulk yet, or it cannot be done
	full    bool               // the last read brought so much that more is waiting, as a rule
	watch   func() error       // of from, while to takes nothing; bound once, as watchTo is
	watchTo func() error
	moved   int64 // bytes
	told    int64 // of them, to the metrics
	toldAt  transport.Instant

	ended   atomic.Bool // from's stream has been read to its end, and so to's has been ended
	writing atomic.Bool // to to
	stopped atomic.Bool // to has closed, and takes no more
	reset   atomic.Bool // a write has found that to was reset
}

// run carries until from's stream has ended or one of the connections has. What has been read
// ahead goes first.
func (w *way) run(buf *transport.Buffer) {
	defer buf.Release()
	w.watch, w.watchTo = w.fromReset, w.toReset
	w.toldAt = transport.Instant(w.t.last.Load())
	if w.moved = int64(buf.Len()); w.moved > 0 && !w.write(buf, false) {
		return
	}
	for {
		spliced, err := w.read(buf)
		switch {
		case err == nil:
			w.t.last.Store(int64(transport.Now()))
			if !w.write(buf, spliced) {
				return
			}
		case errors.Is(err, io.EOF):
			w.finish()
			return
		case errors.Is(err, transport.ErrTimeout):
			w.t.fail(model.FlagPT, "no byte either way for "+w.t.Idle.String())
			return
		default:
			w.t.lost(w.from, err)
			return
		}
	}
}

// read waits for bytes, which are in buf then, or in the splicer.
func (w *way) read(buf *transport.Buffer) (spliced bool, err error) {
	wait := transport.Wait{Gap: w.t.Idle, Pulse: &w.t.last}
	if !w.to.Pollable() {
		wait.Watch = w.watchTo // once nobody reads to any more, nobody else would notice
	}
	if w.full {
		if w.splicer == nil {
			w.splicer = transport.NewSplicer(w.from, w.to)
		}
		if w.splicer != nil {
			n, err := w.splicer.Fill(wait)
			if !errors.Is(err, transport.ErrNoPipe) {
				w.full = n >= bulk
				w.moved += int64(n)
				return err == nil, err
			}
		}
		buf.Expect(transport.Large)
	}
	n, err := w.from.ReadInto(buf, wait)
	w.full = n >= bulk
	w.moved += int64(n)
	return false, err
}

// write writes what has been read, and reports whether that could be done.
func (w *way) write(buf *transport.Buffer, spliced bool) bool {
	wait := w.wait()
	var err error
	w.writing.Store(true)
	if spliced {
		err = w.splicer.Drain(wait)
	} else {
		err = w.to.Write(buf.Bytes(), wait)
		buf.Consume(buf.Len())
		buf.ReleaseIfEmpty()
	}
	if errors.Is(err, syscall.ECONNRESET) {
		w.reset.Store(true) // before finish of the other way may look
	}
	w.writing.Store(false)
	if err != nil {
		w.unwritten(err)
		return false
	}
	w.tell()
	return true
}

// wait bounds what is written.
func (w *way) wait() transport.Wait {
	return transport.Wait{Gap: w.t.Idle, Pulse: &w.t.last, Watch: w.watch}
}

// unwritten ends a way whose bytes nobody takes.
func (w *way) unwritten(err error) {
	switch {
	case errors.Is(err, errReset):
		w.t.lost(w.from, err)
	case errors.Is(err, transport.ErrTimeout):
		side := "host"
		if !w.inwards {
			side = "client"
		}
		w.t.fail(model.FlagPT, "the "+side+" has taken no byte for "+w.t.Idle.String())
	case w.to.Pollable() && w.to.Peer() == transport.PeerReset && !w.back.ended.Load():
		// What to has sent before is still there: the other way carries it, and then finds the end.
		w.stopped.Store(true)
	default:
		w.t.lost(w.to, err)
	}
}

// finish passes the end of from's stream on, and then looks after from, which nobody reads any
// more, until the other way has ended as well.
func (w *way) finish() {
	if !w.ending() {
		w.t.lost(w.from, errReset)
		return
	}
	w.ended.Store(true)
	err := w.to.EndWrite(w.wait()) // if it breaks, the reader of to notices
	if errors.Is(err, transport.ErrTimeout) || errors.Is(err, errReset) {
		w.unwritten(err)
		return
	}
	if w.back.ended.Load() {
		w.t.over.Store(true)
		if w.to.Pollable() {
			w.to.Wake() // the other way, which looks after it
		}
		return
	}
	if w.back.stopped.Load() {
		return
	}
	if w.from.AwaitReset(transport.Wait{Stop: &w.t.over}) == nil && !w.back.ended.Load() {
		w.t.lost(w.from, errReset)
	}
}

// ending reports whether the end of from's stream is one, not a reset, of which the system
// tells one call only: that may have been a write of the other way.
func (w *way) ending() bool {
	if w.back.ended.Load() || w.from.Peer() != transport.PeerReset {
		return true
	}
	if _, secured := w.from.TLS(); secured {
		return true // TLS has an end of its own
	}
	for w.back.writing.Load() { // it cannot take long: the connection is dead
		runtime.Gosched()
	}
	return !w.back.reset.Load()
}

// fromReset is the Watch of writes.
func (w *way) fromReset() error {
	// Once its stream has been ended from both sides, its end looks like a reset.
	if !w.back.ended.Load() && w.from.Peer() == transport.PeerReset {
		return errReset
	}
	return nil
}

// toReset is the Watch of reads where sockets cannot be watched: see finish.
func (w *way) toReset() error {
	if w.back.ended.Load() && w.to.Peer() == transport.PeerReset {
		return errReset
	}
	return nil
}

// untold returns how many bytes the metrics do not know of yet.
func (w *way) untold() int64 { return w.moved - w.told }

// tell tells the metrics of what has passed, from time to time.
func (w *way) tell() {
	now := transport.Instant(w.t.last.Load())
	n := w.untold()
	if w.t.Told == nil || n < tellBytes && now-w.toldAt < tellAfter {
		return
	}
	w.told, w.toldAt = w.moved, now
	if w.inwards {
		w.t.Told(n, 0)
	} else {
		w.t.Told(0, n)
	}
}
