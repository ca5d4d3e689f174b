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
// is live. Reading everything at the start makes nothing but garbage at first, and what is
// live grows: then the two together have a room, so that collections are few while they free
// most of the heap, and the peak is lower. A lower peak leaves fewer holes, too, that stay
// with the process.
//
// There is one for the process. A user who has set GOGC or GOMEMLIMIT has decided already.
type pacer struct {
	loaded  atomic.Bool // the start is over
	percent atomic.Int64
}

const (
	garbageRoom = 32 << 20 // bytes
	startRoom   = 60 << 20 // bytes, of garbage and what is live

	longestStart = 10 * time.Second
	// What GOGC may be: below the one, collecting would cost more than the memory is worth.
	minPercent, maxPercent = 15, 800
	// and once the start is over: twice what is live, where that is little. Handshakes of TLS make
	// garbage, and next to nothing else does: this halves what they spend on its collection.
	calmPercent = 200
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
	live = max(live, 1)
	percent := int64(startRoom*100/live) - 100
	if loaded {
		percent = min(int64(garbageRoom*100/live), calmPercent)
	}
	return min(max(percent, minPercent), maxPercent)
}

// tidy gives the memory back to the system that nothing needs any more.
func (p *pacer) tidy() {
	p.loaded.Store(true)
	debug.FreeOSMemory()
}
