package telemetry

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"weir.dev/weir/model"
)

// busyMetrics returns metrics in which every family has a value.
func busyMetrics(t *testing.T) *Metrics {
	t.Helper()
	m := NewMetrics(2)
	for _, s := range []*Series{m.Route("shop/cart/0"), m.Cluster("backend/shop/cart"), m.Host("backend/shop/cart", "10.0.0.1:80"), m.Stream("TCPRoute/shop/db/0")} {
		s.Begin(0)
		s.End(0, &Outcome{Code: 502, Flag: model.FlagUC, GRPC: EndOfCall(model.GRPCUnavailable), Duration: 3 * time.Millisecond, BytesIn: 7, BytesOut: 9, Retries: 1})
		s.Begin(1)
	}
	m.Route("idle")
	m.Listener("0.0.0.0:8080").Open()
	m.Listener("0.0.0.0:8080").Park()
	m.Listener("0.0.0.0:8080").Refuse(RefusedDescriptors)
	m.Listener("0.0.0.0:8080").EndHandshake(HandshakeCertificate)
	m.Listener("0.0.0.0:8080").QueueHandshake(2)
	m.Listener("0.0.0.0:53/udp").DatagramIn(40)
	m.Listener("0.0.0.0:53/udp").DatagramOut(400)
	m.Listener("0.0.0.0:53/udp").Drop(DroppedNoHost)
	m.WatchStore(func() StoreState { return StoreState{Open: true} })
	m.WatchObjectives(func() []ObjectiveState { return []ObjectiveState{{"shop/cart", 0.999, 9, 1}} })
	m.WatchPressure(func() []PressureState { return []PressureState{{Resource: "memory", Share: 0.5, Layer: 1}} })
	m.WatchHosts(func() []HostState {
		h := HostState{Cluster: "backend/shop/cart", Address: "10.0.0.1:80", Healthy: true, Judged: true, Open: 5, Idle: 3, Opened: 9, ConnectFailures: 1, Checked: true, Checks: [3]uint64{7, 1, 2}}
		return []HostState{h, h, {Cluster: "backend/shop/cart", Address: "10.0.0.2:80", Judged: true, Ejected: true}}
	})
	m.Protection("backend/shop/cart", ProtectTrip).Count(model.ModeEnforce)
	m.WatchBreakers(func() []BreakerState {
		left := int64(3)
		b := BreakerState{Cluster: "backend/shop/cart", Trips: true, State: 2, Remaining: map[ProtectionKind]int64{ProtectMaxRequests: 9}, RetryBudget: &left}
		return []BreakerState{b, b}
	})
	m.WatchShadows(func() []model.ShadowReport {
		return []model.ShadowReport{{
			Shadow: "shop/next", Copies: model.ShadowCopies{Dropped: []model.ShadowDrop{{Reason: "body", Count: 1}}}, Comparison: &model.ShadowComparison{},
		}}
	})
	m.WatchFaults(func() []FaultStats {
		return []FaultStats{{Policy: "shop/slow", Fault: "slow", Injected: 3, Active: true}}
	})
	m.WatchReleases(func() []ReleaseState { return []ReleaseState{busyRelease()} })
	m.WatchOverloads(func() []OverloadState {
		return []OverloadState{{Scope: "HTTPRoute/shop/cart", Limit: 9, Refused: map[string]uint64{"acme": 1}}}
	})
	m.LateChecks.Add(3)
	m.SetBuild("v1.2.3")
	m.ConfigApplied(7, "abc")
	m.ConfigRefused()
	m.SetQuarantined(2)
	m.SetReady(true)
	return m
}

func TestPageIsWhatTheTableSays(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(newCollector(busyMetrics(t)))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, got := range families {
		seen[got.GetName()] = true
		var want *Family
		for i := range Families {
			if Families[i].Name == got.GetName() {
				want = &Families[i]
			}
		}
		if want == nil {
			t.Errorf("%s is not in Families", got.GetName())
			continue
		}
		if got.GetHelp() != want.Help || !strings.EqualFold(got.GetType().String(), string(want.Type)) {
			t.Errorf("%s: %v %q, want %v %q", want.Name, got.GetType(), got.GetHelp(), want.Type, want.Help)
		}
		for _, metric := range got.GetMetric() {
			names := make(map[string]bool)
			for _, l := range metric.GetLabel() {
				names[l.GetName()] = true
			}
			for _, l := range want.Labels {
				if !names[l] {
					t.Errorf("%s has no label %s", want.Name, l)
				}
			}
			if len(names) != len(want.Labels) {
				t.Errorf("%s has labels %v, want %v", want.Name, names, want.Labels)
			}
		}
		if unit := want.Unit; unit != "" && !strings.Contains(want.Name, "_"+unit) {
			t.Errorf("%s does not name its unit %s", want.Name, unit)
		}
	}
	for _, f := range Families {
		if !seen[f.Name] {
			t.Errorf("%s is in Families and is not exported", f.Name)
		}
	}
}

func TestPageIsLinted(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(newCollector(busyMetrics(t)))
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestLintFindsABadPage(t *testing.T) { // the linter in use does find something
	problems, err := promlint.New(strings.NewReader("# TYPE weir_things counter\nweir_things 1\n")).Lint()
	if err != nil || len(problems) == 0 {
		t.Errorf("problems %v, error %v", problems, err)
	}
}

func TestScrape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := busyMetrics(t)
		time.Sleep(1500 * time.Millisecond)
		answer := httptest.NewRecorder()
		m.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
		page := answer.Body.String()
		for _, line := range []string{
			`weir_route_requests_total{code_class="5xx",route="shop/cart/0"} 1`,
			`weir_route_requests_total{code_class="2xx",route="shop/cart/0"} 0`,
			`weir_route_requests_total{code_class="2xx",route="idle"} 0`,
			`weir_route_flags_total{blame="upstream",flag="UC",route="shop/cart/0"} 1`,
			`weir_host_in_flight{cluster="backend/shop/cart",host="10.0.0.1:80"} 1`,
			`weir_cluster_request_duration_seconds_bucket{cluster="backend/shop/cart",le="0.0016"} 0`,
			`weir_cluster_request_duration_seconds_bucket{cluster="backend/shop/cart",le="0.0032"} 1`,
			`weir_cluster_request_duration_seconds_bucket{cluster="backend/shop/cart",le="1.6384"} 1`,
			`weir_cluster_request_duration_seconds_bucket{cluster="backend/shop/cart",le="+Inf"} 1`,
			`weir_cluster_request_duration_seconds_sum{cluster="backend/shop/cart"} 0.003`,
			`weir_host_connections{cluster="backend/shop/cart",host="10.0.0.1:80",state="active"} 2`,
			`weir_host_healthy{cluster="backend/shop/cart",host="10.0.0.2:80"} 0`,
			`weir_ejected_hosts{cluster="backend/shop/cart"} 1`,
			`weir_host_health_checks_total{cluster="backend/shop/cart",host="10.0.0.1:80",result="passed"} 7`,
			`weir_host_health_checks_total{cluster="backend/shop/cart",host="10.0.0.1:80",result="timed_out"} 2`,
			`weir_health_checks_late_total 3`,
			`weir_listener_connections_active{listener="0.0.0.0:8080"} 1`,
			`weir_listener_connections_parked{listener="0.0.0.0:8080"} 1`,
			`weir_listener_connections_refused_total{listener="0.0.0.0:8080",reason="descriptors"} 1`,
			`weir_listener_handshakes_total{listener="0.0.0.0:8080",result="client_certificate"} 1`,
			`weir_listener_handshakes_total{listener="0.0.0.0:8080",result="full"} 0`,
			`weir_listener_handshakes_waiting{listener="0.0.0.0:8080"} 2`,
			`weir_listener_received_datagrams_total{listener="0.0.0.0:53/udp"} 1`,
			`weir_listener_sent_bytes_total{listener="0.0.0.0:53/udp"} 400`,
			`weir_listener_dropped_datagrams_total{listener="0.0.0.0:53/udp",reason="no_host"} 1`,
			`weir_listener_dropped_datagrams_total{listener="0.0.0.0:53/udp",reason="limit"} 0`,
			`weir_config_revision 7`, `weir_config_age_seconds 1.5`, `weir_config_info{version="abc"} 1`,
			`weir_config_applies_total{result="refused"} 1`, `weir_config_quarantined_objects 2`, `weir_ready 1`,
		} {
			if !strings.Contains(page, "\n"+line+"\n") {
				t.Errorf("the page lacks %s", line)
			}
		}
		if !strings.Contains(page, "\ngo_goroutines ") {
			t.Error("the page lacks the Go runtime")
		}
		if strings.Contains(page, `weir_route_in_flight{route="idle"}`) {
			t.Error("an idle series has more than one line")
		}
		if t.Failed() {
			t.Log(page)
		}
	})
}

func TestScrapeForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMetrics(1)
		m.Route("gone")
		m.Retain(Live{Route: func(string) bool { return false }})
		time.Sleep(ForgetAfter)
		answer := httptest.NewRecorder()
		m.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
		if strings.Contains(answer.Body.String(), "gone") {
			t.Error("a series that is gone is still exported")
		}
	})
}

func BenchmarkScrape(b *testing.B) {
	m := NewMetrics(2)
	for i := range 10_000 {
		s := m.Route(fmt.Sprint("shop/route-", i, "/0"))
		if i%10 == 0 {
			s.Begin(0)
			s.End(0, &Outcome{Code: 200, Duration: time.Millisecond})
		}
	}
	h := m.Handler()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil))
	}
}
