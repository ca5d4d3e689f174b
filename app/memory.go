package app

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"
)

// pacer bounds the garbage that the process keeps. Go lets garbage grow as large as what is
// live: twice the memory for ten thousand routes, of which none comes from requests, for
// they make no garbage. The pacer lets it grow by garbageRoom instead, once more than that
// is live. While everything is read at the start, garbage has a smaller room: what stays lies
// among it, and the more garbage there is between two collections the more holes are left
// that stay with the process.
//
// There is one for the process. A user who has set GOGC or GOMEMLIMIT has decided already.
type pacer struct {
	loaded  atomic.Bool // the start is over
	percent atomic.Int64
}

const (
	garbageRoom = 32 << 20 // bytes
	startRoom   = 12 << 20 // bytes

	longestStart = 10 * time.Second
	// What GOGC may be. Below the one, collecting would cost more than the memory is worth. The other is
	// twice what is live, where that is little: handshakes of TLS make garbage, and next to nothing
	// else does, and this halves what they spend on its collection.
	minPercent, maxPercent = 15, 200
)

// memory is the process's pacer. startPacing starts it, once.
var (
	memory      pacer
	startPacing = sync.OnceFunc(func() {
		if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
			memory.adjust()
			// Where changes never rest, nothing else says that the start is over.
			time.AfterFunc(longestStart, func() { memory.loaded.Store(true) })
			runtime.SetFinalizer(&cycle{pacer: &memory}, (*cycle).ended)
		}
	})
)

// cycle is garbage from its beginning on, so that it is found at the end of each collection.
type cycle struct {
	pacer *pacer
	_     [64]byte // no part of a block of tiny objects, which others would keep
}

func (c *cycle) ended() {
	c.pacer.adjust()
	runtime.SetFinalizer(c, (*cycle).ended)
}

// adjust sets when the next collection begins.
func (p *pacer) adjust() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if live[0].Value.Kind() != metrics.KindUint64 {
		return
	}
	percent := percentFor(live[0].Value.Uint64(), p.loaded.Load())
	if p.percent.Swap(percent) != percent {
		debug.SetGCPercent(int(percent))
	}
}

// percentFor returns the GOGC that gives garbage its room.
func percentFor(live uint64, loaded bool) int64 {
	room := uint64(startRoom)
	if loaded {
		room = garbageRoom
	}
	return min(max(int64(room*100/max(live, 1)), minPercent), maxPercent)
}

// tidy gives the memory back to the system that nothing needs any more.
func (p *pacer) tidy() {
	p.loaded.Store(true)
	debug.FreeOSMemory()
}
