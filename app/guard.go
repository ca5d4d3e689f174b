package app

import (
	"context"
	"log/slog"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/pressure"
)

// guard keeps the process within its memory, connections and files: it takes readings a few times
// a second, and has others give way as the layers of traffic/pressure say.
//
//	layer   what gives way
//	Trim    idle connections of clients close after a second, parked ones little by little; large
//	        buffers become few
//	Hold    next to no connection is accepted; Sheddable requests and all but a few streams of a
//	        connection are refused; who takes nothing is cut off, the stalest first
//	Refuse  requests are answered 503, flag OM; afterwards they come back in steps
//
// What are Go's own means (a smaller heap by more collections) comes before all of these, because
// its limit is below ours.
type guard struct {
	log     *slog.Logger
	monitor *pressure.Monitor
	read    func() pressure.Readings
	relieve func(share float64) int // ends idle connections
	collect func()                  // garbage
	large   int64                   // bytes that large buffers may take
	streams func() float64          // the share of the room of streams that is taken; nil: there is none

	crowd    chan struct{} // many connections have come since the last look
	seen     atomic.Pointer[[]telemetry.PressureState]
	relieved time.Time    // when connections were last ended
	cleaned  time.Time    // when garbage was last collected
	cleaning atomic.Bool  // it is being collected
	took     atomic.Int64 // nanoseconds, by the last collection
	work     sync.WaitGroup
	memory   pressure.Layer
	entered  [pressure.Resources][pressure.Layers]uint64 // how often
}

const (
	lookEvery = 250 * time.Millisecond
	// While memory is short, readings must not be older than this: what is live is known after a
	// collection, and who refuses most requests makes too little garbage for the next one to come.
	cleanEvery   = time.Second
	cleanPause   = 10 // of what a collection takes, at least, so that it stays a small part of the work
	relieveEvery = time.Second
	// goLimit is what Go keeps to, as a share of the process's memory: so near its end it collects
	// garbage more often, and gives memory back.
	goLimit = 0.95
	// Large buffers have this share of memory, and not more than mostLarge: 3,600 bodies at once.
	largeShare = 0.125
	mostLarge  = 256 << 20
	// Streams beyond the few of each connection have this share of memory, at what one takes whose
	// client stands still: a goroutine, a connection to its host, and a buffer of what that has sent.
	streamShare  = 0.5
	streamMemory = 32 << 10
)

// relieveShares are the shares of the parked connections that end each second.
var relieveShares = [pressure.Layers]float64{pressure.Trim: 0.1, pressure.Hold: 0.5, pressure.Refuse: 1}

// largeShares are what is left of the bytes that large buffers may take.
var largeShares = [pressure.Layers]float64{1, 0.25, 0, 0}

func newGuard(log *slog.Logger, read func() pressure.Readings, relieve func(float64) int) *guard {
	return &guard{
		log: log, monitor: pressure.NewMonitor(), read: read, relieve: relieve, collect: runtime.GC, crowd: make(chan struct{}, 1),
	}
}

// keepTo has Go keep to a limit of memory, in bytes; 0: there is none. Whoever has set GOMEMLIMIT
// has decided that himself.
func (g *guard) keepTo(limit int64) {
	if limit <= 0 {
		return
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(float64(limit) * goLimit))
	}
	g.large = min(int64(float64(limit)*largeShare), mostLarge)
	transport.BoundLarge(g.large)
}

// streamsIn returns how many streams there is room for in so much memory, in bytes; 0: any number.
func streamsIn(limit int64) int64 { return int64(float64(max(limit, 0)) * streamShare / streamMemory) }

// run looks until ctx ends.
func (g *guard) run(ctx context.Context) {
	defer g.work.Wait()
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		g.look(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-g.crowd:
		}
	}
}

// hurry has it look now.
func (g *guard) hurry() {
	select {
	case g.crowd <- struct{}{}:
	default:
	}
}

// look takes readings at a time and does what follows from them.
func (g *guard) look(now time.Time) {
	readings := g.read()
	for _, c := range g.monitor.Step(now, &readings) {
		g.tell(c)
	}
	g.note(&readings)
	g.followMemory(now, g.monitor.Layer(pressure.Memory))
	if layer := g.monitor.State().Layer(); layer > pressure.None && now.Sub(g.relieved) >= relieveEvery {
		g.relieved = now
		g.relieve(relieveShares[layer])
	}
}

// tell says, and counts, that a layer has begun or ended.
func (g *guard) tell(c pressure.Change) {
	facts := []slog.Attr{
		slog.String("resource", c.Resource.String()), slog.String("layer", c.To.String()), slog.String("before", c.From.String()),
		slog.Uint64("used", c.Reading.Used), slog.Uint64("limit", c.Reading.Limit),
	}
	if c.To < c.From {
		g.log.LogAttrs(context.Background(), slog.LevelInfo, "further from the end of a resource", facts...)
		return
	}
	g.log.LogAttrs(context.Background(), slog.LevelWarn, "nearer to the end of a resource", facts...)
	for layer := c.From + 1; layer <= c.To; layer++ {
		g.entered[c.Resource][layer]++
	}
}

// followMemory does what follows from the layer of memory alone.
func (g *guard) followMemory(now time.Time, layer pressure.Layer) {
	changed := layer != g.memory
	g.memory = layer
	if changed && g.large > 0 {
		transport.BoundLarge(max(int64(float64(g.large)*largeShares[layer]), 1))
	}
	if layer == pressure.None || !changed && now.Sub(g.cleaned) < max(cleanEvery, cleanPause*time.Duration(g.took.Load())) {
		return
	}
	if !g.cleaning.CompareAndSwap(false, true) {
		return
	}
	g.cleaned = now
	g.work.Go(func() { // with much to look at it takes seconds, in which what is used grows
		begun := time.Now()
		g.collect()
		g.took.Store(int64(time.Since(begun)))
		g.cleaning.Store(false)
	})
}

// states are for the metrics.
func (g *guard) states() []telemetry.PressureState {
	if seen := g.seen.Load(); seen != nil {
		return *seen
	}
	return nil
}

// note keeps what others want to see.
func (g *guard) note(readings *pressure.Readings) {
	states := make([]telemetry.PressureState, 0, pressure.Resources+1)
	for r := range pressure.Resources {
		if readings[r].Limit > 0 {
			states = append(states, telemetry.PressureState{Resource: r.String(), Share: readings[r].Share(), Layer: g.monitor.Layer(r), Entered: g.entered[r]})
		}
	}
	if g.large > 0 {
		states = append(states, telemetry.PressureState{Resource: "buffers", Share: float64(transport.LargeHeld()) / float64(g.large)})
	}
	if g.streams != nil && readings[pressure.Memory].Limit > 0 {
		states = append(states, telemetry.PressureState{Resource: "streams", Share: g.streams()})
	}
	g.seen.Store(&states)
}

// maxMemory returns how much memory a process may take, in bytes, if nobody says: what GOMEMLIMIT
// allows, nine tenths of what its control group may have (the rest is for what the kernel holds for
// its sockets), or four fifths of the machine's. 0: none of these is known.
func maxMemory() int64 {
	if limit := debug.SetMemoryLimit(-1); os.Getenv("GOMEMLIMIT") != "" && limit < math.MaxInt64 {
		return int64(float64(limit) / goLimit)
	}
	if limit := groupMemory(); limit > 0 {
		return limit / 10 * 9
	}
	return machineMemory() / 5 * 4
}
