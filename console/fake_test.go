package console

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir.dev/weir/controlplane/rollout"
	"weir.dev/weir/controlplane/slo"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testToken = "correct-horse-battery-staple"

// fake provides everything that a console asks for.
type fake struct {
	breaker     BreakerOrder
	mu          sync.Mutex
	snapshot    *model.Snapshot
	state       State
	objects     []Object
	diagnostics []Diagnostic
	hosts       []Host
	protected   []Protection
	sockets     map[string]Socket
	calls       []string
	err         error
}

func (f *fake) Snapshot() (*model.Snapshot, time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.snapshot, started.Add(time.Minute)
}

func (f *fake) State() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

func (f *fake) Sockets() map[string]Socket {
	return f.sockets
}

func (f *fake) Objects() []Object         { return f.objects }
func (f *fake) Diagnostics() []Diagnostic { return f.diagnostics }
func (f *fake) Hosts() []Host             { return f.hosts }
func (f *fake) Protections() []Protection { return f.protected }

func (f *fake) CloseBreaker(o BreakerOrder) (was string, ok bool) {
	f.breaker = o
	return "open", o.Target == "backend/shop/cart"
}

func (f *fake) call(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, name)
	return f.err
}

func (f *fake) Reload(context.Context) error          { return f.call("reload") }
func (f *fake) AllowMassDelete(context.Context) error { return f.call("mass-delete") }
func (f *fake) Drain(context.Context) error           { return f.call("drain") }

var started = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

// newFake serves n routes and a little of everything else.
func newFake(n int) *fake {
	f := &fake{state: State{Ready: true}, sockets: map[string]Socket{"0.0.0.0:8080": {Address: "127.0.0.1:8080"}}, snapshot: &model.Snapshot{Version: "0123456789abcdef", Revision: 7}}
	table := &model.RouteTable{Name: "shop/edge/web", Hash: "t"}
	for i := range n {
		table.Entries = append(table.Entries, model.Entry{Hostnames: []string{fmt.Sprintf("h%d.example.com", i)}, Route: testRoute(i)})
	}
	f.snapshot.RouteTables = []*model.RouteTable{table}
	f.snapshot.Listeners = []*model.Listener{{
		Name: "0.0.0.0:8080", Address: netip.MustParseAddrPort("0.0.0.0:8080"), Tables: []model.TableBinding{{Table: table.Name}},
		Client: model.Client{
			HeadTimeout: 10 * time.Second, Underscores: model.NameReject, TrustAddresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			Origins: model.Origins{"client.headTimeout": {File: "policy.yaml", Line: 3}},
		},
	}}
	f.snapshot.Clusters = []*model.Cluster{{
		Name: "backend/shop/v1", Balancing: model.Balancing{Algorithm: model.LeastRequest}, DNS: &model.DNSName{Hostname: "up", Port: 80},
		HealthCheck: &model.HealthCheck{Type: model.HealthCheckHTTP, Path: "/healthz?token=hunter2", Interval: time.Second},
	}}
	f.snapshot.Endpoints = []*model.EndpointSet{{
		Cluster:   "backend/shop/v1",
		Endpoints: []model.Endpoint{{Address: netip.MustParseAddrPort("10.0.0.1:80"), Weight: 1, Labels: map[string]string{"a": "b"}}},
	}}
	f.objects = []Object{
		{
			Kind: "Gateway", Namespace: "shop", Name: "edge", At: Position{"gw.yaml", 1, 1}, Accepted: true,
			Conditions: []Condition{{Of: "listener web", Type: "Programmed", Status: "True", Reason: "Programmed"}},
			Status:     map[string]any{"listeners": []any{}},
		},
		{
			Kind: "Secret", Namespace: "shop", Name: "cert", At: Position{"s.yaml", 1, 1},
			Problems: []Diagnostic{{Severity: "error", Object: "Secret shop/cert", Message: `data.key: "aHVudGVyMg" is not base64, nor 'hunter2'`}},
		},
	}
	f.diagnostics = []Diagnostic{
		{Severity: "warning", Rule: "unused-backend", At: Position{"b.yaml", 9, 3}, Object: "Backend shop/old", Message: "no route uses it"},
		{Severity: "error", At: Position{"r.yaml", 5, 3}, Object: "HTTPRoute shop/r1", Field: "spec.rules[0].foo", Message: `unknown field; did you mean "matches"?`},
		{Severity: "error", At: Position{"s.yaml", 2, 3}, Object: "Secret shop/cert", Message: `bad value "hunter2`},
	}
	f.hosts = []Host{
		{Cluster: "backend/shop/v1", Address: "10.0.0.1:80", Zone: "a", Weight: 1, Healthy: true, Warmth: 1, InFlight: 1, Open: 3, Idle: 2, EWMA: 1500 * time.Microsecond},
		{
			Cluster: "backend/shop/v1", Address: "10.0.0.2:80", Weight: 1,
			Checked: true, Check: "unhealthy", CheckSince: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), CheckError: "status 503, expected 200-299",
			Judged: true, Ejected: true, EjectedBy: "slowerThanMedian", EjectedUntil: time.Date(2026, 1, 2, 3, 5, 0, 0, time.UTC), Ejections: 3, WouldEject: 4,
		},
	}
	return f
}

func testRoute(i int) *model.Route {
	r := &model.Route{
		Name: fmt.Sprintf("shop/r%d/0", i), Kind: "HTTPRoute", Namespace: "shop", Object: fmt.Sprintf("r%d", i), Rule: "0",
		Origin: model.Origin{File: "r.yaml", Line: 5 + i, Column: 3},
		Matches: []model.Match{{
			Path: model.PathMatch{Type: model.MatchPrefix, Value: "/cart"}, Method: "GET",
			Headers: []model.ValueMatch{{Name: "authorization", Type: model.MatchExact, Value: "Bearer hunter2"}, {Name: "x-user", Type: model.MatchExact, Value: "7"}},
			Query:   []model.ValueMatch{{Name: "api_key", Type: model.MatchExact, Value: "hunter2"}},
		}},
		RequestHeaders: &model.HeaderEdit{Set: []model.Header{{Name: "authorization", Value: "Basic hunter2"}, {Name: "x-team", Value: "cart"}}},
		Rewrite:        &model.Rewrite{Path: &model.PathChange{Full: new(string)}},
		Timeouts:       model.Timeouts{Request: 15 * time.Second},
		Mirrors:        []model.Mirror{{Name: "m", Cluster: "backend/shop/v1", Numerator: 1, Denominator: 10}},
		CORS:           &model.CORS{AllowOrigins: []string{"*"}},
		Retry:          &model.Retry{Attempts: 2, Codes: []int{503}},
		Split: model.Split{Arms: []model.Arm{
			{Name: "Backend/shop/v1", Weight: 90, Cluster: "backend/shop/v1"},
			{Name: "Backend/shop/v2", Weight: 10, Cluster: "backend/shop/v2"},
		}},
	}
	switch i % 4 {
	case 2:
		r.Split.Arms[1] = model.Arm{Name: "Service/shop/gone/80", Weight: 10, Refusal: &model.Refusal{Status: 500, Flag: "NC", Reason: "Service shop/gone does not exist"}}
	case 3:
		r.Refusal = &model.Refusal{Status: 500, Flag: "NC", Reason: "sessionPersistence is not supported yet"}
	}
	return r
}

// harness is a console on fakes, and a client for its handlers.
type harness struct {
	*fake
	console *Console
	metrics *telemetry.Metrics
	level   *slog.LevelVar
	log     strings.Builder
	now     time.Time

	faults  []Fault
	ordered []FaultOrder
	shadows []model.ShadowReport

	rollouts []rollout.Status
	commands []rollout.Command
	observed []model.ReleaseObservation

	drill error

	objectives []slo.Status
}

func (h *harness) Objectives() []slo.Status { return h.objectives }

func newHarness(routes int) *harness {
	h := &harness{fake: newFake(routes), metrics: telemetry.NewMetrics(1), level: new(slog.LevelVar), now: started.Add(2 * time.Minute)}
	h.console = New(Config{
		Version: "v1.2.3", Token: testToken, Names: []string{"admin.example.com"},
		Log: slog.New(slog.NewTextHandler(&h.log, nil)), Level: h.level, Metrics: h.metrics,
		Live: h, Objects: h, Hosts: h, Control: h, Resilience: h, Faults: h, Shadows: h, Drills: h, Releases: h, Objectives: h, Now: func() time.Time { return h.now },
	})
	return h
}

// do sends a request to Admin as a local client does; headers come in pairs.
func (h *harness) do(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:9901"
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.console.Admin().ServeHTTP(w, r)
	return w
}
