package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// rig is a running weir with five hosts in namespaces of their own, and callers.
type rig struct {
	*process
	dir   string // of its configuration
	hosts []*rigHost
	front string
}

const rigRate = 300 // requests a second, while nothing is slow

// policies are the numbers of the TrafficPolicies that a rig is about.
type policies struct {
	retries  string // of the route
	overload string
	outlier  string // of the backend
	breaker  string
}

func (p policies) text() string {
	return fmt.Sprintf(`apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]
  timeouts: {request: 8s, perTry: 1s}
  retries: {%s}
  overload: {%s}
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: shop-hosts}
spec:
  targetRefs: [{group: weir.dev, kind: Backend, name: shop}]
  timeouts: {connect: 300ms}
  loadBalancing: {algorithm: RoundRobin}   # which avoids nobody by itself
  outlierDetection: {%s}
  circuitBreaker: {%s}
`, p.retries, p.overload, p.outlier, p.breaker)
}

// newRig starts everything. It must be called in a process of isolate's.
func newRig(t *testing.T, p policies) *rig {
	t.Helper()
	bridge(t)
	r := &rig{dir: t.TempDir(), front: freePort(t)}
	var addresses []string
	for i := range 5 {
		h := join(t, i)
		r.hosts = append(r.hosts, h)
		addresses = append(addresses, h.address())
	}
	for _, h := range r.hosts {
		h.start(t)
	}
	put(t, filepath.Join(r.dir, "routes.yaml"), edge(r.front)+routed("shop", "shop")+backend("shop", addresses...))
	put(t, r.policies(), p.text())
	r.process = launchProgram(t, []string{os.Getenv(rigVariable)}, "-f", r.dir)
	return r
}

func (r *rig) policies() string { return filepath.Join(r.dir, "policies.yaml") }

// edit replaces the policies and waits until the new ones are live.
func (r *rig) edit(t *testing.T, p policies) {
	t.Helper()
	revision := func() (n uint64) {
		var status struct{ Revision uint64 }
		r.get(t, "status", &status)
		return status.Revision
	}
	before := revision()
	put(t, r.policies(), p.text())
	eventually(t, func() (bool, string) { return revision() > before, r.log.String() })
}

// get asks the admin API.
func (r *rig) get(t *testing.T, path string, into any) {
	t.Helper()
	status, body := fetch("http://" + r.admin + "/api/v1/" + path)
	if status != http.StatusOK {
		t.Fatalf("%s: %d %s", path, status, body)
	}
	if err := json.Unmarshal([]byte(body), into); err != nil {
		t.Fatal(err, body)
	}
}

// judgement is what weir says of a host as an outlier.
type judgement struct {
	Ejected               bool
	Rule                  string
	Until                 time.Time
	Ejections, WouldEject uint64
}

func (r *rig) judgement(t *testing.T, h *rigHost) judgement {
	t.Helper()
	var page struct {
		Items []struct{ Outlier *judgement }
	}
	r.get(t, "hosts?name="+h.address(), &page)
	if len(page.Items) != 1 || page.Items[0].Outlier == nil {
		t.Fatalf("%s: %+v", h.name, page)
	}
	return *page.Items[0].Outlier
}

// metric returns the sum of a family's series that have all of the labels.
func (r *rig) metric(t *testing.T, family string, labels ...string) (sum float64) {
	t.Helper()
	_, page := fetch("http://" + r.admin + "/metrics")
	for line := range strings.Lines(page) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		if !strings.HasPrefix(series, family+"{") ||
			slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(series, l) }) {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		sum += n
	}
	return sum
}

// acted is how often a protection of the backend, or of the route, did something.
func (r *rig) acted(t *testing.T, protection string) float64 {
	t.Helper()
	return r.metric(t, "weir_protection_actions_total", fmt.Sprintf("protection=%q", protection), `mode="enforce"`)
}

// wouldHave is how often it would have, had it not only observed.
func (r *rig) wouldHave(t *testing.T, protection string) float64 {
	t.Helper()
	return r.metric(t, "weir_protection_actions_total", fmt.Sprintf("protection=%q", protection), `mode="observe"`)
}

// received is how many requests the hosts got.
func (r *rig) received() (sum uint64) {
	for _, h := range r.hosts {
		sum += h.received.Load()
	}
	return sum
}

// weir runs a command of the program as a user would, and returns what it says. It must end
// with the given code.
func (r *rig) weir(t *testing.T, code int, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Getenv(rigVariable), args...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		t.Errorf("weir %s: %v, want code %d\n%s", strings.Join(args, " "), err, code, out)
	}
	return string(out)
}

// callers ask at a constant rate, or as fast as they are answered; never more than so many at once.
type callers struct {
	mu       sync.Mutex
	answered uint64            // requests that ended in any way
	outcomes map[string]uint64 // of those that were not good: "503 UO", and whether they say when to come again
	stop     func()
}

// call begins to ask, rate times a second or, with zero, without a pause, until stopped.
func (r *rig) call(t *testing.T, rate, most int, header http.Header) *callers {
	t.Helper()
	c := &callers{outcomes: map[string]uint64{}}
	transport := &http.Transport{MaxIdleConnsPerHost: most, DisableCompression: true}
	client := &http.Client{Transport: transport, Timeout: patience}
	quit := make(chan struct{})
	turns := make(chan struct{}) // unbuffered: what nobody is free for is not asked
	var running sync.WaitGroup
	for range most {
		running.Go(func() {
			for range turns {
				c.ask(client, "http://"+r.front+"/", header)
			}
		})
	}
	running.Go(func() {
		defer close(turns)
		const pause = 10 * time.Millisecond
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for {
			each := most
			if rate > 0 {
				each = rate / int(time.Second/pause)
			}
			for range each {
				select {
				case turns <- struct{}{}:
				default:
				}
			}
			select {
			case <-tick.C:
			case <-quit:
				return
			}
		}
	})
	c.stop = sync.OnceFunc(func() {
		close(quit)
		running.Wait()
		transport.CloseIdleConnections()
	})
	t.Cleanup(c.stop)
	return c
}

func (c *callers) ask(client *http.Client, url string, header http.Header) {
	outcome := ""
	req, err := http.NewRequest(http.MethodGet, url, http.NoBody)
	if err == nil {
		maps.Copy(req.Header, header)
		var resp *http.Response
		if resp, err = client.Do(req); err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				outcome = strings.TrimSpace(fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("X-Weir-Flag")))
				if resp.Header.Get("Retry-After") != "" {
					outcome += ", Retry-After"
				}
			}
		}
	}
	if err != nil {
		outcome = err.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answered++
	if outcome != "" {
		c.outcomes[outcome]++
	}
}

// failed returns what was not good so far.
func (c *callers) failed() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.outcomes)
}

// asked is how many requests have ended.
func (c *callers) asked() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answered
}

// grows waits until so many more requests have ended.
func (c *callers) grows(t *testing.T, n uint64) {
	t.Helper()
	before := c.asked()
	eventually(t, func() (bool, string) {
		now := c.asked()
		return now >= before+n, fmt.Sprintf("%d of %d answers", now-before, n)
	})
}

// unchanged fails if anything has gone wrong since what went wrong before.
func (c *callers) unchanged(t *testing.T, before map[string]uint64, when string) {
	t.Helper()
	if now := c.failed(); !maps.Equal(now, before) {
		t.Errorf("%s: requests failed: %v, before %v", when, now, before)
	}
}
