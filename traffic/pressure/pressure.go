// Package pressure judges how near the whole process is to the end of its memory, connections
// and files, and says in three layers what has to give way, so that the process bends before
// it breaks. It measures nothing and does nothing itself: readings and the time come in, a
// State goes out that everything else looks at. Pure.
//
// As an example, a process with a limit of 1,000 MB uses 910 MB. Memory goes from None to Hold
// at once. Half a second later it uses 840 MB: no less than 85 %, where Hold ends, for a second,
// so it goes to Trim after that second, one layer at a time, and at 74 % to None.
package pressure

import (
	"sync/atomic"
	"time"
)

// Layer is how much gives way: each includes those before it.
type Layer uint8

// The layers.
const (
	None   Layer = iota
	Trim         // what waits for nobody in particular goes sooner: idle connections, large buffers, who stands still
	Hold         // next to nothing new comes in, and the least important requests are refused
	Refuse       // requests are refused
	Layers
)

var layerNames = [Layers]string{"none", "trim", "hold", "refuse"}

// String returns the layer's name in logs and metrics.
func (l Layer) String() string { return layerNames[min(l, Layers-1)] }

// Resource is what can come to an end.
type Resource uint8

// The resources.
const (
	Memory Resource = iota
	Connections
	Files
	Resources
)

var resourceNames = [Resources]string{"memory", "connections", "files"}

// String returns the resource's name in logs and metrics.
func (r Resource) String() string { return resourceNames[min(r, Resources-1)] }

// never is the threshold of a layer that a resource has not.
const never = 1e9

// enter is the share of its limit from which on a resource is at a layer. Connections have their
// places: to refuse the requests of those that are open gives none back, so that the limit itself
// keeps others out, and idle ones make room before. New connections stop before the last files are
// used up, because those that are open need some towards hosts.
var enter = [Resources][Layers]float64{
	Memory:      {Trim: 0.80, Hold: 0.90, Refuse: 0.95},
	Connections: {Trim: 0.80, Hold: never, Refuse: never},
	Files:       {Trim: 0.80, Hold: 0.90, Refuse: never},
}

const (
	// slack is how far below the share at which a layer begins the use has to be, for dwell, until
	// it ends.
	slack = 0.05
	dwell = time.Second
)

// Reading is how much of a resource is used.
type Reading struct {
	Used, Limit uint64 // Limit 0: nothing is known, and the resource never presses
}

// Share returns Used as a share of Limit; 0 without one.
func (r Reading) Share() float64 {
	if r.Limit == 0 {
		return 0
	}
	return float64(r.Used) / float64(r.Limit)
}

// Readings are those of all resources at a time.
type Readings [Resources]Reading

// Change is that a resource has come to another layer.
type Change struct {
	Resource Resource
	From, To Layer
	Reading  Reading
}

// meter is one resource.
//
//	None ──80 %──► Trim ──90 %──► Hold ──95 %──► Refuse   up: at once, over several too
//	  ◄──< 75 %, 1 s── ◄──< 85 %, 1 s── ◄──< 90 %, 1 s──  down: one after the other
type meter struct {
	layer Layer
	low   time.Time // since when the use has been low enough to go down; zero: it is not
}

// step takes a reading and reports whether the layer has changed.
func (m *meter) step(now time.Time, share float64, enter *[Layers]float64) bool {
	to := m.layer
	for l := m.layer + 1; l < Layers; l++ {
		if share >= enter[l] {
			to = l
		}
	}
	switch {
	case to > m.layer:
		m.layer, m.low = to, time.Time{}
		return true
	case m.layer == None || share >= enter[m.layer]-slack:
		m.low = time.Time{}
	case m.low.IsZero():
		m.low = now
	case now.Sub(m.low) >= dwell:
		m.low = now
		m.layer = m.below(enter)
		return true
	}
	return false
}

// below is the next layer down that the resource has.
func (m *meter) below(enter *[Layers]float64) Layer {
	l := m.layer - 1
	for l > None && enter[l] == never {
		l--
	}
	return l
}

// Monitor is all resources of a process. One goroutine uses it; its State is for all.
type Monitor struct {
	state  State
	meters [Resources]meter

	pressed  time.Time // since when there has been a layer; zero: there is none
	returned int       // steps of the recovery that have been taken
	stepped  time.Time // when the last one was
}

// NewMonitor returns the monitor of a process under no pressure.
func NewMonitor() *Monitor {
	m := &Monitor{returned: len(recovery) - 1}
	m.publish(None)
	return m
}

// State returns what others look at.
func (m *Monitor) State() *State { return &m.state }

// recovery is the share of requests, in percent, that are served when Refuse is over: each step
// lasts recoveryStep, so that those who waited do not come back all at once.
var recovery = [...]uint8{0, 10, 20, 40, 70, 100}

const recoveryStep = time.Second

// patiences are for how long who takes no bytes may stand still at a layer: at first, and half of it
// after each second of pressure, down to the least. So who has stood still for longest goes first.
var patiences = [Layers]struct{ first, least time.Duration }{
	Trim:   {4 * time.Second, time.Second},
	Hold:   {time.Second, time.Second / 4},
	Refuse: {time.Second / 4, time.Second / 4},
}

// Step takes readings at a time, which must not go back, and returns what has changed.
func (m *Monitor) Step(now time.Time, readings *Readings) []Change {
	var changes []Change
	layer := None
	for i := range m.meters {
		meter := &m.meters[i]
		from := meter.layer
		if meter.step(now, readings[i].Share(), &enter[i]) {
			changes = append(changes, Change{Resource(i), from, meter.layer, readings[i]})
		}
		layer = max(layer, meter.layer)
	}
	m.recover(now, layer)
	m.hurry(now, m.meters[Memory].layer)
	m.publish(layer)
	return changes
}

// Layer returns the layer of one resource.
func (m *Monitor) Layer(r Resource) Layer { return m.meters[r].layer }

// recover sets how many of the steps back have been taken.
func (m *Monitor) recover(now time.Time, layer Layer) {
	switch {
	case layer == Refuse:
		m.returned, m.stepped = 0, now
	case m.returned < len(recovery)-1 && (m.returned == 0 || now.Sub(m.stepped) >= recoveryStep):
		m.returned++
		m.stepped = now
	}
}

// hurry sets the patience with who stands still, who takes memory and little else.
func (m *Monitor) hurry(now time.Time, layer Layer) {
	if layer == None {
		m.pressed = time.Time{}
		m.state.patience.Store(0)
		return
	}
	if m.pressed.IsZero() {
		m.pressed = now
	}
	p, halvings := patiences[layer], min(now.Sub(m.pressed)/time.Second, 10)
	m.state.patience.Store(int64(max(p.first>>halvings, p.least)))
}

func (m *Monitor) publish(layer Layer) {
	m.state.word.Store(uint32(layer)<<8 | uint32(recovery[m.returned]))
}

// State is how pressed a process is, for everybody in it: one atomic load a look. A nil State
// is that of a process that never is.
type State struct {
	word     atomic.Uint32 // the layer, and behind it the percentage of requests that are served
	patience atomic.Int64
}

// Layer returns the highest layer of any resource.
func (s *State) Layer() Layer {
	if s == nil {
		return None
	}
	return Layer(s.word.Load() >> 8)
}

// Admits reports whether a request is served. random is asked when only a share is.
func (s *State) Admits(random func() uint64) bool {
	if s == nil {
		return true
	}
	share := uint64(s.word.Load() & 0xff)
	return share == 100 || share > 0 && random()%100 < share
}

// Served returns the percentage of requests that are served, 0 to 100.
func (s *State) Served() int {
	if s == nil {
		return 100
	}
	return int(s.word.Load() & 0xff)
}

// Patience returns for how long, in nanoseconds, somebody who takes or sends no bytes may stand
// still; 0 while that is his own affair. Nil is the same.
func (s *State) Patience() *atomic.Int64 {
	if s == nil {
		return nil
	}
	return &s.patience
}
