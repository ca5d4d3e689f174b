package e2e_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"weir.dev/weir/bench/release"
)

// gateCase is a gate, and what the status says while it is asked.
type gateCase struct {
	name, gate    string
	phase         string // that it comes to
	verdict, says string
}

// liars are servers that gates ask and that answer in bad faith, or not at all.
func liars(t *testing.T) (url string, letGo func()) {
	release := make(chan struct{})
	var once atomic.Bool
	letGo = func() {
		if !once.Swap(true) {
			close(release)
		}
	}
	answer := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
	}
	hang := func(http.ResponseWriter, *http.Request) { <-release }
	mux := http.NewServeMux()
	mux.HandleFunc("/good", answer(`{"verdict": "Pass", "message": "fine"}`))
	mux.HandleFunc("/garbage", answer("<html>all is well</html>"))
	mux.HandleFunc("/other", answer(`{"verdict": "Sure"}`))
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/loop", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/huge", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"verdict": "Pass", "message": "`)
		for range 1000 {
			_, _ = io.WriteString(w, strings.Repeat("x", 1000))
		}
		_, _ = io.WriteString(w, `"}`)
	})
	mux.HandleFunc("/hang", hang)
	mux.HandleFunc("/wait/api/v1/query", hang)
	mux.HandleFunc("/nan/api/v1/query", answer(`{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"NaN"]}]}}`))
	mux.HandleFunc("/two/api/v1/query", answer(`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"1"},"value":[1,"1"]},{"metric":{"a":"2"},"value":[1,"1"]}]}}`))
	mux.HandleFunc("/html/api/v1/query", answer("<html>200</html>"))
	s := httptest.NewServer(mux)
	t.Cleanup(func() { letGo(); s.Close() })
	return s.URL, letGo
}

func gateCases(url string) []gateCase {
	webhook := func(path string) string { return fmt.Sprintf("webhook: {url: '%s%s', timeout: 1s}", url, path) }
	query := func(path string) string {
		return fmt.Sprintf("promql: {query: up, min: \"0.5\", address: '%s%s'}", url, path)
	}
	return []gateCase{
		{"good", webhook("/good"), "Succeeded", "", ""},
		{"garbage", webhook("/garbage"), "Holding", "Error", "invalid character"},
		{"other", webhook("/other"), "Holding", "Error", "want Pass, Fail or Inconclusive"},
		{"loop", webhook("/loop"), "Holding", "Error", "answered 307, want 200 (redirects are not followed)"},
		{"huge", webhook("/huge"), "Holding", "Error", "longer than 65536 bytes"},
		{"hang", webhook("/hang"), "Holding", "Error", "did not answer within 1s"},
		{"nan", query("/nan"), "Holding", "Inconclusive", "NaN, which is no number"},
		{"two", query("/two"), "Holding", "Inconclusive", "2 series"},
		{"html", query("/html"), "Holding", "Error", "not Prometheus' JSON"},
		{"wait", query("/wait"), "Holding", "Error", "deadline"},
		{"nothing", "promql: {query: 'sum(nothing_at_all)', min: \"0\"}", "Holding", "Inconclusive", "finds no series"},
		{"slo", "slo: {name: missing}", "Holding", "Error", "missing"},
	}
}

// gated is a route and a Rollout of its own for a gate.
func gated(c gateCase) string {
	return fmt.Sprintf(`---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[1]s}
spec:
  parentRefs: [{name: edge}]
  rules: [{name: all, matches: [{path: {value: /%[1]s}}], backendRefs: [{group: weir.dev, kind: Backend, name: stable}]}]
---
apiVersion: weir.dev/v1alpha1
kind: Rollout
metadata: {name: %[1]s}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: HTTPRoute, name: %[1]s, sectionName: all}
  stable: {group: weir.dev, kind: Backend, name: stable}
  canary: {group: weir.dev, kind: Backend, name: canary}
  stages: [{share: 50%%}, {share: 100%%}]
  minimumRequests: 1
  gates: [{name: check, %[2]s}]
`, c.name, c.gate)
}

// TestReleaseGates asks gates that hang, lie or say nothing. Each run holds at its first stage, and the status
// says which gate it is and why; the one whose gate is content goes on.
func TestReleaseGates(t *testing.T) {
	t.Parallel()
	url, _ := liars(t)
	cases := gateCases(url)
	r := startRelease(t, 10, func(text string) string {
		for _, c := range cases {
			text += gated(c)
		}
		preview := gated(gateCase{name: "preview", gate: "webhook: {url: '" + url + "/good'}"})
		return text + strings.NewReplacer(
			"stages: [{share: 50%}, {share: 100%}]", `strategy: BlueGreen
  cohorts: [{name: staff, when: 'request.path == "/preview/staff"'}]`, "minimumRequests: 1", "minimumRequests: 5",
		).Replace(preview)
	})
	previewed(t, r)
	ask := func(c gateCase) {
		for range 4 { // so that both arms have some
			_, _ = fetch("http://" + r.front + "/" + c.name)
		}
	}
	for _, c := range cases { // all gates are asked at the same time
		ask(c)
		ask(c)
	}
	for _, c := range cases {
		one := release.Rollout{Admin: r.Admin, Name: "default/" + c.name}
		eventually(t, func() (bool, string) {
			ask(c)
			s, err := one.Status(t.Context())
			return err == nil && s.Phase == c.phase && (len(s.Gates) == 1 || c.verdict == ""), fmt.Sprintf("%s: %+v %v", c.name, s, err)
		})
		if c.verdict == "" {
			continue
		}
		s, err := one.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if g := s.Gates[0]; g.Verdict != c.verdict || !strings.Contains(g.Message, c.says) {
			t.Errorf("%s: %s: %s; want %s: …%s…", c.name, g.Verdict, g.Message, c.verdict, c.says)
		}
		if s.Share != 50 || blocking(s) != "gate/check" {
			t.Errorf("%s: %v %%, blocked by %q; want 50 %%, gate/check", c.name, s.Share, blocking(s))
		}
		if out, err := r.weir(t, "rollout", "status", one.Name); err != nil || !strings.Contains(out, c.says) || !strings.Contains(out, "Holding") {
			t.Errorf("%s: weir rollout status: %v: %s", c.name, err, out)
		}
	}
}

// previewed: a switch by gates alone waits for those who preview it.
func previewed(t *testing.T, r *releasing) {
	t.Helper()
	one := release.Rollout{Admin: r.Admin, Name: "default/preview"}
	comes := func(phase, says string) {
		t.Helper()
		eventually(t, func() (bool, string) {
			_, _ = fetch("http://" + r.front + "/preview")
			s, err := one.Status(t.Context())
			return err == nil && s.Phase == phase && (says == "" || s.Blocking != nil && strings.Contains(s.Blocking.Message, says)), fmt.Sprintf("%+v %+v %v", s, s.Blocking, err)
		})
	}
	comes("Holding", "of 5 requests of cohorts that gates alone want before the switch, the canary has had 0")
	for range 4 {
		_, _ = fetch("http://" + r.front + "/preview/staff")
	}
	comes("Holding", "has had 4, 0 of which failed")
	if out, err := r.weir(t, "rollout", "status", one.Name); err != nil || !strings.Contains(out, "cohort staff") {
		t.Errorf("weir rollout status: %v: %s", err, out)
	}
	_, _ = fetch("http://" + r.front + "/preview/staff")
	comes("Succeeded", "")
}

// TestReleaseApproval: who holds a named token of the right group may approve, others may not, and the
// history says who did.
func TestReleaseApproval(t *testing.T) {
	t.Parallel()
	r := prepareRelease(t, 10, func(text string) string {
		return gated(gateCase{name: "pay", gate: "approval: {from: ['team:payments']}"})[4:] + "---\n" + text
	})
	tokens := ""
	for name, group := range map[string]string{"alice": "team:payments", "bob": "team:search"} {
		put(t, r.path(name), name+"-has-this-token\n")
		tokens += fmt.Sprintf("- {name: %s, groups: ['%s'], sha256: %x}\n", name, group, sha256.Sum256([]byte(name+"-has-this-token")))
	}
	put(t, r.path("tokens.yaml"), tokens)
	r.process = launch(t, append(r.args, "--tokens", r.path("tokens.yaml"))...)
	r.Name = "default/pay"
	eventually(t, func() (bool, string) {
		_, _ = fetch("http://" + r.front + "/pay")
		s, err := r.Status(t.Context())
		return err == nil && blocking(s) == "gate/check", fmt.Sprintf("%+v %v", s, err)
	})
	for _, c := range []struct {
		token, says string
	}{
		{"bob", "bob may not approve check: that is for team:payments"},
		{"token", "admin may not approve check"},
		{"nobody", "token"},
	} {
		if c.token == "nobody" {
			put(t, r.path("nobody"), "no-such-token\n")
		}
		out, err := r.weir(t, "rollout", "approve", r.Name, "--token-file", r.path(c.token))
		if err == nil || !strings.Contains(out, c.says) {
			t.Errorf("%s: %v: %s; want it refused: %s", c.token, err, out, c.says)
		}
	}
	s, err := r.Status(t.Context())
	if err != nil || s.Phase != "Holding" || s.Share != 50 {
		t.Errorf("nobody has approved: %+v, %v", s, err)
	}
	if out, err := r.weir(t, "rollout", "approve", r.Name, "--token-file", r.path("alice"), "--reason", "looks good"); err != nil {
		t.Fatalf("alice: %v: %s", err, out)
	}
	r.became(t, "approved, it goes on", func(s release.Status) bool { return s.Phase == "Succeeded" && s.Share == 100 })
	if out := r.history(t); !strings.Contains(out, "approved check") || !strings.Contains(out, "alice") || !strings.Contains(out, "looks good") || strings.Contains(out, "bob") {
		t.Errorf("the history does not say who has approved and why: %s", out)
	}
}

// TestReleaseAdminBlocked: a proxy takes a canary back whether or not anybody can reach its admin API.
func TestReleaseAdminBlocked(t *testing.T) {
	t.Parallel()
	r := startRelease(t, 1000, nil)
	var held []net.Conn
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	for range 300 { // more than there is room for
		conn, err := net.Dial("tcp", r.Admin)
		if err != nil {
			break
		}
		_, _ = io.WriteString(conn, "GET /api/v1/rollouts HTTP/1.1\r\n")
		held = append(held, conn)
	}
	r.divided(t)
	r.canary.Play(release.Fault{Share: 1}, 1)
	failed := r.sweep(t, r.front)
	if failed > 9 {
		t.Errorf("%d users saw a failure, want five or so", failed)
	}
	before := r.canary.Seen().Requests
	r.sweep(t, r.front)
	if now := r.canary.Seen().Requests; now != before {
		t.Errorf("%d requests came to the canary after it was taken back", now-before)
	}
	for _, c := range held {
		c.Close()
	}
	s := r.became(t, "the trip is told of", func(s release.Status) bool { return s.Trip != nil })
	if s.Phase != "Aborted" {
		t.Errorf("it is %s", s.Phase)
	}
}
