package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"weir.dev/weir/app"
)

// hostVariable says to TestAsHost where to listen, and what to answer.
const hostVariable = "WEIR_E2E_HOST"

// TestAsHost is no test: it is a host, in a process of its own that others kill and stop. At
// SIGUSR1 it becomes slow, at SIGUSR2 fast again.
func TestAsHost(t *testing.T) {
	address, name, is := strings.Cut(os.Getenv(hostVariable), " ")
	if !is {
		return // of an ordinary run
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var slow atomic.Bool
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		for s := range signals {
			slow.Store(s == syscall.SIGUSR1)
		}
	}()
	server := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slow.Load() {
			select {
			case <-time.After(patience):
			case <-r.Context().Done():
			}
		}
		fmt.Fprint(w, name)
	})}
	t.Fatal(server.Serve(l)) // until it is killed
}

// hostProcess is a host in a process of its own.
type hostProcess struct {
	name, address string
	cmd           *exec.Cmd
}

func (h *hostProcess) start(t *testing.T) {
	t.Helper()
	h.cmd = exec.Command("/proc/self/exe", "-test.run=^TestAsHost$")
	h.cmd.Env = append(os.Environ(), hostVariable+"="+h.address+" "+h.name, "TMPDIR="+t.TempDir())
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (bool, string) {
		status, body := fetch("http://" + h.address)
		return status == 200, body
	})
}

func (h *hostProcess) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := h.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func (h *hostProcess) kill() {
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
}

// endpoint is the host as a Backend names it.
func (h *hostProcess) endpoint() string {
	at := netip.MustParseAddrPort(h.address)
	return fmt.Sprintf("{address: %s, port: %d}", at.Addr(), at.Port())
}

const checkedResources = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  listeners:
  - {name: http, protocol: HTTP, port: 80}
  - {name: tcp, protocol: TCP, port: 5000}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: up}
spec:
  parentRefs: [{name: edge, sectionName: http}]
  rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: up}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: up}
spec:
  parentRefs: [{name: edge, sectionName: tcp}]
  rules: [{backendRefs: [{group: weir.dev, kind: Backend, name: up}]}]
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: up}
spec: {endpoints: [%s]}
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: up}
spec:
  targetRefs: [{group: weir.dev, kind: Backend, name: up}]
  loadBalancing: {algorithm: RoundRobin, panicThreshold: 0%%}
  healthCheck: {%s, interval: 100ms, timeout: 1s, healthyAfter: 2, unhealthyAfter: 2}
`

// really dials the addresses that the configuration has.
func really(c *app.Config) { c.Dial = nil }

// checkState returns what checks have found of each host, by address.
func (w *weir) checkState(t *testing.T) map[string]string {
	t.Helper()
	admin, _ := w.real(9901)
	_, body := fetch("http://" + admin + "/api/v1/hosts")
	var page struct {
		Items []struct {
			Address string
			Check   *struct{ State, Error string }
		}
	}
	if err := json.Unmarshal([]byte(body), &page); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	states := map[string]string{}
	for _, h := range page.Items {
		if h.Check != nil {
			states[h.Address] = strings.TrimSpace(h.Check.State + " " + h.Check.Error)
		}
	}
	return states
}

// becomes waits until checks have found a host to be in a state, with such an error.
func (w *weir) becomes(t *testing.T, address, state string, reasons ...string) {
	t.Helper()
	eventually(t, func() (bool, string) {
		got := w.checkState(t)[address]
		if rest, ok := strings.CutPrefix(got, state); ok {
			for _, reason := range reasons {
				if strings.Contains(rest, reason) {
					return true, got
				}
			}
			return len(reasons) == 0, got
		}
		return false, fmt.Sprintf("%s: %q, want %s because of %q", address, got, state, reasons)
	})
}

// answers asks so often and returns who has answered; nothing may fail.
func answers(t *testing.T, client *http.Client, url string, times int) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for range times {
		resp, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%d: %s, %v", resp.StatusCode, body, err)
		}
		seen[string(body)]++
	}
	return seen
}

// TestHealthChecks kills, stops and slows real processes: once checks have found it, no request
// and no connection goes there, and none fails.
func TestHealthChecks(t *testing.T) {
	t.Parallel()
	a, b := &hostProcess{name: "a", address: freePort(t)}, &hostProcess{name: "b", address: freePort(t)}
	for _, h := range []*hostProcess{a, b} {
		h.start(t)
		t.Cleanup(func() { h.kill() })
	}
	w := start(t, map[string]string{"weir.yaml": fmt.Sprintf(checkedResources, a.endpoint()+", "+b.endpoint(), "http: {path: /healthz}")}, really)
	client := w.client(t)
	alone := w.client(t) // whose connections carry one request each
	alone.Transport.(*http.Transport).DisableKeepAlives = true
	both := func(when string) {
		t.Helper()
		w.becomes(t, a.address, "healthy")
		w.becomes(t, b.address, "healthy")
		eventually(t, func() (bool, string) {
			http, tcp := answers(t, client, "http://up.test:80/", 20), answers(t, alone, "http://up.test:5000/", 10)
			return len(http) == 2 && len(tcp) == 2, fmt.Sprintf("%s: %v, %v", when, http, tcp)
		})
	}
	only := func(when string) {
		t.Helper()
		if got := answers(t, client, "http://up.test:80/", 200); got["b"] != 200 {
			t.Errorf("%s: requests go to %v", when, got)
		}
		if got := answers(t, alone, "http://up.test:5000/", 50); got["b"] != 50 {
			t.Errorf("%s: connections go to %v", when, got)
		}
	}
	both("at first")
	for range 2 {
		a.kill()
		w.becomes(t, a.address, "unhealthy", "connection refused", "EOF", "connection reset")
		only("killed")
		a.start(t)
		both("started again")

		a.signal(t, syscall.SIGSTOP)
		w.becomes(t, a.address, "unhealthy", "no answer within 1s")
		only("stopped")
		a.signal(t, syscall.SIGCONT)
		both("continued")

		a.signal(t, syscall.SIGUSR1)
		w.becomes(t, a.address, "unhealthy", "no answer within 1s")
		only("slow")
		a.signal(t, syscall.SIGUSR2)
		both("fast again")
	}

	// A check that is taken away takes its verdicts with it.
	a.kill()
	w.becomes(t, a.address, "unhealthy")
	text, err := os.ReadFile(w.dir + "/weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "weir.yaml", withoutCheck(string(text)))
	eventually(t, func() (bool, string) {
		got := w.checkState(t)
		return len(got) == 0, fmt.Sprint(got)
	})
	admin, _ := w.real(9901)
	_, page := fetch("http://" + admin + "/metrics")
	for _, h := range []*hostProcess{a, b} {
		if line := fmt.Sprintf("\nweir_host_healthy{cluster=\"backend/default/up\",host=%q} 1\n", h.address); !strings.Contains(page, line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
	if strings.Contains(page, "weir_host_health_checks_total{") {
		t.Error("metrics of checks that are no more")
	}
}

// withoutCheck is a configuration without its health check.
func withoutCheck(text string) string {
	before, _, _ := strings.Cut(text, "  healthCheck:")
	return before
}

// TestGRPCHealthChecks: a server says that it does not serve, and gets no more calls.
func TestGRPCHealthChecks(t *testing.T) {
	t.Parallel()
	type server struct {
		health *health.Server
		calls  atomic.Int32
		at     *hostProcess // only where it is
	}
	launch := func() *server {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := &server{health: health.NewServer(), at: &hostProcess{address: l.Addr().String()}}
		g := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			if strings.Contains(info.FullMethod, "TestService") {
				s.calls.Add(1)
			}
			return handle(ctx, req)
		}))
		grpc_health_v1.RegisterHealthServer(g, s.health)
		testgrpc.RegisterTestServiceServer(g, &grpcShop{canceled: make(chan error, 1)})
		go func() { _ = g.Serve(l) }()
		t.Cleanup(g.Stop)
		return s
	}
	a, b := launch(), launch()
	for _, s := range []*server{a, b} {
		s.health.SetServingStatus("shop", grpc_health_v1.HealthCheckResponse_SERVING)
	}
	text := fmt.Sprintf(checkedResources, a.at.endpoint()+", "+b.at.endpoint(), "grpc: {service: shop}")
	text = strings.ReplaceAll(strings.Replace(text, "kind: HTTPRoute", "kind: GRPCRoute", 1), "spec: {endpoints", "spec: {protocol: GRPC, endpoints")
	w := start(t, map[string]string{"weir.yaml": text}, really)
	front, _ := w.real(80)
	conn, err := grpc.NewClient("passthrough:///"+front, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	calls := testgrpc.NewTestServiceClient(conn)
	call := func(times int) {
		t.Helper()
		for range times {
			if _, err := calls.UnaryCall(ctx, &testgrpc.SimpleRequest{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 3 {
		w.becomes(t, a.at.address, "healthy")
		w.becomes(t, b.at.address, "healthy")
		eventually(t, func() (bool, string) {
			before := a.calls.Load()
			call(4)
			return a.calls.Load() > before, "no call reaches a host that serves"
		})
		a.health.SetServingStatus("shop", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
		w.becomes(t, a.at.address, "unhealthy", "answered NOT_SERVING")
		before := a.calls.Load()
		call(100)
		if got := a.calls.Load() - before; got != 0 {
			t.Errorf("%d calls to a host that does not serve", got)
		}
		a.health.SetServingStatus("shop", grpc_health_v1.HealthCheckResponse_SERVING)
	}
}
