package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const shadowResource = `---
apiVersion: weir.dev/v1alpha1
kind: Shadow
metadata: {name: next}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: shop}]
  backendRef: {group: weir.dev, kind: Backend, name: next}
  share: 100%%
  methods: [%s]
  compare: {body: JSON, latency: true, baseline: %v}
  limits: {inflight: %d, body: 64Ki}
`

// shadowed starts a weir that copies everything that goes to now to next as well.
func shadowed(t *testing.T, now, next, methods string, baseline bool, inflight int) (p *process, front string) {
	t.Helper()
	front = freePort(t)
	file := filepath.Join(t.TempDir(), "shop.yaml")
	put(t, file, edge(front)+routed("shop", "now")+backend("now", now)+backend("next", next)+fmt.Sprintf(shadowResource, methods, baseline, inflight))
	return launch(t, "-f", file, "--token-file", filepath.Join(filepath.Dir(file), "token")), front
}

// TestShadowReport: the real program finds the one field in which the shadow is wrong, beside one that
// differs each time, and says so to people and programs.
func TestShadowReport(t *testing.T) {
	t.Parallel()
	var serial atomic.Int64
	serve := func(price func(path string) string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"serial": %d, "item": {"price": %s}}`, serial.Add(1), price(r.URL.Path))
		}))
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	now := serve(func(string) string { return "10.00" })
	next := serve(func(path string) string {
		if path == "/cart" {
			return "11"
		}
		return "1e1"
	})
	p, front := shadowed(t, now, next, "GET", true, 100)
	for i := range 40 {
		if status, _ := fetch("http://" + front + []string{"/", "/list", "/cart", "/item"}[i%4] + "?token=hunter2"); status != 200 {
			t.Fatalf("status %d", status)
		}
	}
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	weir := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), program, append(args, "--admin", p.admin)...).CombinedOutput()
		if err != nil {
			t.Errorf("weir %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	var text string
	eventually(t, func() (bool, string) {
		text = weir("shadow", "default/next")
		return strings.Contains(text, "40 compared: 0 equal, 30 noise, 10 different (25.00%)"), text
	})
	for _, want := range []string{
		`(?m)^\$\.item\.price +10 +0 +10 *$`, `(?m)^\$\.serial +40 +40 +0 +noise$`,
		`(?m)^GET /cart +\$\.item\.price +10\.00 +11$`, `(?m)^p99 +[0-9.]+ms +[0-9.]+ms +[0-9.]+$`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("no %s in:\n%s", want, text)
		}
	}
	if strings.Contains(text+weir("shadow", "-o", "json"), "hunter2") {
		t.Error("a secret is shown")
	}
	if _, page := fetch("http://" + p.admin + "/metrics"); !strings.Contains(page, `weir_shadow_comparisons_total{shadow="default/next",verdict="different"} 10`) {
		t.Error("no metric")
	}
	token := regexp.MustCompile(`--token-file (\S+)`).FindStringSubmatch(strings.Join(p.cmd.Args, " "))[1]
	if out := weir("shadow", "reset", "default/next", "--token-file", token); !strings.Contains(out, "reset") {
		t.Error(out)
	}
	if text := weir("shadow"); !strings.Contains(text, "0 compared: 0 equal") {
		t.Errorf("after the reset:\n%s", text)
	}
}

// rawServer serves each connection with f.
func rawServer(t *testing.T, f func(c net.Conn, r *bufio.Reader)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			go f(c, bufio.NewReader(c))
		}
	}()
	return l.Addr().String()
}

// TestHostileShadows: the real program over real sockets serves a shadow of each kind what it can
// take, its clients what they asked for, and keeps within its memory.
func TestHostileShadows(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("x", 32<<10)
	primary := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, body)
	}))
	defer primary.Close()
	read := func(r *bufio.Reader) { _, _ = http.ReadRequest(r) }
	for name, f := range map[string]func(c net.Conn, r *bufio.Reader){
		"mute": func(_ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) },
		"deaf": func(net.Conn, *bufio.Reader) {},
		"reset": func(c net.Conn, r *bufio.Reader) {
			read(r)
			_ = c.(*net.TCPConn).SetLinger(0)
			c.Close()
		},
		"huge": func(c net.Conn, r *bufio.Reader) {
			read(r)
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
			for piece := make([]byte, 1<<20); ; {
				if _, err := c.Write(piece); err != nil {
					return
				}
			}
		},
		"dead": nil,
	} {
		t.Run(name, func(t *testing.T) {
			at := freePort(t)
			if f != nil {
				at = rawServer(t, f)
			}
			const inflight, clients, each = 50, 8, 40
			p, front := shadowed(t, primary.Listener.Addr().String(), at, "GET, PUT", false, inflight)
			_, before := p.resident(t)
			var mu sync.Mutex
			var took []time.Duration
			var all sync.WaitGroup
			for range clients {
				all.Go(func() {
					client := &http.Client{Transport: &http.Transport{}, Timeout: patience}
					defer client.CloseIdleConnections()
					for range each {
						began := time.Now()
						req, _ := http.NewRequestWithContext(t.Context(), "PUT", "http://"+front+"/", strings.NewReader(body))
						resp, err := client.Do(req)
						if err != nil {
							t.Error(err)
							return
						}
						got, err := io.ReadAll(resp.Body)
						resp.Body.Close()
						if err != nil || resp.StatusCode != 200 || string(got) != body {
							t.Errorf("got %d, %d bytes, %v", resp.StatusCode, len(got), err)
						}
						mu.Lock()
						took = append(took, time.Since(began))
						mu.Unlock()
					}
				})
			}
			all.Wait()
			slices.Sort(took)
			if len(took) > 0 {
				t.Logf("p50 %v, p99 %v, slowest %v", took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
			}
			_, peak := p.resident(t)
			t.Logf("%d MiB more at the peak", peak-before)
			// What the shadow may hold, what requests and sockets do, and what the collector leaves for a while.
			if most := inflight*4*64*2>>10 + 64; peak-before > most {
				t.Errorf("%d MiB more, at most %d", peak-before, most)
			}
		})
	}
}
