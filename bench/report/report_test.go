package report

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOf(t *testing.T) {
	tests := []struct {
		values []float64
		want   Spread
	}{
		{nil, Spread{}},
		{[]float64{7}, Spread{7, 7, 7, 1}},
		{[]float64{3, 1, 2}, Spread{2, 1, 3, 3}},
		{[]float64{4, 1, 3, 2}, Spread{2.5, 1, 4, 4}},
	}
	for _, test := range tests {
		before := slices.Clone(test.values)
		if got := Of(test.values); got != test.want {
			t.Errorf("Of(%v) = %v, want %v", test.values, got, test.want)
		}
		if !slices.Equal(before, test.values) {
			t.Errorf("Of reorders its argument: %v", test.values)
		}
	}
}

func TestText(t *testing.T) {
	tests := map[string]string{
		Spread{}.Text(1):                                  "–",
		Spread{1.26, 1.26, 1.26, 1}.Text(1):               "1.3",
		Spread{1234567.891, 999, 1000, 2}.Text(2):         "1,234,567.89 [999.00–1,000.00]",
		Spread{-1589, -100, 100000, 3}.Text(0):            "-1,589 [-100–100,000]",
		Spread{Median: 0.5, Min: 0, Max: 1, N: 3}.Text(2): "0.50 [0.00–1.00]",
	}
	for got, want := range tests {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// samples has three rounds of two proxies; the second round of one is refused.
func samples() Samples {
	one := func(proxy string, round int, cpu float64) Sample {
		return Sample{Measure: "m", Proxy: proxy, Round: round, Figures: map[string]float64{
			CPU: cpu, Rate: 1000, ProxyBusy: 0.5, UpstreamBusy: 0.5, GeneratorBusy: 0.45,
		}}
	}
	all := Samples{
		one("weir", 0, 10), one("nginx", 0, 20), one("nginx", 1, 5), one("weir", 1, 15), one("weir", 2, 30), one("nginx", 2, 20),
	}
	all[2].Refused = "1 bad status"
	return all
}

func TestRatioPairsRounds(t *testing.T) {
	got := samples().Ratio(Key{"m", "weir"}, Key{"m", "nginx"}, CPU)
	if want := (Spread{1, 0.5, 1.5, 2}); got != want { // not 15/20, the ratio of medians
		t.Errorf("ratio %v, want %v", got, want)
	}
	if got := samples().Ratio(Key{"m", "weir"}, Key{"m", "envoy"}, CPU); got.N != 0 {
		t.Errorf("ratio over what was not measured: %v", got)
	}
	if got := samples().Figure(Key{"m", "nginx"}, CPU); got.N != 2 || got.Min != 20 {
		t.Errorf("a refused run counts: %v", got)
	}
}

func TestJudge(t *testing.T) {
	ratio := Target{Over: Key{"m", "weir"}, Under: Key{"m", "nginx"}, Limit: 1}
	absolute := Target{Over: Key{"m", "weir"}, Limit: 100}
	tests := []struct {
		target Target
		median float64
		want   string
	}{
		{ratio, 1, "met"},
		{ratio, 1.1, "**missed** (within 15 %: a tie)"},
		{ratio, 1.16, "**missed**"},
		{absolute, 100, "met"},
		{absolute, 101, "**missed**"},
	}
	for _, test := range tests {
		if got := test.target.Judge(Spread{Median: test.median, N: 3}); got != test.want {
			t.Errorf("%v against %v: %q, want %q", test.median, test.target.Limit, got, test.want)
		}
	}
	if got := ratio.Judge(Spread{}); got != "not measured" {
		t.Errorf("nothing is judged %q", got)
	}
}

func TestMarkdown(t *testing.T) {
	r := Report{
		Samples: samples(), Subject: "weir", Others: []string{"nginx", "envoy"},
		Measures: []Measure{{Name: "m", Title: "The measure"}},
		Growth:   []Growth{{"m ÷ m", "m", "m"}, {"no row", "m", "x"}},
		Targets:  []Target{{Title: "CPU, ÷ nginx", Over: Key{"m", "weir"}, Under: Key{"m", "nginx"}, Figure: CPU, Limit: 0.5}},
		Facts:    []Fact{{"Machine", "a machine"}},
		Notes:    []string{"envoy is\nnot measured"},
		Method:   []string{"By looking."},
	}
	want := `# Benchmark results

Written by ` + "`make bench`" + `. Every figure is the median [lowest–highest] over the rounds. Only ratios travel between machines; differences below 15 % are ties.

## Ratios: weir over each peer

Below 1 is less than the peer. CPU time per request; at the fixed rate the added p99; for memory the bytes per idle connection. Paired round by round.

| measure | ÷ nginx | ÷ envoy |
|---|--:|--:|
| The measure | 1.00 [0.50–1.50] | – |

## Each proxy over itself

CPU time per request.

| | weir | nginx | envoy |
|---|--:|--:|--:|
| m ÷ m | 1.00 [1.00–1.00] | 1.00 [1.00–1.00] | – |

## Targets

| target | limit | measured | |
|---|--:|--:|---|
| CPU, ÷ nginx | ≤ 0.50 | 1.00 [0.50–1.50] | **missed** |

## Refused and left out

- m, nginx, round 2 is refused and counts nowhere: 1 bad status
- envoy is not measured

## Figures

### The measure

| | CPU µs/request | requests/s | proxy cores | upstream cores | generator cores |
|---|--:|--:|--:|--:|--:|
| weir | 15.0 [10.0–30.0] | ≥ 1,000 [1,000–1,000] | 0.50 [0.50–0.50] | 0.50 [0.50–0.50] | 0.45 [0.45–0.45] |
| nginx | 20.0 [20.0–20.0] | ≥ 1,000 [1,000–1,000] | 0.50 [0.50–0.50] | 0.50 [0.50–0.50] | 0.45 [0.45–0.45] |

## Machine, versions, commands

- Machine: a machine

## How it was measured

By looking.
`
	if diff := cmp.Diff(want, r.Markdown()); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
}

func TestMarkdownLatency(t *testing.T) {
	page := Report{
		Samples: Samples{
			{Measure: "paced", Proxy: Direct, Figures: map[string]float64{P50: 50, P99: 1500}},
			{Measure: "paced", Proxy: "weir", Figures: map[string]float64{P50: 20, P99: -30}},
		},
		Subject: "weir", Measures: []Measure{{Name: "paced", Title: "Paced", Kind: Latency}}, Warnings: []string{"Careful."},
	}.Markdown()
	for _, part := range []string{"\n**Careful.**\n", "| without a proxy (whole) | 50 | 1,500 |\n", "| weir | 20 | -30 |\n"} {
		if !strings.Contains(page, part) {
			t.Errorf("the page lacks %q:\n%s", part, page)
		}
	}
}

func TestMarkdownWithoutTheSubject(t *testing.T) {
	all := slices.DeleteFunc(samples(), func(s Sample) bool { return s.Proxy == "weir" })
	page := Report{
		Samples: all, Subject: "weir", Others: []string{"nginx", "envoy"}, Measures: []Measure{{Name: "m", Title: "M"}},
		Targets: []Target{{Title: "T", Limit: 1}},
	}.Markdown()
	if !strings.Contains(page, "weir was not measured; these are the ratios of nginx.") || strings.Contains(page, "## Targets") {
		t.Errorf("page:\n%s", page)
	}
}
