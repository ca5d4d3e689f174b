package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir.dev/weir/app"
)

const gateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  listeners:
  - {name: web, protocol: HTTP, port: 80}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: v1}
spec:
  endpoints: [{address: 10.0.0.1, port: 80}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: v2}
spec:
  endpoints: [{address: 10.0.0.2, port: 80}]
`

// split is a route that shares requests between v1 and v2.
func split(v1, v2 int) string {
	return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: split}
spec:
  parentRefs: [{name: edge}]
  rules:
  - backendRefs:
    - {group: weir.dev, kind: Backend, name: v1, weight: %d}
    - {group: weir.dev, kind: Backend, name: v2, weight: %d}
`, v1, v2)
}

// load sends requests from a few connections until stopped, and counts what came back.
type load struct {
	stop    func()
	answers sync.Map // upstream → *atomic.Int64
	failed  atomic.Int64
	first   atomic.Pointer[string]
}

func (w *weir) load(t *testing.T) *load {
	l := &load{}
	client := w.client(t)
	quit := make(chan struct{})
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for {
				select {
				case <-quit:
					return
				default:
				}
				l.ask(client)
			}
		})
	}
	l.stop = sync.OnceFunc(func() {
		close(quit)
		callers.Wait()
	})
	t.Cleanup(l.stop)
	return l
}

func (l *load) ask(client *http.Client) {
	resp, err := client.Get("http://example.com/")
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s, flag %s", resp.Status, resp.Header.Get("X-Weir-Flag"))
		}
	}
	if err != nil {
		text := err.Error()
		l.first.CompareAndSwap(nil, &text)
		l.failed.Add(1)
		return
	}
	n, _ := l.answers.LoadOrStore(resp.Header.Get("X-Upstream"), new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
}

// from returns how many answers came from an upstream so far.
func (l *load) from(upstream string) int64 {
	n, ok := l.answers.Load(upstream)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}

// check ends the load and fails if any request did.
func (l *load) check(t *testing.T) {
	t.Helper()
	l.stop()
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d requests failed, the first: %s", n, *l.first.Load())
	}
}

// grows waits until an upstream has answered n more requests.
func (l *load) grows(t *testing.T, upstream string, n int64) {
	t.Helper()
	before := l.from(upstream)
	eventually(t, func() (bool, string) {
		more := l.from(upstream) - before
		return more >= n, fmt.Sprintf("%d answers of %s, %d failures", more, upstream, l.failed.Load())
	})
}

// TestReloadLosesNothing changes weights, routes and listeners under traffic.
func TestReloadLosesNothing(t *testing.T) {
	t.Parallel()
	w := start(t, map[string]string{"gateway.yaml": gateway, "route.yaml": split(1, 0)})
	l := w.load(t)
	l.grows(t, "10.0.0.1:80", 50)
	if n := l.from("10.0.0.2:80"); n != 0 {
		t.Errorf("weight 0 got %d requests", n)
	}
	for i := range 10 {
		w.write(t, "route.yaml", split(1, 1+i%3))
		l.grows(t, "10.0.0.2:80", 20)
	}

	// another listener comes and goes; this one's connections do not notice
	more := strings.Replace(gateway, "port: 80}\n---", "port: 80}\n  - {name: more, protocol: HTTP, port: 81}\n---", 1)
	w.write(t, "gateway.yaml", more)
	eventually(t, func() (bool, string) { return len(w.Addresses()) == 2, fmt.Sprint(w.Addresses()) })
	l.grows(t, "10.0.0.1:80", 20)
	w.write(t, "gateway.yaml", gateway)
	eventually(t, func() (bool, string) { return len(w.Addresses()) == 1, fmt.Sprint(w.Addresses()) })

	w.write(t, "route.yaml", split(0, 1))
	eventually(t, func() (bool, string) {
		before := l.from("10.0.0.1:80")
		l.grows(t, "10.0.0.2:80", 20)
		return l.from("10.0.0.1:80") == before, "v1 still gets requests"
	})
	l.check(t)
}

// TestBrokenFileKeepsTraffic breaks a file in several ways: the last accepted version stays.
func TestBrokenFileKeepsTraffic(t *testing.T) {
	t.Parallel()
	w := start(t, map[string]string{"gateway.yaml": gateway, "route.yaml": split(1, 0)})
	l := w.load(t)
	l.grows(t, "10.0.0.1:80", 20)
	for name, broken := range map[string]struct{ text, want string }{
		"field":   {strings.Replace(split(0, 1), "weight: 0", "weigth: 0", 1), `route.yaml:9:50: HTTPRoute default/split: spec.rules[0].backendRefs[0].weigth: `},
		"value":   {strings.Replace(split(0, 1), "weight: 0", "weight: -1", 1), "route.yaml:9:50: HTTPRoute default/split: spec.rules[0].backendRefs[0].weight"},
		"syntax":  {"a: [", "route.yaml:"},
		"nothing": {"", "route.yaml"},
	} {
		seen := len(w.log.String())
		logged := func(want string) {
			t.Helper()
			eventually(t, func() (bool, string) {
				text := w.log.String()[seen:]
				return strings.Contains(text, want), name + ":\n" + text
			})
		}
		w.write(t, "route.yaml", broken.text)
		logged(broken.want)
		l.grows(t, "10.0.0.1:80", 20)
		w.write(t, "route.yaml", split(1, 0))
		logged("problem is gone")
	}
	if n := l.from("10.0.0.2:80"); n != 0 {
		t.Errorf("a broken version was served %d times", n)
	}
	l.check(t)
}

// TestRemovedRoute deletes one of several route files: its requests get 404, the others go on.
func TestRemovedRoute(t *testing.T) {
	t.Parallel()
	route := func(name string) string {
		return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s}
spec:
  parentRefs: [{name: edge}]
  hostnames: [%s.example.com]
  rules:
  - backendRefs: [{group: weir.dev, kind: Backend, name: v1}]
`, name, name)
	}
	w := start(t, map[string]string{"gateway.yaml": gateway, "a.yaml": route("a"), "b.yaml": route("b"), "c.yaml": route("c")})
	client := w.client(t)
	status := func(host string) int {
		resp, err := client.Get("http://" + host + ".example.com/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	becomes := func(host string, want int) {
		t.Helper()
		eventually(t, func() (bool, string) { got := status(host); return got == want, fmt.Sprint(host, ": ", got) })
	}
	becomes("a", 200)
	if err := os.Remove(filepath.Join(w.dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	becomes("a", 404)
	becomes("b", 200)

	// the two that are left are more than half of the routes: their deletion waits
	for _, name := range []string{"b.yaml", "c.yaml"} {
		if err := os.Rename(filepath.Join(w.dir, name), filepath.Join(w.dir, name+".gone")); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() (bool, string) { return strings.Contains(w.log.String(), "mass-delete"), w.log.String() })
	becomes("c", 200)

	// consent needs the token, and is possible only while something waits
	if got := w.post(t, "/api/v1/mass-delete", "guess"); got != 401 {
		t.Errorf("consent with a wrong token: %d, want 401", got)
	}
	if got := w.post(t, "/api/v1/mass-delete", w.token(t)); got != 202 {
		t.Errorf("consent: %d, want 202", got)
	}
	becomes("c", 404)
	eventually(t, func() (bool, string) {
		got := w.post(t, "/api/v1/mass-delete", w.token(t))
		return got == 409, fmt.Sprint("consent to nothing: ", got)
	})
}

// TestReloadByAPI reads everything again on request.
func TestReloadByAPI(t *testing.T) {
	t.Parallel()
	w := start(t, map[string]string{"gateway.yaml": gateway, "route.yaml": split(1, 0)})
	if got := w.post(t, "/api/v1/reload", w.token(t)); got != 202 {
		t.Errorf("reload: %d, want 202", got)
	}
}

// TestDrainDelay checks the order of an end: not ready, still accepting, closing.
func TestDrainDelay(t *testing.T) {
	t.Parallel()
	w := start(t, map[string]string{"gateway.yaml": gateway, "route.yaml": split(1, 0)}, func(c *app.Config) {
		c.DrainDelay = 3 * time.Second
	})
	client := w.client(t)
	ask := func() *http.Response {
		t.Helper()
		resp, err := client.Get("http://example.com/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	if ask().Close {
		t.Error("an answer before the drain closes its connection")
	}
	if got := w.post(t, "/api/v1/drain", w.token(t)); got != 202 {
		t.Fatalf("drain: %d, want 202", got)
	}
	admin, _ := w.real(9901)
	if status, body := fetch("http://" + admin + "/readyz"); status != 503 {
		t.Errorf("readyz while draining: %d %s", status, body)
	}
	client.CloseIdleConnections() // the next request comes on a new connection
	eventually(t, func() (bool, string) { return ask().Close, "answers do not close their connection" })
	if err := w.stop(); err != nil {
		t.Error(err)
	}
}
