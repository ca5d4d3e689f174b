package telemetry

import "weir.dev/weir/model"

// WatchShadows has the metrics of Shadows read from f at every scrape.
func (m *Metrics) WatchShadows(f func() []model.ShadowReport) { m.shadows.Store(&f) }

func (e *emitter) shadows(m *Metrics) {
	watch := m.shadows.Load()
	if watch == nil {
		return
	}
	for i, r := range (*watch)() {
		if i >= SeriesLimit {
			return
		}
		e.value(famShadowRequests, float64(r.Copies.Answered), r.Shadow, "answered")
		e.value(famShadowRequests, float64(r.Copies.Failed), r.Shadow, "failed")
		for _, d := range r.Copies.Dropped {
			e.value(famShadowDropped, float64(d.Count), r.Shadow, d.Reason)
		}
		e.value(famShadowInFlight, float64(r.Copies.InFlight), r.Shadow)
		if c := r.Comparison; c != nil {
			e.value(famShadowComparisons, float64(c.Equal), r.Shadow, "equal")
			e.value(famShadowComparisons, float64(c.Noise), r.Shadow, "noise")
			e.value(famShadowComparisons, float64(c.Different), r.Shadow, "different")
			e.value(famShadowComparisons, float64(c.Uncompared), r.Shadow, "uncompared")
		}
	}
}
