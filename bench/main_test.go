package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/bench/load"
	"weir.dev/weir/bench/report"
)

// TestMain lets the test program play the children of the benchmark, and a
// stand-in for Weir.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 2 && children[os.Args[1]] != nil:
		if err := children[os.Args[1]](os.Stdin, os.Stdout); err != nil {
			panic(err)
		}
	case len(os.Args) > 1 && os.Args[1] == "version":
		fmt.Println("stand-in")
	case len(os.Args) > 1 && os.Args[1] == "run":
		panic(forward(os.Args[3]))
	default:
		os.Exit(m.Run())
	}
}

// forward passes bytes between the port and an upstream that the files in dir
// name: all that a generator can ask for, short of an access log.
func forward(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "gateway.yaml"))
	if err != nil {
		return err
	}
	ports := regexp.MustCompile(`port: (\d+)`).FindAllSubmatch(text, -1)
	l, err := net.Listen("tcp4", "127.0.0.1:"+string(ports[0][1]))
	if err != nil {
		return err
	}
	for {
		down, err := l.Accept()
		if err != nil {
			return err
		}
		up, err := net.Dial("tcp4", "127.0.0.1:"+string(ports[1][1]))
		if err != nil {
			return err
		}
		pass := func(to, from net.Conn) {
			_, err := io.Copy(to, from)
			_ = errors.Join(err, to.Close(), from.Close())
		}
		go pass(up, down)
		go pass(down, up)
	}
}

// tooSlow matches refusals that a busy machine explains.
var tooSlow = regexp.MustCompile("rate was not held|^only|unfinished: no answer|nothing to compare with")

// TestWholeRun measures the stand-in and reads the page and the samples.
func TestWholeRun(t *testing.T) {
	dir := t.TempDir()
	raw, page := filepath.Join(dir, "raw.json"), filepath.Join(dir, "page.md")
	var progress bytes.Buffer
	err := run([]string{
		"-quick", "-rounds", "2", "-weir", os.Args[0], "-peers", "", "-rate", "100", "-only", "200x64,paced,log",
		"-raw", raw, "-out", page,
	}, io.Discard, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	var samples report.Samples
	text, err := os.ReadFile(raw)
	if err == nil {
		err = json.Unmarshal(text, &samples)
	}
	if err != nil {
		t.Fatal(err)
	}
	type found struct {
		measure, proxy string
		round          int
		refused        bool
	}
	var got []found
	for _, s := range samples {
		slow := tooSlow.MatchString(s.Refused)
		got = append(got, found{s.Measure, s.Proxy, s.Round, s.Refused != "" && !slow})
		if s.Measure == "200x64" && !slow && (s.Figures[report.CPU] <= 0 || s.Figures[report.Rate] <= 0) {
			t.Errorf("no CPU time or no rate: %+v", s)
		}
	}
	want := []found{
		{"200x64", "weir", 0, false},
		{"200x64", "weir", 1, false},
		{"paced", "direct", 0, false},
		{"paced", "weir", 0, false},
		{"paced", "direct", 1, false},
		{"paced", "weir", 1, false},
		{"log", "weir", 0, true}, // the stand-in writes none
		{"log", "weir", 1, true},
	}
	if !slices.Equal(got, want) {
		t.Errorf("samples %v\nwant %v\n%s", got, want, progress.String())
	}
	text, err = os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		"A check that everything runs, not a result", "(100 requests/s)", "- weir: stand-in\n",
		"log, weir, round 1 is refused and counts nowhere",
	} {
		if !strings.Contains(string(text), part) {
			t.Errorf("the page lacks %q:\n%s", part, text)
		}
	}
}

func TestNothingToMeasure(t *testing.T) {
	err := run([]string{"-weir", filepath.Join(t.TempDir(), "none"), "-peers", ""}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "nothing to measure") {
		t.Errorf("error %v", err)
	}
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"-quick", "-peers", "nginx, caddy", "-weir-args", "--a b"}, io.Discard)
	if err != nil || o.rounds != 1 || o.out != "" || !slices.Equal(o.peers, []string{"nginx", "caddy"}) || !slices.Equal(o.weirArgs, []string{"--a", "b"}) {
		t.Errorf("%+v, %v", o, err)
	}
	o, err = parse(nil, io.Discard)
	if err != nil || o.rounds != 3 || o.out != filepath.Join("bench", "RESULTS.md") {
		t.Errorf("%+v, %v", o, err)
	}
	o, err = parse([]string{"-only", "http1"}, io.Discard)
	if err != nil || o.out != "" {
		t.Errorf("a part goes to %q, %v; want standard output", o.out, err)
	}
	for _, args := range [][]string{
		{"-rounds", "0"}, {"-rate", "0"}, {"-peers", "apache"}, {"-only", "everything"}, {"more"}, {"-nothing"},
	} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}

func TestGroups(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range groups() {
		for _, m := range g.measures {
			if seen[m.name] || m.title == "" || m.setup.workers < 1 || m.load.Connections < 1 {
				t.Errorf("measure %+v is a second one, or incomplete", m)
			}
			seen[m.name] = true
		}
	}
	for _, target := range targets() {
		if !seen[target.Over.Measure] || target.Under.Measure != "" && !seen[target.Under.Measure] {
			t.Errorf("target %q is about no measure", target.Title)
		}
	}
}

func TestChosen(t *testing.T) {
	names := func(groups []group) string {
		var all []string
		for _, g := range groups {
			for _, m := range g.measures {
				all = append(all, m.name)
			}
		}
		return strings.Join(all, " ")
	}
	if got := names(chosen([]string{"two", "200x64", "memory"})); got != "200x64 two200 two64k memory" {
		t.Errorf("chosen: %s", got)
	}
	if got := len(strings.Fields(names(chosen(nil)))); got < 15 {
		t.Errorf("everything is %d measures", got)
	}
}

func TestTurned(t *testing.T) {
	list := []int{1, 2, 3}
	if got := turned(list, 1); !slices.Equal(got, []int{3, 2, 1}) || !slices.Equal(turned(list, 2), list) {
		t.Errorf("turned: %v", got)
	}
}

func TestCores(t *testing.T) {
	tests := []struct {
		n, workers  int
		proxy, rest string
	}{{1, 1, "0", "0"}, {2, 1, "0", "1"}, {2, 2, "0,1", "0,1"}, {8, 1, "0", "1"}, {8, 2, "0,1", "2,3"}}
	for _, test := range tests {
		if proxy, rest := cores(test.n, test.workers); proxy != test.proxy || rest != test.rest {
			t.Errorf("cores(%d, %d) = %s and %s", test.n, test.workers, proxy, rest)
		}
	}
}

func TestFigures(t *testing.T) {
	got := figures(load.Result{
		Completed: 1000, Elapsed: 2 * time.Second, Generator: time.Second, Machine: 2510 * time.Millisecond,
		CPU:     map[string]time.Duration{"proxy": 10 * time.Millisecond, "upstream": 500 * time.Millisecond},
		Latency: load.Quantiles{P50: time.Millisecond},
	})
	for figure, want := range map[string]float64{
		report.CPU: 10, report.Rate: 500, report.P50: 1000, report.ProxyBusy: 0.005, report.UpstreamBusy: 0.25, report.GeneratorBusy: 0.5,
		report.Foreign: 0.5,
	} {
		if got[figure] != want {
			t.Errorf("%s is %v, want %v", figure, got[figure], want)
		}
	}
	if _, ok := figures(load.Result{Completed: 1, Elapsed: 1})[report.CPU]; ok {
		t.Error("CPU time of no proxy")
	}
}

func TestSubtract(t *testing.T) {
	sample := func() report.Sample {
		return report.Sample{Figures: map[string]float64{report.P50: 30, report.P99: 50, report.P999: 60, report.CPU: 9}}
	}
	direct := report.Sample{Figures: map[string]float64{report.P50: 10, report.P99: 60, report.P999: 20}}
	s := sample()
	subtract(&s, direct)
	if f := s.Figures; f[report.P50] != 20 || f[report.P99] != -10 || f[report.P999] != 40 || f[report.CPU] != 9 {
		t.Errorf("added latency %v", f)
	}
	s = sample()
	if subtract(&s, report.Sample{Refused: "broken"}); s.Refused == "" || s.Figures != nil {
		t.Errorf("counts without a baseline: %+v", s)
	}
}

func TestCountLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("a\nb\nincomplete"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := countLines(path); n != 2 || err != nil {
		t.Errorf("%d lines, %v", n, err)
	}
}

func TestPauseEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if err := pause(ctx, time.Hour); !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
}

func TestModel(t *testing.T) {
	if got := model("vendor_id\t: X\nmodel name\t: A: B\n"); got != "A: B" {
		t.Errorf("model %q", got)
	}
	if got := model(""); got != "unknown processor" {
		t.Errorf("model %q", got)
	}
}
