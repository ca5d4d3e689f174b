package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir.dev/weir/app"
	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/simulate"
	"weir.dev/weir/controlplane/translate"
)

// What is played twice: by a simulation, and by a proxy with servers and callers on loopback.
const (
	playedResources = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weir, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: shop}]}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: shop}
spec: {endpoints: [{address: 10.0.0.1, port: 80}, {address: 10.0.0.2, port: 80}, {address: 10.0.0.3, port: 80}, {address: 10.0.0.4, port: 80}]}
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: shop-hosts}
spec:
  targetRefs: [{group: weir.dev, kind: Backend, name: shop}]
  outlierDetection: {consecutiveLocal: 0}
  loadBalancing: {algorithm: %s}
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]
`
	playedNaive = `  retries: {attempts: 5, retryOn: [ConnectFailure, Reset, PerTryTimeout, "503"], budget: {percent: 100%, minPerSecond: 100000}}
  timeouts: {request: 4s, perTry: 300ms}
`
	playedGood = `  retries: {attempts: 2, retryOn: [ConnectFailure, Reset, PerTryTimeout, "503"], budget: {percent: 20%, minPerSecond: 3}}
  timeouts: {request: 1s, perTry: 300ms}
  overload: {concurrency: {limit: 12}, queue: {size: 20, timeout: 50ms}}
`
	playedOnce = `  timeouts: {request: 4s}
`
	playedTwice = `  retries: {attempts: 2, budget: {percent: 100%, minPerSecond: 100}}
  timeouts: {request: 4s}
`
	playedScenario = `apiVersion: weir.dev/v1alpha1
kind: Scenario
metadata: {name: brown-out}
spec:
  duration: 10s
  seed: %d
  callers: [{name: shoppers, request: {url: "http://shop.example.com/"}, count: %d, think: 500ms, timeout: 5s}]
  services: [{backend: shop, concurrency: 2, serviceTime: {mean: 40ms, p99: 120ms}, queue: 60}]
  events: [{at: 3s, for: 3s, backend: shop, %s}]
  limits:
  - {maxAmplification: "%s"}
  - {from: %s, minSuccess: %s}
`
	playedRuns = 3
)

// A plot is a scenario with a policy, and which of its two limits are held.
type plot struct {
	name          string
	algorithm     string // of load balancing
	policy        string
	callers       int
	event         string
	amplification string        // at most
	from, until   time.Duration // of the second limit
	success       string        // at least
	held          [2]bool
}

var plots = []plot{
	{"slow naive", "LeastRequest", playedNaive, 80, `slowDown: "5"`, "1.3", 7 * time.Second, 9 * time.Second, "90%", [2]bool{false, false}},
	{"slow good", "LeastRequest", playedGood, 80, `slowDown: "5"`, "1.3", 7 * time.Second, 9 * time.Second, "90%", [2]bool{true, true}},
	{"dead once", "RoundRobin", playedOnce, 40, `outage: true, hosts: "1"`, "1.01", 3 * time.Second, 6 * time.Second, "95%", [2]bool{true, false}},
	{"dead twice", "RoundRobin", playedTwice, 40, `outage: true, hosts: "1"`, "1.01", 3 * time.Second, 6 * time.Second, "95%", [2]bool{false, true}},
}

func (p *plot) resources() string { return fmt.Sprintf(playedResources, p.algorithm) + p.policy }

func (p *plot) scenario(seed int) []byte {
	return fmt.Appendf(nil, playedScenario, seed, p.callers, p.event, p.amplification, fmt.Sprintf("%s, until: %s", p.from, p.until), p.success)
}

// least is the share that must succeed.
func (p *plot) least() float64 { return resource.Share(p.success).Of(0) }

// played is what is compared: what became of each limit, and the amplification.
type played struct {
	held          [2]bool
	amplification float64
	text          string
}

// TestSimulationIsTrue plays a brown-out of all hosts under a policy that makes it a retry storm
// and under one that does not, and the death of one host with retries and without, on a real proxy
// and in simulation: limits that are held, or exceeded, and the tries for each request are the
// same. Of some runs of each the median counts.
func TestSimulationIsTrue(t *testing.T) {
	turns := make(chan struct{}, runtime.GOMAXPROCS(0)) // more at once would wait for each other, which no simulation knows of
	for _, p := range plots {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			turns <- struct{}{}
			defer func() { <-turns }()
			measured := make([]played, playedRuns)
			var runs sync.WaitGroup
			for i := range measured {
				w := startPlayed(t, &p, uint64(i))
				runs.Go(func() { measured[i] = w.play(t) })
			}
			runs.Wait()
			simulated := make([]played, playedRuns)
			for i := range simulated {
				simulated[i] = p.simulate(t, i)
			}
			for _, r := range slices.Concat(simulated, measured) {
				t.Logf("amplification %.3f, held %v: %s", r.amplification, r.held, r.text)
			}
			want, got := median(simulated), median(measured)
			if got.held != want.held || want.held != p.held {
				t.Errorf("held are %v, simulated %v, expected %v", got.held, want.held, p.held)
			}
			if off := got.amplification/want.amplification - 1; math.Abs(off) > 0.15 {
				t.Errorf("amplification is %.2f, simulated %.2f: %+.0f%%", got.amplification, want.amplification, 100*off)
			}
		})
	}
}

// median returns the run of the middle amplification, with the verdicts of most runs.
func median(runs []played) played {
	slices.SortFunc(runs, func(a, b played) int { return int(math.Copysign(1, a.amplification-b.amplification)) })
	m := runs[len(runs)/2]
	for i := range m.held {
		n := 0
		for _, r := range runs {
			if r.held[i] {
				n++
			}
		}
		m.held[i] = 2*n > len(runs)
	}
	return m
}

func (p *plot) simulate(t *testing.T, seed int) played {
	t.Helper()
	var d resource.Decoder
	objects, found := d.Decode("resources.yaml", []byte(p.resources()))
	out := translate.Translate(translate.Input{Set: resource.NewSet(objects, nil)})
	scenarios, wrong := resource.DecodeScenarios("scenario.yaml", p.scenario(seed))
	if len(found)+len(wrong) > 0 || len(scenarios) != 1 {
		t.Fatal(found, wrong)
	}
	r, wrong, err := simulate.Run(t.Context(), simulate.Input{Snapshot: out.Snapshot, Scenario: scenarios[0]})
	if err != nil || len(wrong) > 0 {
		t.Fatal(err, wrong)
	}
	return played{[2]bool{r.Limits[0].Held, r.Limits[1].Held}, r.Amplification, fmt.Sprint(r.Limits)}
}

// theatre is a running proxy with the servers behind it and the callers before it.
type theatre struct {
	*weir
	plot     *plot
	random   *rand.Rand
	lot      sync.Mutex   // of random
	slow     atomic.Int64 // how many times as long work takes
	arrivals atomic.Int64
	needed   atomic.Int64 // of these, the first of a request
	down     atomic.Bool  // the first host
	refused  atomic.Int64 // connections to it
}

// Of the scenario.
const (
	playedDuration = 10 * time.Second
	playedBegin    = 3 * time.Second
	playedEnd      = 6 * time.Second
	playedWork     = 40 * time.Millisecond
	playedSigma    = 0.53 // of the log-normal distribution with p99 at three times the mean
)

// startPlayed starts a proxy. Its hosts are servers that work on two requests at once and let 60 wait.
func startPlayed(t *testing.T, p *plot, seed uint64) *theatre {
	t.Helper()
	s := &theatre{plot: p, random: rand.New(rand.NewPCG(seed, 1))}
	s.slow.Store(1)
	s.weir = start(t, map[string]string{"all.yaml": p.resources()}, func(c *app.Config) {
		dial := c.Dial
		c.Dial = func(ctx context.Context, address netip.AddrPort) (net.Conn, error) {
			if address == firstHost && s.down.Load() {
				s.refused.Add(1)
				return nil, errors.New("connection refused")
			}
			return dial(ctx, address)
		}
	})
	s.handler = s.host
	return s
}

// firstHost is the one that dies.
var firstHost = netip.MustParseAddrPort("10.0.0.1:80")

// happen begins or ends the event.
func (s *theatre) happen(begins bool) {
	if s.plot.event == `slowDown: "5"` {
		s.slow.Store(map[bool]int64{true: 5, false: 1}[begins])
		return
	}
	s.down.Store(begins)
	s.mu.Lock()
	host := s.upstreams[firstHost]
	s.mu.Unlock()
	if begins && host != nil {
		host.CloseClientConnections()
	}
}

// host is a server: what waits, waits in order, and nobody looks whether the caller is there still.
func (s *theatre) host(string) http.Handler {
	slots := make(chan struct{}, 2)
	var waiting atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.arrivals.Add(1)
		if r.Header.Get("X-Weir-Attempt") == "1" {
			s.needed.Add(1)
		}
		if waiting.Add(1) > 60+2 {
			waiting.Add(-1)
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		slots <- struct{}{}
		<-time.After(time.Duration(float64(playedWork) * float64(s.slow.Load()) * math.Exp(playedSigma*s.draw(normal)-playedSigma*playedSigma/2)))
		<-slots
		waiting.Add(-1)
	})
}

func normal(r *rand.Rand) float64 { return r.NormFloat64() }

func exponential(r *rand.Rand) float64 { return r.ExpFloat64() }

func (s *theatre) draw(from func(*rand.Rand) float64) float64 {
	s.lot.Lock()
	defer s.lot.Unlock()
	return from(s.random)
}

// play has callers ask while the scenario goes on.
func (s *theatre) play(t *testing.T) played {
	client := s.client(t)
	client.Timeout = 5 * time.Second
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = s.plot.callers
	begin := time.Now()
	begins, ends := time.AfterFunc(playedBegin, func() { s.happen(true) }), time.AfterFunc(playedEnd, func() { s.happen(false) })
	defer begins.Stop()
	defer ends.Stop()
	var callers sync.WaitGroup
	var asked, late, good atomic.Int64 // late: of those that ended in the time of the second limit
	ctx, stop := context.WithDeadline(t.Context(), begin.Add(playedDuration))
	defer stop()
	for range s.plot.callers {
		callers.Go(func() {
			pause := func(d time.Duration) bool {
				select {
				case <-time.After(d):
					return ctx.Err() == nil
				case <-ctx.Done():
					return false
				}
			}
			for more := pause(time.Duration(s.draw(func(r *rand.Rand) float64 { return r.Float64() }) * 5e8)); more; more = pause(time.Duration(s.draw(exponential) * 5e8)) {
				asked.Add(1)
				well := asks(ctx, client)
				if since := time.Since(begin); since >= s.plot.from && since < s.plot.until {
					late.Add(1)
					if well {
						good.Add(1)
					}
				}
			}
		})
	}
	callers.Wait()
	success := float64(good.Load()) / float64(max(1, late.Load()))
	// Without retries tries are not numbered; each is the first then. A connection that is refused is a
	// try that no server has seen.
	tries, needed := s.arrivals.Load()+s.refused.Load(), s.needed.Load()
	if s.plot.policy == playedOnce {
		needed = tries
	} else if s.refused.Load() > 0 {
		needed = asked.Load()
	}
	p := played{amplification: float64(tries) / float64(max(1, needed))}
	most, _ := strconv.ParseFloat(s.plot.amplification, 64)
	p.held = [2]bool{p.amplification <= most, success >= s.plot.least()}
	p.text = fmt.Sprintf("really: %d requests, %d of them tried, %d tries, %.1f%% of %d succeeded", asked.Load(), needed, tries, 100*success, late.Load())
	return p
}

func asks(ctx context.Context, client *http.Client) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://shop.example.com:80/", nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(request)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK
}
