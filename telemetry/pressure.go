package telemetry

import "weir.dev/weir/traffic/pressure"

// Process is the target of protections that are for the whole process.
const Process = "process"

// PressureState is how near the process is to the end of one resource.
type PressureState struct {
	Resource string
	Share    float64 // of its limit that is used; may be above 1
	Layer    pressure.Layer
	Entered  [pressure.Layers]uint64 // how often each layer has begun
}

// WatchPressure has the metrics of the process's pressure read from f at every scrape.
func (m *Metrics) WatchPressure(f func() []PressureState) { m.pressure.Store(&f) }

func (e *emitter) pressure(m *Metrics) {
	watch := m.pressure.Load()
	if watch == nil {
		return
	}
	for _, s := range (*watch)() {
		e.value(famPressure, s.Share, s.Resource)
		e.value(famPressureLayer, float64(s.Layer), s.Resource)
		for layer := pressure.Trim; layer < pressure.Layers; layer++ {
			e.value(famPressureEntries, float64(s.Entered[layer]), s.Resource, layer.String())
		}
	}
}
