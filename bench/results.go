package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"weir.dev/weir/bench/peer"
	"weir.dev/weir/bench/report"
)

// report puts what was measured on a page.
func (b *bench) report() string {
	r := report.Report{
		Samples: b.samples, Subject: "weir", Others: b.peers, Targets: b.targets(),
		Growth: []report.Growth{
			{Title: "1,000 routes ÷ 10 routes", Over: "routes1000", Under: "routes10"},
			{Title: "10,000 routes ÷ 10 routes", Over: "routes10000", Under: "routes10"},
			{Title: "Every protection on ÷ none", Over: "guarded", Under: "unguarded"},
			{Title: "A tenth of the requests copied ÷ none", Over: "mirrored", Under: "unmirrored"},
			{Title: "1,000 connections ÷ 64, 200 B", Over: "200x1000", Under: "200x64"},
		},
		Facts: b.facts(), Notes: b.notes, Method: b.method(),
	}
	for _, g := range chosen(b.only) {
		for _, m := range g.measures {
			title := m.title
			if m.kind == paced {
				title = fmt.Sprintf("%s (%d requests/s)", title, b.rate)
			}
			r.Measures = append(r.Measures, report.Measure{Name: m.name, Title: title, Kind: kinds[m.kind]})
		}
	}
	if b.rounds < 3 || b.quick {
		r.Warnings = append(r.Warnings, "A check that everything runs, not a result: too few rounds or too short ones.")
	}
	if foreign := b.foreign(); foreign.Median > maxForeign {
		r.Warnings = append(r.Warnings, fmt.Sprintf("Other programs used %s cores while this was measured: measure again on a quiet machine.", foreign.Text(2)))
	}
	return r.Markdown()
}

// maxForeign is how many cores other programs may use before it is said.
const maxForeign = 0.2

// foreign returns what other programs used during the measurements.
func (b *bench) foreign() report.Spread {
	var all []float64
	for _, s := range b.samples {
		if used, ok := s.Figures[report.Foreign]; ok {
			all = append(all, used)
		}
	}
	return report.Of(all)
}

var kinds = map[kind]report.Kind{closed: report.Cost, paced: report.Latency, memory: report.Memory, scale: report.Scale}

// targets are those of the measures that were chosen.
func (b *bench) targets() []report.Target {
	measured := map[string]bool{}
	for _, g := range chosen(b.only) {
		for _, m := range g.measures {
			measured[m.name] = true
		}
	}
	return slices.DeleteFunc(targets(), func(t report.Target) bool { return !measured[t.Over.Measure] })
}

// targets are what this build is to reach.
func targets() []report.Target {
	ratio := func(title, measure, peer, figure string, limit float64) report.Target {
		return report.Target{
			Title: title + ", ÷ " + peer, Figure: figure, Limit: limit,
			Over: report.Key{Measure: measure, Proxy: "weir"}, Under: report.Key{Measure: measure, Proxy: peer},
		}
	}
	weir := func(measure string) report.Key { return report.Key{Measure: measure, Proxy: "weir"} }
	return []report.Target{
		ratio("CPU, 200 B, 64 connections", "200x64", "nginx", report.CPU, 1),
		ratio("CPU, 200 B, 64 connections", "200x64", "haproxy", report.CPU, 1),
		ratio("CPU, 200 B, 64 connections", "200x64", "envoy", report.CPU, 0.33),
		ratio("CPU, 200 B, 64 connections", "200x64", "caddy", report.CPU, 0.25),
		ratio("CPU, 200 B, 1,000 connections", "200x1000", "nginx", report.CPU, 1),
		ratio("CPU, 200 B, 1,000 connections", "200x1000", "envoy", report.CPU, 0.25),
		ratio("CPU, 64 KiB, 64 connections", "64kx64", "nginx", report.CPU, 1),
		ratio("CPU, 64 KiB, 64 connections", "64kx64", "envoy", report.CPU, 0.45),
		ratio("Added p99 at a fixed rate", "paced", "nginx", report.P99, 1),
		ratio("CPU, TLS 1.3, 200 B on kept connections", "tls200", "nginx", report.CPU, 0.9),
		ratio("CPU, TLS 1.3, 200 B on kept connections", "tls200", "envoy", report.CPU, 0.33),
		ratio("CPU, TLS 1.3, full handshakes", "handshakes", "nginx", report.CPU, 1),
		ratio("CPU, HTTP/2 to HTTP/1.1, 200 B", "h2down200", "nginx", report.CPU, 1.2),
		ratio("CPU, HTTP/2 to HTTP/1.1, 200 B", "h2down200", "envoy", report.CPU, 0.5),
		ratio("CPU, gRPC, unary", "grpcunary", "envoy", report.CPU, 0.6),
		ratio("CPU, TCP, 1 MiB", "bytes1m", "haproxy", report.CPU, 1.1),
		{
			Title: "CPU among 10,000 routes, ÷ among 10", Figure: report.CPU, Limit: 1.1,
			Over: weir("routes10000"), Under: weir("routes10"),
		},
		{
			Title: "CPU with every protection on, ÷ with none", Figure: report.CPU, Limit: 1.25,
			Over: weir("guarded"), Under: weir("unguarded"),
		},
		{
			Title: "CPU with a tenth of the requests copied, ÷ with none", Figure: report.CPU, Limit: 1.1,
			Over: weir("mirrored"), Under: weir("unmirrored"),
		},
		{Title: "Bytes per idle connection", Figure: report.PerConnection, Limit: 6 << 10, Over: weir("memory")},
		{Title: "Bytes per idle connection, parked", Figure: report.PerParked, Limit: 1536, Over: weir("memory")},
		{Title: "Bytes per idle connection, TLS", Figure: report.PerConnection, Limit: 12 << 10, Over: weir("idletls")},
		{Title: "Bytes per idle connection, TLS, parked", Figure: report.PerParked, Limit: 12 << 10, Over: weir("idletls")},
		{Title: "Bytes per idle connection, HTTP/2 over TLS", Figure: report.PerConnection, Limit: 12 << 10, Over: weir("idleh2")},
		{Title: "Bytes per idle connection, HTTP/2 over TLS, parked", Figure: report.PerParked, Limit: 12 << 10, Over: weir("idleh2")},
		{Title: "10,000 routes: start to ready, ms", Figure: report.Start, Limit: 1000, Unit: 1000, Over: weir("scale")},
		{Title: "10,000 routes: one changed route live, median, ms", Figure: report.Change50, Limit: 10, Unit: 1000, Over: weir("scale")},
		{Title: "10,000 routes: resident after 5 s, MiB", Figure: report.MemoryStart, Limit: 100, Unit: 1 << 20, Over: weir("scale")},
		{Title: "10,000 routes: resident at peak, MiB", Figure: report.MemoryPeak, Limit: 100, Unit: 1 << 20, Over: weir("scale")},
		{Title: "10,000 routes: failed requests in a storm of changes", Figure: report.StormFailed, Limit: 0, Over: weir("scale")},
	}
}

func (b *bench) facts() []report.Fact {
	facts := []report.Fact{
		{Name: "Date", Text: b.began.UTC().Format("2006-01-02 15:04 UTC") + ", took " + time.Since(b.began).Round(time.Second).String()},
		{Name: "Machine", Text: machine()},
		{Name: "Command", Text: "`" + strings.TrimSpace(b.command) + "`"},
		{Name: "Rounds", Text: fmt.Sprintf("%d, in turn forwards and backwards; %v of warm-up, %v of measuring (%v at the fixed rate); idle connections after 1s and %v",
			b.rounds, b.warmup, b.window, b.paced, b.parked)},
		{Name: "Cores used by other programs meanwhile", Text: b.foreign().Text(2)},
		{Name: "Generator and upstream", Text: "this program, " + runtime.Version()},
	}
	for _, p := range b.proxies {
		facts = append(facts, report.Fact{Name: p.Name, Text: b.versions[p.Name]})
	}
	return append(facts, report.Fact{Name: "Weir's command", Text: "`" + strings.Join(append([]string{
		"weir run -f DIR --admin 127.0.0.1:PORT --state-dir DIR",
	}, b.weirArgs...), " ") + "`, with an access log also `" + strings.Join(b.weirLog, " ") + "`"})
}

func machine() string {
	var name unix.Utsname
	kernel := "unknown kernel"
	if unix.Uname(&name) == nil {
		kernel = "Linux " + unix.ByteSliceToString(name.Release[:])
	}
	memory := ""
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		memory = fmt.Sprintf(", %d GiB", uint64(info.Totalram)*uint64(info.Unit)>>30)
	}
	text, _ := os.ReadFile("/proc/cpuinfo")
	congestion, _ := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control")
	return fmt.Sprintf("%s, %d cores%s, %s, TCP congestion control %s", model(string(text)), runtime.NumCPU(), memory, kernel,
		strings.TrimSpace(string(congestion)))
}

// model finds the processor's name in /proc/cpuinfo.
func model(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

// method says how the figures came about, and what is not equal.
func (b *bench) method() []string {
	proxyTwo, restTwo := cores(runtime.NumCPU(), 2)
	all := []string{
		"Each proxy has one worker (GOMAXPROCS=1, nbthread 1, --concurrency 1) and is pinned to core 0; generator and upstream share core 1. " +
			"With two workers the proxy has cores " + proxyTwo + " and the generator " + restTwo + ". CPU per request is the run time of all threads of the " +
			"proxy's process tree inside the window over the answers completed in it. All proxies of a group run at the same time and are measured one " +
			"after the other, so that the rounds interleave; the ones that wait are idle.",
		"The generator and the upstream are single-threaded epoll loops. \"Cores\" in the tables is CPU time over wall time; where generator and upstream " +
			"fill their core before the proxy fills its own, the rate is a floor of what the proxy can do and marked ≥. CPU per request does not suffer from that, " +
			"but batches grow with load, so it is not independent of it either.",
		"A run with a failed request (another status than 2xx, a body of another length, a connection that broke or was closed, warm-up included) is refused.",
		"The fixed rate is an open loop: send times are evenly spaced over the connections, and latency counts from when a request should have been sent, so that " +
			"a stall shows in every request it delays. The latency of the upstream without a proxy, taken in the same round, is subtracted quantile by quantile; " +
			"such a difference can be below zero.",
		"Requests have five header fields, spread over 64 or 1,000 connections; the upstream has four ports, chosen by least requests. With many routes each has a host " +
			"name of its own and requests go to all of them in a shuffled order: Weir has one HTTPRoute per host in 100 files, nginx server blocks, HAProxy a map, Envoy " +
			"virtual hosts, Caddy one route per host.",
		"Memory is the resident set of the process tree without the kernel's socket memory; every idle connection had one request answered before. nginx and HAProxy " +
			"reserve their connection tables at the start, so their idle figures flatter them. Weir gives free memory back once it has parked many connections, what its own " +
			"start left over included, which makes its later figure some 100 B too low; and it includes what the Go runtime keeps for reuse of as many goroutines as were there at " +
			"once, about 1 KiB a connection here, where all come within a second or two.",
		"Over TLS the opening of 5,000 connections at five proxies takes some 10 s, so that some of Weir's are parked when the first figure is read; the highest of a range is of a round in which they were not.",
		fmt.Sprintf("With 10,000 routes Weir has two workers. The start is from the program's start to its first answer. A change is from the renaming of a file of 100 routes, of which "+
			"one is different and the others are where they were, to the first answer that shows it, after a pause of %v; the requests that ask for it take a fraction of a millisecond each. In the storm %d files a second are "+
			"replaced for %v, every eleventh by one that is not YAML until its next turn, while requests for all hosts are sent at the fixed rate of the latency measure; failed requests are counted, and "+
			"the last edit must be live at the end. Memory is read before that; its peak is that of the start.", changePause, stormRate, b.storm),
		"What is not HTTP/1.1 in clear text is sent by others: h2load (TLS, HTTP/2, unary gRPC), crypto/tls (handshakes), net/http (streams of gRPC, their upstream, too) and quic-go (HTTP/3), " +
			"each with one core that the upstream shares. nghttpd is the upstream of HTTP/2 on both sides. They cost more than the proxies, which are seldom busy then: read CPU per request, not rates. " +
			"h2load's window has the making of its connections in it. TLS is 1.3 only, with one ECDSA P-256 certificate; the handshakes' clients offer X25519 only, because not every proxy here has " +
			"the hybrid with ML-KEM that Weir and Caddy would choose; no session is resumed. Of a connection with a handshake the request on it and its end are part.",
		"Over TCP the generator sends its requests of HTTP/1.1 through proxies that do not look at them. HAProxy and Weir splice.",
		"Not measured here: more cores, allocations (a test counts those).",
		"All proxies keep connections alive on both sides and add X-Forwarded-For, X-Forwarded-Proto and X-Request-Id; none compresses; access logs are off except " +
			"in the measure about them. What differs:",
	}
	var differences []string
	for _, p := range append([]peer.Proxy{peer.Weir("", nil, nil)}, peer.Peers()...) {
		differences = append(differences, "- "+p.Name+": "+p.Difference+".")
	}
	return append(all, strings.Join(differences, "\n"))
}
