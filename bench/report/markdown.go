package report

import (
	"fmt"
	"strings"
)

// Report is everything that goes into the page.
type Report struct {
	Samples  Samples
	Subject  string   // the proxy whose ratios come first; when it was not measured, Fallback's place
	Others   []string // the proxies it is compared with, in order
	Warnings []string // printed in bold at the top
	Measures []Measure
	Growth   []Growth
	Targets  []Target
	Facts    []Fact
	Notes    []string // what was left out, and why
	Method   []string // paragraphs about how it was measured
}

// Measure is a row of the ratios and a table of its own.
type Measure struct {
	Name, Title string
	Kind        Kind
}

// Kind says which figures a measure has.
type Kind uint8

// The kinds of measures.
const (
	Cost    Kind = iota // CPU, Rate, quantiles and shares
	Latency             // the same at a fixed rate; quantiles are what the proxy adds
	Memory              // resident bytes
	Scale               // many routes: absolute figures against goals, no ratios
)

// Growth compares the CPU time of each proxy in one measure with its own in
// another.
type Growth struct{ Title, Over, Under string }

// Fact is a line about the machine, a version or a command.
type Fact struct{ Name, Text string }

// Target is a bound on a ratio, or on a figure itself when Under is empty.
type Target struct {
	Title       string
	Over, Under Key
	Figure      string
	Limit       float64
	Unit        float64 // figures are divided by it; 0 is 1
}

// tie is how far above a target noise alone may carry a ratio.
const tie = 1.15

// Judge compares a spread with the target. A target is met when the median is
// at or below it; a tie is noted beside a miss, never instead.
func (t Target) Judge(s Spread) string {
	switch {
	case s.N == 0:
		return "not measured"
	case s.Median <= t.Limit:
		return "met"
	case t.Under != Key{} && s.Median <= t.Limit*tie:
		return "**missed** (within 15 %: a tie)"
	default:
		return "**missed**"
	}
}

// Spread returns what t is about.
func (t Target) Spread(all Samples) Spread {
	if t.Under == (Key{}) {
		s := all.Figure(t.Over, t.Figure)
		if t.Unit > 0 {
			s.Median, s.Min, s.Max = s.Median/t.Unit, s.Min/t.Unit, s.Max/t.Unit
		}
		return s
	}
	return all.Ratio(t.Over, t.Under, t.Figure)
}

// Markdown writes the page: ratios and targets, what was refused or left out,
// the figures, and how they came about.
func (r Report) Markdown() string {
	var b strings.Builder
	b.WriteString("# Benchmark results\n\nWritten by `make bench`. Every figure is the median [lowest–highest] over the rounds. Only ratios travel between machines; " +
		"differences below 15 % are ties.\n\n")
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "**%s**\n\n", w)
	}
	r.ratios(&b)
	r.growth(&b)
	r.targets(&b)
	r.missing(&b)
	b.WriteString("## Figures\n\n")
	for _, m := range r.Measures {
		r.table(&b, m)
	}
	b.WriteString("## Machine, versions, commands\n\n")
	for _, f := range r.Facts {
		fmt.Fprintf(&b, "- %s: %s\n", f.Name, f.Text)
	}
	b.WriteString("\n## How it was measured\n\n")
	for _, p := range r.Method {
		b.WriteString(p + "\n\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// ratios is the first table: one proxy's cost over each other's.
func (r Report) ratios(b *strings.Builder) {
	subject, others := r.Subject, r.Others
	if !r.measured(subject) && len(others) > 1 {
		fmt.Fprintf(b, "%s was not measured; these are the ratios of %s.\n\n", subject, others[0])
		subject, others = others[0], others[1:]
	}
	fmt.Fprintf(b, "## Ratios: %s over each peer\n\nBelow 1 is less than the peer. CPU time per request; at the fixed rate the added p99; "+
		"for memory the bytes per idle connection. Paired round by round.\n\n", subject)
	b.WriteString("| measure |")
	for _, other := range others {
		fmt.Fprintf(b, " ÷ %s |", other)
	}
	b.WriteString("\n|---|" + strings.Repeat("--:|", len(others)) + "\n")
	for _, m := range r.Measures {
		if m.Kind == Scale {
			continue
		}
		fmt.Fprintf(b, "| %s |", m.Title)
		figure := map[Kind]string{Cost: CPU, Latency: P99, Memory: PerConnection}[m.Kind]
		for _, other := range others {
			ratio := r.Samples.Ratio(Key{m.Name, subject}, Key{m.Name, other}, figure)
			fmt.Fprintf(b, " %s |", ratio.Text(2))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
}

// growth is the table of each proxy over itself. Rows nobody has are left out.
func (r Report) growth(b *strings.Builder) {
	proxies := append([]string{r.Subject}, r.Others...)
	begun := false
	for _, g := range r.Growth {
		row, found := "| "+g.Title+" |", false
		for _, proxy := range proxies {
			ratio := r.Samples.Ratio(Key{g.Over, proxy}, Key{g.Under, proxy}, CPU)
			found = found || ratio.N > 0
			row += " " + ratio.Text(2) + " |"
		}
		if !found {
			continue
		}
		if !begun {
			begun = true
			b.WriteString("## Each proxy over itself\n\nCPU time per request.\n\n| | " + strings.Join(proxies, " | ") +
				" |\n|---|" + strings.Repeat("--:|", len(proxies)) + "\n")
		}
		b.WriteString(row + "\n")
	}
	if begun {
		b.WriteString("\n")
	}
}

func (r Report) measured(proxy string) bool {
	for _, s := range r.Samples {
		if s.Proxy == proxy && s.Refused == "" {
			return true
		}
	}
	return false
}

func (r Report) targets(b *strings.Builder) {
	if !r.measured(r.Subject) || len(r.Targets) == 0 {
		return
	}
	b.WriteString("## Targets\n\n| target | limit | measured | |\n|---|--:|--:|---|\n")
	for _, t := range r.Targets {
		s := t.Spread(r.Samples)
		decimals := 2
		if t.Limit >= 100 {
			decimals = 0
		}
		fmt.Fprintf(b, "| %s | ≤ %s | %s | %s |\n", t.Title, number(t.Limit, decimals), s.Text(decimals), t.Judge(s))
	}
	b.WriteString("\n")
}

// missing lists what was refused and what was left out.
func (r Report) missing(b *strings.Builder) {
	refused := r.Samples.Refusals()
	if len(refused)+len(r.Notes) == 0 {
		b.WriteString("No run was refused: every request of every run was answered in full with a 2xx status.\n\n")
		return
	}
	b.WriteString("## Refused and left out\n\n")
	for _, s := range refused {
		fmt.Fprintf(b, "- %s, %s, round %d is refused and counts nowhere: %s\n", s.Measure, s.Proxy, s.Round+1, line(s.Refused))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(b, "- %s\n", line(n))
	}
	b.WriteString("\n")
}

// line makes text fit for one line of a list.
func line(text string) string { return strings.Join(strings.Fields(text), " ") }

// column is one figure of a table.
type column struct {
	title    string
	figure   string
	scale    float64 // the figure is divided by it
	decimals int
}

const mebi = 1 << 20

var columns = map[Kind][]column{
	Cost: {
		{"CPU µs/request", CPU, 1, 1},
		{"requests/s", Rate, 1, 0},
		{"p50 ms", P50, 1000, 2},
		{"p99 ms", P99, 1000, 2},
		{"proxy cores", ProxyBusy, 1, 2},
		{"upstream cores", UpstreamBusy, 1, 2},
		{"generator cores", GeneratorBusy, 1, 2},
		{"log lines/request", Logged, 1, 3},
	},
	Latency: {
		{"p50 µs", P50, 1, 0},
		{"p99 µs", P99, 1, 0},
		{"p99.9 µs", P999, 1, 0},
		{"requests/s", Rate, 1, 0},
		{"CPU µs/request", CPU, 1, 1},
		{"generator late p99 µs", Late, 1, 0},
	},
	Memory: {
		{"at rest MiB", MemoryStart, mebi, 1},
		{"idle connections MiB", MemoryIdle, mebi, 1},
		{"after load MiB", MemoryLoad, mebi, 1},
		{"bytes/idle connection after 1 s", PerConnection, 1, 0},
		{"later (parked)", PerParked, 1, 0},
	},
	Scale: {
		{"start to ready ms", Start, 1000, 0},
		{"one change live ms, median", Change50, 1000, 1},
		{"p99", Change99, 1000, 1},
		{"resident after 5 s MiB", MemoryStart, mebi, 1},
		{"peak MiB", MemoryPeak, mebi, 1},
		{"p50 ms at rest", P50, 1000, 2},
		{"p99 ms", P99, 1000, 2},
		{"p50 ms in the storm", StormP50, 1000, 2},
		{"p99 ms in the storm", StormP99, 1000, 2},
		{"changes/s", StormEdits, 1, 1},
		{"failed requests", StormFailed, 1, 0},
	},
}

// table writes the figures of one measure. Columns nobody has are left out.
func (r Report) table(b *strings.Builder, m Measure) {
	var kept []column
	for _, c := range columns[m.Kind] {
		if r.has(m, c) {
			kept = append(kept, c)
		}
	}
	if len(kept) == 0 {
		return
	}
	fmt.Fprintf(b, "### %s\n\n| |", m.Title)
	for _, c := range kept {
		fmt.Fprintf(b, " %s |", c.title)
	}
	b.WriteString("\n|---|" + strings.Repeat("--:|", len(kept)) + "\n")
	for _, proxy := range r.rows(m) {
		name := proxy
		if m.Kind == Latency && proxy == Direct {
			name = "without a proxy (whole)"
		}
		fmt.Fprintf(b, "| %s |", name)
		for _, c := range kept {
			fmt.Fprintf(b, " %s |", r.cell(Key{m.Name, proxy}, c))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
}

// Direct is the proxy of samples taken without one.
const Direct = "direct"

func (r Report) rows(m Measure) []string {
	all := append([]string{r.Subject}, r.Others...)
	if m.Kind == Latency {
		all = append([]string{Direct}, all...)
	}
	var kept []string
	for _, proxy := range all {
		for _, s := range r.Samples {
			if s.Measure == m.Name && s.Proxy == proxy {
				kept = append(kept, proxy)
				break
			}
		}
	}
	return kept
}

func (r Report) has(m Measure, c column) bool {
	for _, proxy := range r.rows(m) {
		if r.Samples.Figure(Key{m.Name, proxy}, c.figure).N > 0 {
			return true
		}
	}
	return false
}

// cell formats one figure; a rate that the other core limited is a floor.
func (r Report) cell(k Key, c column) string {
	s := r.Samples.Figure(k, c.figure)
	s.Median, s.Min, s.Max = s.Median/c.scale, s.Min/c.scale, s.Max/c.scale
	text := s.Text(c.decimals)
	if c.figure == Rate && s.N > 0 && r.floor(k) {
		return "≥ " + text
	}
	return text
}

// floor reports whether generator and upstream were busier than the proxy, so
// that the rate says what they can do and not what the proxy can.
func (r Report) floor(k Key) bool {
	others := r.Samples.Figure(k, UpstreamBusy).Median + r.Samples.Figure(k, GeneratorBusy).Median
	return others > 0.9 && r.Samples.Figure(k, ProxyBusy).Median < 0.95
}

// Brief is a sample in a few words, for progress.
func Brief(s Sample) string {
	f := s.Figures
	if _, ok := f[StormEdits]; ok {
		return fmt.Sprintf("ready after %s ms, a change live after %.1f ms, %.1f MiB, peak %.1f, %s requests failed in the storm",
			number(f[Start]/1000, 0), f[Change50]/1000, f[MemoryStart]/mebi, f[MemoryPeak]/mebi, number(f[StormFailed], 0))
	}
	if _, ok := f[MemoryIdle]; ok {
		return fmt.Sprintf("%.1f MiB at rest, %s bytes per idle connection", f[MemoryStart]/mebi, number(f[PerConnection], 0))
	}
	return fmt.Sprintf("%.1f µs CPU, %s/s, p50 %s µs, p99 %s µs", f[CPU], number(f[Rate], 0), number(f[P50], 0), number(f[P99], 0))
}
