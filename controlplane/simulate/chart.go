package simulate

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Series is something that a chart shows over the time of a run: one value a step.
type Series struct {
	Name string
	Unit string
	// Values are NaN where there is none.
	Values []float64
	Most   float64 // the end of the scale, at least the greatest value
}

// Charts returns what is worth a chart: success, latency, and the load on each service as a
// multiple of what was needed.
func (r *Report) Charts() []Series {
	success := Series{Name: "success", Unit: "%", Most: 100}
	p99 := Series{Name: "p99", Unit: "ms"}
	all := []*Series{&success, &p99}
	for i := range r.Services {
		all = append(all, &Series{Name: "tries at " + r.Services[i].Name, Unit: "/s"}, &Series{Name: "of them retries", Unit: "/s"})
	}
	for i := range r.Steps {
		step := &r.Steps[i]
		success.add(100*share(float64(step.Succeeded), float64(step.Ended), math.NaN()), step.Ended > 0)
		p99.add(step.P99, step.Succeeded > 0)
		for v, service := range step.Services {
			all[2+2*v].add(float64(service.Tries)/step.For, true)
			all[3+2*v].add(float64(service.Tries-service.Needed)/step.For, true)
		}
	}
	list := make([]Series, len(all))
	for i, s := range all {
		if i > 2 && i%2 == 1 {
			s.Most = max(s.Most, all[i-1].Most) // to be seen as a part
		}
		list[i] = *s
	}
	return list
}

func (s *Series) add(value float64, known bool) {
	if !known {
		value = math.NaN()
	}
	s.Values = append(s.Values, value)
	if known {
		s.Most = max(s.Most, value)
	}
}

// bars are the eighths of a character.
var bars = []rune("▁▂▃▄▅▆▇█")

// Line draws the series in characters, at most so many: several steps share one where there are
// more, and the greatest of them shows.
func (s *Series) Line(width int) string {
	var b strings.Builder
	for _, v := range s.merged(width) {
		switch {
		case math.IsNaN(v):
			b.WriteByte(' ')
		case s.Most == 0:
			b.WriteRune(bars[0])
		default:
			b.WriteRune(bars[min(int(v/s.Most*float64(len(bars))), len(bars)-1)])
		}
	}
	return b.String()
}

// merged returns at most so many values, each the greatest of those that it stands for.
func (s *Series) merged(most int) []float64 {
	n := len(s.Values)
	if n <= most {
		return s.Values
	}
	list := make([]float64, most)
	for i := range list {
		list[i] = math.NaN()
		for _, v := range s.Values[i*n/most : (i+1)*n/most] {
			if math.IsNaN(list[i]) || v > list[i] {
				list[i] = v
			}
		}
	}
	return list
}

// Sizes of an SVG chart, in pixels.
const (
	chartWidth  = 720
	chartHeight = 84
	chartLeft   = 12
	chartTop    = 26
	maxPoints   = 720
)

// SVG draws the run as a picture that needs nothing else: a chart for each series, with the time
// of events shaded. Colours follow the page that it is in (currentColor).
func (r *Report) SVG() string {
	series := r.Charts()
	height := len(series)*(chartHeight+chartTop) + 30
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="12" fill="currentColor" role="img">`+"\n", chartWidth+2*chartLeft, height)
	fmt.Fprintf(&b, "<title>%s, %gs</title>\n", html.EscapeString(r.Scenario), r.Duration)
	for i := range series {
		r.drawOne(&b, &series[i], i*(chartHeight+chartTop)+chartTop)
	}
	for i := 0; i <= 6; i++ {
		at := float64(i) / 6
		anchor := "middle"
		switch i {
		case 0:
			anchor = "start"
		case 6:
			anchor = "end"
		}
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="%s">%gs</text>`+"\n", chartLeft+at*chartWidth, height-8, anchor, math.Round(at*r.Duration*10)/10)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// drawOne draws one chart with its upper end at y.
func (r *Report) drawOne(b *strings.Builder, s *Series, y int) {
	fmt.Fprintf(b, `<text x="%d" y="%d">%s</text><text x="%d" y="%d" text-anchor="end">up to %s %s</text>`+"\n",
		chartLeft, y-8, html.EscapeString(s.Name), chartLeft+chartWidth, y-8, figure(s.Most), html.EscapeString(s.Unit))
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" fill="currentColor" fill-opacity="0.05"/>`+"\n", chartLeft, y, chartWidth, chartHeight)
	for _, e := range r.Events {
		until := e.Until
		if until == 0 || until > r.Duration {
			until = r.Duration
		}
		fmt.Fprintf(b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="#d97706" fill-opacity="0.18"><title>%s</title></rect>`+"\n",
			chartLeft+e.At/r.Duration*chartWidth, y, max(1, (until-e.At)/r.Duration*chartWidth), chartHeight, html.EscapeString(e.What))
	}
	var path strings.Builder
	values := s.merged(maxPoints)
	drawn := false
	for i, v := range values {
		if math.IsNaN(v) {
			drawn = false
			continue
		}
		command := "L"
		if !drawn {
			command = "M"
		}
		drawn = true
		x := chartLeft + (float64(i)+0.5)/float64(len(values))*chartWidth
		fmt.Fprintf(&path, "%s%.1f %.1f", command, x, float64(y)+chartHeight*(1-v/max(s.Most, 1e-9)))
	}
	fmt.Fprintf(b, `<path d="%s" fill="none" stroke="#2563eb" stroke-width="1.5" stroke-linejoin="round" stroke-linecap="round"/>`+"\n", path.String())
}

// figure is a number as people read it.
func figure(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
