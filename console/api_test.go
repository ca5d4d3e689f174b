package console

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// get answers a GET as T.
func get[T any](t *testing.T, h *harness, target string) T {
	t.Helper()
	var v T
	w := h.do("GET", target, "")
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != 200 {
		t.Fatalf("%s: %d, %v: %s", target, w.Code, err, w.Body)
	}
	return v
}

func TestReadiness(t *testing.T) {
	h := newHarness(1)
	for _, tc := range []struct {
		state State
		code  int
		text  string
	}{
		{State{Ready: true}, 200, `"ready":true`},
		{State{Reason: "no configuration yet"}, 503, "no configuration yet"},
		{State{Ready: true, Draining: true}, 503, "draining"},
	} {
		h.state = tc.state
		if w := h.do("GET", "/readyz", ""); w.Code != tc.code || !strings.Contains(w.Body.String(), tc.text) {
			t.Errorf("%+v: %d %s", tc.state, w.Code, w.Body)
		}
		if w := h.do("GET", "/healthz", ""); w.Code != 200 {
			t.Errorf("%+v: healthz %d", tc.state, w.Code)
		}
	}
}

func TestBeforeTheFirstSnapshot(t *testing.T) {
	h := newHarness(1)
	h.snapshot, h.state, h.objects, h.diagnostics, h.hosts = nil, State{Reason: "waiting"}, nil, nil, nil
	if w := h.do("GET", "/api/v1/snapshot", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "waiting") {
		t.Errorf("snapshot: %d %s", w.Code, w.Body)
	}
	if s := get[statusView](t, h, "/api/v1/status"); s.Revision != 0 || s.Applied != nil || s.AgeSeconds != 0 {
		t.Errorf("status: %+v", s)
	}
	for _, path := range []string{"routes", "clusters", "hosts", "listeners", "resources", "diagnostics"} {
		if body := h.do("GET", "/api/v1/"+path, "").Body.String(); !strings.Contains(body, `"items":[]`) {
			t.Errorf("%s: %s", path, body)
		}
	}
}

func TestStatus(t *testing.T) {
	h := newHarness(4)
	s := get[statusView](t, h, "/api/v1/status")
	if s.Revision != 7 || s.Version != "0123456789abcdef" || s.AgeSeconds != 60 || s.Program != "v1.2.3" ||
		s.Counts != (counts{Listeners: 1, Routes: 4, Clusters: 1, Hosts: 1, Unhealthy: 1, Acting: 1, Objects: 2, Quarantined: 1, Errors: 2, Warnings: 1}) || s.MutationsOpen {
		t.Errorf("%+v", s)
	}
	count(h.metrics.Route(telemetry.Unmatched), 2, telemetry.Outcome{Code: 404, Flag: model.FlagNR})
	if s := get[statusView](t, h, "/api/v1/status"); s.Unmatched.Requests != 2 || s.Unmatched.Flags["NR"] != 2 {
		t.Errorf("unmatched: %+v", s.Unmatched)
	}
	if w := h.do("GET", "/api/v1/status", "", "Authorization", "Bearer "+testToken); !strings.Contains(w.Body.String(), `"mutationsOpen":true`) {
		t.Errorf("with the token: %s", w.Body)
	}
}

func TestRoutes(t *testing.T) {
	h := newHarness(4)
	got := get[list[routeView]](t, h, "/api/v1/routes")
	if got.Total != 4 || got.Revision != 7 || len(got.Items) != 4 {
		t.Fatalf("%+v", got)
	}
	r := got.Items[0]
	if r.Name != "shop/r0/0" || r.Object != "HTTPRoute shop/r0" || r.At != (Position{"r.yaml", 5, 3}) || r.State != "serving" ||
		!slices.Equal(r.Hostnames, []string{"h0.example.com"}) || !slices.Equal(r.Tables, []string{"shop/edge/web"}) ||
		!slices.Equal(r.Matches, []string{"GET /cart/* authorization=(redacted) x-user=7 ?api_key=(redacted)"}) ||
		len(r.Backends) != 2 || r.Backends[0].Percent != 90 || r.Backends[1].Weight != 10 {
		t.Errorf("%+v", r)
	}
	if r := got.Items[2]; r.State != "partial" || r.Backends[1].Refused != "Service shop/gone does not exist" || len(r.Reasons) != 1 {
		t.Errorf("%+v", r)
	}
	if r := got.Items[3]; r.State != "refused" || r.Reasons[0] != "sessionPersistence is not supported yet" {
		t.Errorf("%+v", r)
	}
	for query, want := range map[string]int{
		"name=shop/r1/0": 1, "name=r1": 0, "q=R1": 1, "q=h2.example": 1, "q=shop": 4, "q=nobody": 0,
		"q=get%20/CART": 4, "q=hunter2": 0, "q=v2": 3, "state=refused": 1, "state=partial": 1, "state=serving": 2, "cluster=backend/shop/v2": 3, "cluster=v2": 0,
	} {
		if n := get[list[routeView]](t, h, "/api/v1/routes?"+query).Total; n != want {
			t.Errorf("?%s: %d routes, want %d", query, n, want)
		}
	}
}

func TestRouteStates(t *testing.T) {
	gone := &model.Refusal{Reason: "gone"}
	for _, tc := range []struct {
		name  string
		route model.Route
		want  string
	}{
		{"redirect", model.Route{Redirect: &model.Redirect{}}, "serving"},
		{"no weight", model.Route{Split: model.Split{Arms: []model.Arm{{Name: "a"}}}}, "refused"},
		{"no backend", model.Route{}, "refused"},
		{"all shares refused", model.Route{Split: model.Split{Arms: []model.Arm{{Weight: 1, Refusal: gone}, {Weight: 0}}}}, "refused"},
		{"a share refused", model.Route{Split: model.Split{Arms: []model.Arm{{Weight: 1, Refusal: gone}, {Weight: 1}}}}, "partial"},
	} {
		got := newHarness(0).console.showRoute(&servedRoute{route: &tc.route})
		if got.State != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got.State, tc.want)
		}
	}
}

func TestRouteInTwoTablesIsOneRoute(t *testing.T) {
	h := newHarness(1)
	route := h.snapshot.RouteTables[0].Entries[0].Route
	h.snapshot.RouteTables = append(h.snapshot.RouteTables, &model.RouteTable{Name: "shop/other/web", Entries: []model.Entry{{Route: route}}})
	got := get[list[routeView]](t, h, "/api/v1/routes")
	if got.Total != 1 || !slices.Equal(got.Items[0].Tables, []string{"shop/edge/web", "shop/other/web"}) {
		t.Errorf("%+v", got)
	}
}

func TestHosts(t *testing.T) {
	h := newHarness(1)
	s := h.metrics.Host("backend/shop/v1", "10.0.0.1:80")
	s.Begin(0)
	s.End(0, &telemetry.Outcome{Code: 200})
	got := get[list[hostView]](t, h, "/api/v1/hosts")
	if len(got.Items) != 2 {
		t.Fatalf("%+v", got)
	}
	if a := got.Items[0]; a.Address != "10.0.0.1:80" || !a.Healthy || a.EWMA != 1.5 || a.Warmth != 1 || a.Open != 3 || a.Idle != 2 || a.Traffic.Requests != 1 {
		t.Errorf("%+v", a)
	}
	if a, b := got.Items[0].Check, got.Items[1].Check; a != nil || b == nil || b.State != "unhealthy" || b.Since.Year() != 2026 || b.Error != "status 503, expected 200-299" {
		t.Errorf("checks: %+v, %+v", a, b)
	}
	until := time.Date(2026, 1, 2, 3, 5, 0, 0, time.UTC)
	if a, b := got.Items[0].Outlier, got.Items[1].Outlier; a != nil || b == nil || *b != (outlierView{true, "slowerThanMedian", until, 3, 4}) {
		t.Errorf("outliers are %+v and %+v", a, b)
	}
	if n := get[list[hostView]](t, h, "/api/v1/hosts?cluster=backend/shop/v1&name=10.0.0.2:80").Total; n != 1 {
		t.Errorf("filtered: %d", n)
	}
}

func TestClusters(t *testing.T) {
	h := newHarness(3)
	s := h.metrics.Cluster("backend/shop/v1")
	s.Begin(0)
	s.End(0, &telemetry.Outcome{Code: 200})
	got := get[list[clusterView]](t, h, "/api/v1/clusters")
	if len(got.Items) != 1 {
		t.Fatalf("%+v", got)
	}
	c := got.Items[0]
	if c.Name != "backend/shop/v1" || c.Algorithm != "LeastRequest" || c.DNS != "up:80" || c.Hosts != 2 || c.Healthy != 1 ||
		c.Open != 3 || c.Routes != 3 || c.Traffic.Requests != 1 || !slices.ContainsFunc(c.Policy, func(f model.PolicyField) bool {
		return f.Field == "loadBalancing.algorithm" && f.Value == "LeastRequest" && f.Default
	}) {
		t.Errorf("%+v", c)
	}
}

func TestListeners(t *testing.T) {
	h := newHarness(3)
	h.snapshot.Listeners = append(h.snapshot.Listeners, &model.Listener{Name: "0.0.0.0:9090"})
	h.sockets["0.0.0.0:9090"] = Socket{Problem: "address already in use"}
	h.metrics.Listener("0.0.0.0:8080").Open()
	h.metrics.Listener("0.0.0.0:8080").Refuse(telemetry.RefusedLimit)
	got := get[list[listenerView]](t, h, "/api/v1/listeners").Items
	if len(got) != 2 || got[1].Problem != "address already in use" || got[1].Address != "" {
		t.Fatalf("%+v", got)
	}
	l := got[0]
	if !slices.Equal(l.Protocols, []string{"HTTP/1.1", "HTTP/2"}) || l.Secured != nil {
		t.Errorf("%v %v", l.Protocols, l.Secured)
	}
	if l.Address != "127.0.0.1:8080" || l.Connections != 1 || l.Refused != 1 || !slices.Equal(l.Bindings, []bindingView{{Table: "shop/edge/web", Routes: 3}}) ||
		!slices.Contains(l.Policy, model.PolicyField{Field: "client.headTimeout", Value: "10s", Origin: model.Origin{File: "policy.yaml", Line: 3}}) {
		t.Errorf("%+v", l)
	}
}

// TestSecuredListeners: which certificate is shown to whom, and that HTTP/3 is spoken.
func TestSecuredListeners(t *testing.T) {
	h := newHarness(1)
	l := h.snapshot.Listeners[0]
	l.Client.HTTP3 = true
	l.TLS = &model.TLS{Names: []model.TLSName{{Hostname: "a.test", Certificates: []model.Certificate{{Name: "secret/shop/a", Chain: "x", Key: "hunter2"}}}, {}}}
	h.snapshot.Listeners = append(h.snapshot.Listeners, &model.Listener{Name: "0.0.0.0:53/udp", Transport: model.TransportUDP})
	got := get[list[listenerView]](t, h, "/api/v1/listeners").Items
	if len(got) != 2 || !slices.Equal(got[1].Protocols, []string{"HTTP/1.1", "HTTP/2", "HTTP/3"}) || !slices.Equal(got[0].Protocols, []string{"UDP"}) {
		t.Fatalf("%+v", got)
	}
	if s := got[1].Secured; len(s) != 2 || s[0].Hostname != "a.test" || !slices.Equal(s[0].Certificates, []string{"secret/shop/a"}) || s[1].Hostname != "" {
		t.Errorf("%+v", s)
	}
}

// TestStreams: what is carried as it is stands beside the routes of requests.
func TestStreams(t *testing.T) {
	h := newHarness(1)
	arms := []model.Arm{{Name: "Backend/shop/v1", Weight: 1, Cluster: "backend/shop/v1"}}
	stream := func(name string) *model.StreamRoute {
		return &model.StreamRoute{Name: "TCPRoute/shop/" + name + "/0", Kind: "TCPRoute", Namespace: "shop", Object: name, Rule: "0", Idle: time.Hour, Split: model.Split{Arms: arms}}
	}
	h.snapshot.Streams = []*model.StreamRoute{stream("db"), stream("late")}
	h.snapshot.Listeners = append(h.snapshot.Listeners, &model.Listener{Name: "0.0.0.0:5432", Streams: []model.StreamBinding{
		{Hostname: "db.test", Route: "TCPRoute/shop/db/0", Listener: "shop/edge/db"}, {Listener: "shop/edge/db"},
	}})
	routes := get[list[routeView]](t, h, "/api/v1/routes?q=tcproute&policy=true").Items
	if len(routes) != 2 || routes[0].Object != "TCPRoute shop/db" || routes[0].State != "serving" || !slices.Equal(routes[0].Hostnames, []string{"db.test"}) ||
		!slices.Equal(routes[0].Tables, []string{"shop/edge/db"}) || !slices.Equal(routes[0].Policy, []model.PolicyField{{Field: "timeouts.idle", Value: "1h", Default: true}}) {
		t.Fatalf("%+v", routes)
	}
	if routes[1].State != "refused" || len(routes[1].Reasons) != 1 {
		t.Errorf("a route that gets nothing: %+v", routes[1])
	}
	if n := get[list[routeView]](t, h, "/api/v1/routes?state=refused").Total; n != 1 {
		t.Errorf("%d routes are refused, want 1", n)
	}
	series := h.metrics.Stream("TCPRoute/shop/late/0")
	series.Begin(0)
	count(series, 1, telemetry.Outcome{Flag: model.FlagDC, BytesIn: 7})
	h.now = h.metrics.Started()
	h.pass(windowStep)
	busy := get[list[routeView]](t, h, "/api/v1/routes?sort=rate").Items[0]
	if got := busy.Traffic; busy.Name != "TCPRoute/shop/late/0" || got.Requests != 1 || got.InFlight != 1 || got.BytesIn != 7 || got.Flags["DC"] != 1 || got.Lately.Rate <= 0 {
		t.Errorf("the busiest is %s: %+v", busy.Name, got)
	}
	if s := get[statusView](t, h, "/api/v1/status"); s.Streams.Requests != 1 || s.Streams.InFlight != 1 || s.Streams.Lately.Rate <= 0 || s.Traffic.Requests != 0 {
		t.Errorf("the status says %+v of streams, %+v of requests", s.Streams, s.Traffic)
	}
	l := get[list[listenerView]](t, h, "/api/v1/listeners?name=0.0.0.0:5432").Items
	want := []bindingView{{Hostname: "db.test", Table: "shop/edge/db", Routes: 1, Stream: "TCPRoute/shop/db/0"}, {Table: "shop/edge/db"}}
	if len(l) != 1 || !slices.Equal(l[0].Bindings, want) {
		t.Errorf("%+v", l)
	}
	if !slices.Equal(l[0].Protocols, []string{"TLS"}) {
		t.Errorf("it speaks %v", l[0].Protocols)
	}
	if c := get[list[clusterView]](t, h, "/api/v1/clusters").Items; len(c) != 1 || c[0].Routes != 3 {
		t.Errorf("%+v", c)
	}
	got := get[struct{ Streams []struct{ Name, Idle string } }](t, h, "/api/v1/snapshot?q=TCPRoute")
	if len(got.Streams) != 2 || got.Streams[0].Name != "TCPRoute/shop/db/0" || got.Streams[0].Idle != "1h0m0s" {
		t.Errorf("%+v", got)
	}
}

func TestRoutePolicyHasOrigins(t *testing.T) {
	h := newHarness(1)
	h.snapshot.RouteTables[0].Entries[0].Route.Origins = model.Origins{"timeouts.request": {File: "tp.yaml", Line: 8}}
	if policy := get[list[routeView]](t, h, "/api/v1/routes").Items[0].Policy; policy != nil {
		t.Errorf("unasked: %+v", policy)
	}
	w := h.do("GET", "/api/v1/routes?policy=true", "")
	if strings.Contains(w.Body.String(), "hunter2") {
		t.Errorf("a secret is shown: %s", w.Body)
	}
	policy := get[list[routeView]](t, h, "/api/v1/routes?policy=true").Items[0].Policy
	if !slices.Contains(policy, model.PolicyField{Field: "timeouts.request", Value: "15s", Origin: model.Origin{File: "tp.yaml", Line: 8}}) {
		t.Errorf("%+v", policy)
	}
}

func TestResourcesAndDiagnostics(t *testing.T) {
	h := newHarness(1)
	for query, want := range map[string]int{
		"": 2, "?kind=gateway": 1, "?namespace=shop": 2, "?namespace=": 0, "?name=edge&kind=Gateway": 1, "?accepted=false": 1, "?accepted=true": 1,
		"?q=SHOP/edge": 1, "?q=gw.yaml": 1,
	} {
		if got := get[list[Object]](t, h, "/api/v1/resources"+query); got.Total != want {
			t.Errorf("resources%s: %d, want %d", query, got.Total, want)
		}
	}
	gateway := get[list[Object]](t, h, "/api/v1/resources?kind=Gateway").Items[0]
	if gateway.Conditions[0].Of != "listener web" || gateway.At.File != "gw.yaml" {
		t.Errorf("%+v", gateway)
	}
	got := get[list[Diagnostic]](t, h, "/api/v1/diagnostics")
	if len(got.Items) != 3 || got.Items[0].At != (Position{"r.yaml", 5, 3}) || got.Items[2].Severity != "warning" {
		t.Errorf("errors come first: %+v", got.Items)
	}
	for query, want := range map[string]int{"severity=warning": 1, "q=Backend%20shop": 1, "q=hunter2": 0, "q=unused": 1, "object=Secret%20shop/cert": 1} {
		if n := get[list[Diagnostic]](t, h, "/api/v1/diagnostics?"+query).Total; n != want {
			t.Errorf("?%s: %d, want %d", query, n, want)
		}
	}
}

// TestUnknownParameters: a mistyped filter does not look like one that everything fits.
func TestUnknownParameters(t *testing.T) {
	h := newHarness(1)
	for target, want := range map[string]string{
		"/api/v1/resources?knd=Gateway":     "known are limit, continue, kind, namespace, name, accepted, q",
		"/api/v1/routes?name=x&namespace=y": "query parameter namespace",
		"/api/v1/hosts?limit=5&Cluster=c":   "known are limit, continue, name, q, sort, cluster",
		"/api/v1/diagnostics?level=error":   "known are limit, continue, severity, object, q",
		"/api/v1/snapshot?kind=Gateway":     "known are limit, continue, name, q",
		"/api/v1/routes?name=%zz":           "wrong query",
		"/api/v1/routes?name=a;q=b":         "wrong query",
	} {
		w := h.do("GET", target, "")
		if w.Code != 400 || !strings.Contains(w.Body.String(), want) || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
}

func TestActions(t *testing.T) {
	h := newHarness(1)
	for _, name := range []string{"reload", "mass-delete", "drain"} {
		if w := h.do("POST", "/api/v1/"+name, "", "Authorization", "Bearer "+testToken); w.Code != 202 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if want := []string{"reload", "mass-delete", "drain"}; !slices.Equal(h.calls, want) {
		t.Errorf("did %v, want %v", h.calls, want)
	}
	h.err = fmt.Errorf("no deletion waits: %w", ErrConflict)
	if w := h.do("POST", "/api/v1/mass-delete", "", "Authorization", "Bearer "+testToken); w.Code != 409 || !strings.Contains(w.Body.String(), "no deletion waits") {
		t.Errorf("conflict: %d %s", w.Code, w.Body)
	}
	h.err = fmt.Errorf("disk gone")
	if w := h.do("POST", "/api/v1/reload", "", "Authorization", "Bearer "+testToken); w.Code != 500 || !strings.Contains(w.Body.String(), "disk gone") {
		t.Errorf("failure: %d %s", w.Code, w.Body)
	}
}

func TestLogLevel(t *testing.T) {
	h := newHarness(1)
	if got := get[levelView](t, h, "/api/v1/log-level"); got.Level != "info" {
		t.Errorf("%+v", got)
	}
	if w := h.do("PUT", "/api/v1/log-level", `{"level":"error"}`, "Authorization", "Bearer "+testToken); w.Code != 200 || h.level.Level() != slog.LevelError {
		t.Errorf("%d %v", w.Code, h.level)
	}
	if got := get[levelView](t, h, "/api/v1/log-level"); got.Level != "error" {
		t.Errorf("%+v", got)
	}
	for _, body := range []string{"", "{", `{"level":"loud"}`, `{"level":"info","more":1}`, `["info"]`} {
		if w := h.do("PUT", "/api/v1/log-level", body, "Authorization", "Bearer "+testToken); w.Code != 400 {
			t.Errorf("%s: %d", body, w.Code)
		}
	}
}

// TestPagesOfTenThousandRoutes walks through every list that grows with the configuration.
func TestPagesOfTenThousandRoutes(t *testing.T) {
	const routes = 10_000
	h := newHarness(routes)
	h.diagnostics, h.objects, h.hosts = nil, nil, nil
	for i := range routes {
		h.diagnostics = append(h.diagnostics, Diagnostic{Severity: "error", At: Position{File: "same.yaml", Line: 1}, Message: "same"})
		h.objects = append(h.objects, Object{Kind: "HTTPRoute", Namespace: "shop", Name: fmt.Sprint("r", i)})
		h.hosts = append(h.hosts, Host{Cluster: "c", Address: fmt.Sprint(i)})
	}
	walk := func(path string, longest int) (items, pages int) {
		token := ""
		for {
			w := h.do("GET", path+"?limit=500&continue="+url.QueryEscape(token), "")
			if w.Code != 200 || w.Body.Len() > longest {
				t.Fatalf("%s: %d, %d bytes", path, w.Code, w.Body.Len())
			}
			var page struct {
				Items       []any
				Listeners   []any
				RouteTables []struct{ Entries []any }
				Clusters    []any
				Endpoints   []any
				Continue    string
			}
			if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
				t.Fatal(err)
			}
			items += len(page.Items) + len(page.Listeners) + len(page.Clusters) + len(page.Endpoints)
			for _, table := range page.RouteTables {
				items += len(table.Entries)
			}
			pages++
			if token = page.Continue; token == "" {
				return items, pages
			}
		}
	}
	for path, want := range map[string]int{"routes": routes, "hosts": routes, "resources": routes, "diagnostics": routes, "snapshot": routes + 3} {
		items, pages := walk("/api/v1/"+path, 1<<20)
		if items != want || pages < 20 || pages > 21 {
			t.Errorf("%s: %d items on %d pages, want %d", path, items, pages, want)
		}
	}
}
