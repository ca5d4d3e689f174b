// Package report keeps what a benchmark measured and writes it down: medians
// and ranges over rounds, ratios paired round by round, targets met and missed.
// It measures nothing itself.
package report

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Sample is one measurement of one proxy in one round.
type Sample struct {
	Measure string
	Proxy   string
	Round   int
	Figures map[string]float64 `json:",omitempty"` // by name, units in the name's documentation
	Refused string             `json:",omitempty"` // why the run does not count; then there are no figures
}

// Names of figures. Times are in microseconds, memory in bytes, shares from 0 to 1.
const (
	CPU           = "cpu"       // proxy CPU time per request
	Rate          = "rate"      // requests per second
	P50           = "p50"       // latency; the added one in a paced measure
	P99           = "p99"       //
	P999          = "p999"      //
	ProxyBusy     = "proxy"     // CPU time of the proxy over the window, 1 is one core
	UpstreamBusy  = "upstream"  // the same of the upstream
	GeneratorBusy = "generator" // the same of the generator
	Foreign       = "foreign"   // the same of everything else on the machine
	Late          = "late"      // p99 of how late the generator was for its paced requests
	MemoryStart   = "start"     // resident after the start
	MemoryLoad    = "load"      // resident after load
	MemoryIdle    = "idle"      // resident with idle connections
	PerConnection = "perconn"   // resident per idle connection, after a second
	PerParked     = "perparked" // the same some seconds later
	Logged        = "logged"    // access log lines over requests

	Start       = "ready"       // from the start of a program to its first answer
	Change50    = "change50"    // from a changed file to the first answer that shows it, median
	Change99    = "change99"    // the same, p99
	MemoryPeak  = "peak"        // the most that was ever resident
	StormP50    = "stormp50"    // latency in a storm of changes
	StormP99    = "stormp99"    //
	StormFailed = "stormfailed" // requests that failed in it
	StormEdits  = "stormedits"  // changes per second that it had
)

// Spread is a median with its range over n rounds.
type Spread struct {
	Median, Min, Max float64
	N                int
}

// Of returns the spread of values; that of none has N 0.
func Of(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return Spread{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Min: sorted[0], Max: sorted[n-1], N: n}
}

// Text formats s as median [min–max], with decimals and thousands separated;
// one round has no range, and nothing measured is a dash.
func (s Spread) Text(decimals int) string {
	switch s.N {
	case 0:
		return "–"
	case 1:
		return number(s.Median, decimals)
	}
	return fmt.Sprintf("%s [%s–%s]", number(s.Median, decimals), number(s.Min, decimals), number(s.Max, decimals))
}

// number formats v with a comma between thousands.
func number(v float64, decimals int) string {
	text := strconv.FormatFloat(v, 'f', decimals, 64)
	whole, fraction, _ := strings.Cut(text, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction != "" {
		whole += "." + fraction
	}
	return sign + whole
}

// Samples is everything measured.
type Samples []Sample

// Key names what was measured.
type Key struct{ Measure, Proxy string }

// Figure returns the spread of a figure over the rounds that count.
func (all Samples) Figure(k Key, figure string) Spread {
	var values []float64
	for _, v := range all.rounds(k, figure) {
		values = append(values, v)
	}
	return Of(values)
}

// Ratio returns the spread of a figure of one over that of another, each
// round paired with itself. Rounds that lack either are left out.
func (all Samples) Ratio(over, under Key, figure string) Spread {
	below := all.rounds(under, figure)
	var values []float64
	for round, v := range all.rounds(over, figure) {
		if u, ok := below[round]; ok && u > 0 && !math.IsNaN(v) {
			values = append(values, v/u)
		}
	}
	return Of(values)
}

// Refusals returns the samples that do not count.
func (all Samples) Refusals() Samples {
	var refused Samples
	for _, s := range all {
		if s.Refused != "" {
			refused = append(refused, s)
		}
	}
	return refused
}

// rounds returns a figure by round.
func (all Samples) rounds(k Key, figure string) map[int]float64 {
	found := map[int]float64{}
	for _, s := range all {
		if v, ok := s.Figures[figure]; ok && s.Refused == "" && s.Measure == k.Measure && s.Proxy == k.Proxy {
			found[s.Round] = v
		}
	}
	return found
}
