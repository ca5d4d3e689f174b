package telemetry

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Figure is what one series stands at. It and its slices are another's once the call that is given
// them has returned; its strings last.
type Figure struct {
	Name          string     // of the series: of a histogram's with _bucket, _sum or _count
	Type          FamilyType // of the metric that it belongs to; empty: none of ours
	Names, Values []string   // of its labels, in pairs, in no order
	Object        bool       // it is of one route, cluster or host: there may be very many of the kind
	Value         float64
}

// Figures gives each series to f, one after the other, for whoever keeps them over time. Unlike the
// metrics page it has nothing of routes, clusters and hosts that have never had a request: of ten thousand
// most are idle, and a series that is kept costs memory. Of a host's times it has
// count and sum only.
func (m *Metrics) Figures(f func(*Figure)) {
	now := time.Now()
	m.sweep(now)
	e := &emitter{figures: f, figure: &Figure{}}
	m.collect(e, now)
	m.processFigures(f, e.figure)
}

// give gives one value to figures.
func (e *emitter) give(family int, v float64, labels []string) {
	of := &Families[family]
	g := e.figure
	g.Name, g.Type, g.Value, g.Object = of.Name, of.Type, v, ofObjects(of.Labels)
	g.Names, g.Values = append(g.Names[:0], of.Labels...), append(g.Values[:0], labels...)
	e.figures(g)
}

// ofObjects reports whether these are the labels of objects that there may be very many of.
func ofObjects(labels []string) bool {
	return len(labels) > 0 && (labels[0] == "route" || labels[0] == "cluster" || labels[0] == "target" || labels[0] == "scope")
}

// giveHistogram gives the series of a histogram to figures.
func (e *emitter) giveHistogram(family int, s *Stats, labels []string) {
	names := &histogramNames[family]
	g := e.figure
	g.Type, g.Object = Histogram, true
	g.Names, g.Values = append(g.Names[:0], Families[family].Labels...), append(g.Values[:0], labels...)
	count := s.Buckets.Count()
	g.Name, g.Value = names.sum, s.Duration.Seconds()
	e.figures(g)
	g.Name, g.Value = names.count, float64(count)
	e.figures(g)
	if family == famHost+famDuration {
		return
	}
	g.Name = names.bucket
	g.Names, g.Values = append(g.Names, "le"), append(g.Values, "+Inf")
	g.Value = float64(count)
	e.figures(g)
	var below uint64
	for i := range exportedBounds {
		below += s.Buckets[2*i] + s.Buckets[2*i+1]
		g.Values[len(g.Values)-1], g.Value = exportedTexts[i], float64(below)
		e.figures(g)
	}
}

// histogramNames are the names of the series of histograms.
var histogramNames = func() (names [famCount]struct{ bucket, sum, count string }) {
	for i, f := range Families {
		if f.Type == Histogram {
			names[i].bucket, names[i].sum, names[i].count = f.Name+"_bucket", f.Name+"_sum", f.Name+"_count"
		}
	}
	return names
}()

// exportedTexts are the bounds as the label le has them.
var exportedTexts = func() (texts [len(exportedBounds)]string) {
	for i, bound := range exportedBounds {
		texts[i] = strconv.FormatFloat(bound, 'g', -1, 64)
	}
	return texts
}()

// runtimeCollectors tell of the Go runtime and of the process.
func runtimeCollectors() []prometheus.Collector {
	return []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	}
}

// processFigures gives what the Go runtime and the process say of themselves.
func (m *Metrics) processFigures(f func(*Figure), g *Figure) {
	m.runtimeOnce.Do(func() {
		m.runtime = prometheus.NewRegistry()
		m.runtime.MustRegister(runtimeCollectors()...)
	})
	families, _ := m.runtime.Gather() // what can be had, is
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var v float64
			g.Type, g.Object = "", false
			switch {
			case metric.Counter != nil:
				g.Type, v = Counter, metric.Counter.GetValue()
			case metric.Gauge != nil:
				g.Type, v = Gauge, metric.Gauge.GetValue()
			case metric.Untyped != nil:
				v = metric.Untyped.GetValue()
			default:
				continue // pauses of the garbage collector: a summary
			}
			g.Name, g.Value = family.GetName(), v
			g.Names, g.Values = g.Names[:0], g.Values[:0]
			for _, pair := range metric.GetLabel() {
				g.Names, g.Values = append(g.Names, pair.GetName()), append(g.Values, pair.GetValue())
			}
			f(g)
		}
	}
}
