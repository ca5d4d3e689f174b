package stream

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// Tunnel is two connections, of which each gets what the other says. A tunnel is used once.
type Tunnel struct {
	Client, Host *transport.Conn
	// Idle is the longest time without a byte either way; 0: none.
	Idle time.Duration
	// CutOff reports whether draining has taken too long: what breaks from then on, we broke.
	CutOff func() bool
	// Told is called with bytes as they pass, from the client and to it, by two goroutines; nil:
	// nobody wants to know.
	Told func(in, out int64)
	// Report is called with a panic that has been contained.
	Report func(fault any)

	in, out way          // from the client and to it
	last    atomic.Int64 // when bytes last passed, either way
	over    atomic.Bool  // both ways have ended

	endMu sync.Mutex
	end   ending
}

// ending is why a tunnel ended otherwise than by the end of both streams.
type ending struct {
	flag   model.Flag
	detail string
}

// Carry carries bytes both ways until both streams have ended, or either connection has: then
// both are reset, so that nobody takes what was cut off for the end. What has been read before
// goes first: ahead from the client, back from the host. Both buffers are released.
func (t *Tunnel) Carry(ahead, back *transport.Buffer) {
	t.in = way{t: t, from: t.Client, to: t.Host, back: &t.out, inwards: true}
	t.out = way{t: t, from: t.Host, to: t.Client, back: &t.in}
	t.last.Store(int64(transport.Now()))
	var other sync.WaitGroup
	other.Go(func() {
		defer t.contain()
		t.out.run(back)
	})
	func() {
		defer t.contain() // and then wait for the other all the same
		t.in.run(ahead)
	}()
	other.Wait()
	switch { // if nothing worse has been found
	case t.in.stopped.Load():
		t.note(model.FlagUC, "the host closed before it had read all")
	case t.out.stopped.Load():
		t.note(model.FlagDC, "the client closed before it had read all")
	}
}

// Moved returns how many bytes have passed from the client and to it, once Carry has returned.
func (t *Tunnel) Moved() (in, out int64) { return t.in.moved, t.out.moved }

// contain keeps a defect in the handling of one connection from ending the process.
func (t *Tunnel) contain() {
	if fault := recover(); fault != nil {
		t.Report(fault)
		t.fail(model.FlagWI, "")
	}
}

// note remembers why the tunnel ends, if nobody has before.
func (t *Tunnel) note(flag model.Flag, detail string) {
	t.endMu.Lock()
	defer t.endMu.Unlock()
	if t.end.flag == model.FlagNone {
		t.end = ending{flag, detail}
	}
}

// fail ends both connections at once. There may be no Host yet.
func (t *Tunnel) fail(flag model.Flag, detail string) {
	if t.CutOff() {
		flag, detail = model.FlagWD, "still open when the time for draining was up"
	}
	t.note(flag, detail)
	t.Client.Abort()
	if t.Host != nil {
		t.Host.Abort()
	}
}

// lost is what the end of a connection means that was not the end of its stream.
func (t *Tunnel) lost(of *transport.Conn, err error) {
	flag, detail := model.FlagUR, "the host's connection broke"
	if of == t.Client {
		flag, detail = model.FlagDC, "the client's connection broke"
	}
	if err != nil && !errors.Is(err, errReset) {
		detail += ": " + err.Error()
	}
	t.fail(flag, detail)
}
