package console

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"weir.dev/weir/model"
)

func TestHostAndOrigin(t *testing.T) {
	h := newHarness(1)
	for _, tc := range []struct {
		name    string
		headers []string
		want    int
	}{
		{"address", []string{"Host", "127.0.0.1:9901"}, 200},
		{"address without port", []string{"Host", "127.0.0.1"}, 200},
		{"IPv6", []string{"Host", "[::1]:9901"}, 200},
		{"IPv6 without port", []string{"Host", "[::1]"}, 200},
		{"localhost", []string{"Host", "LocalHost.:9901"}, 200},
		{"configured name", []string{"Host", "Admin.example.com"}, 200},
		{"rebound name", []string{"Host", "evil.example:9901"}, 421},
		{"name that begins with an address", []string{"Host", "127.0.0.1.evil.example"}, 421},
		{"name under localhost", []string{"Host", "evil.localhost"}, 421},
		{"no name", []string{"Host", ""}, 421},
		{"own origin", []string{"Origin", "http://127.0.0.1:9901"}, 200},
		{"foreign origin", []string{"Origin", "http://evil.example"}, 403},
		{"other port", []string{"Origin", "http://127.0.0.1:8080"}, 403},
		{"opaque origin", []string{"Origin", "null"}, 403},
		{"empty origin", []string{"Origin", ""}, 403},
		{"cross-site without origin", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, 403},
		{"link from elsewhere", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 200},
		{"same site", []string{"Sec-Fetch-Site", "same-origin"}, 200},
	} {
		if got := h.do("GET", "/api/v1/status", "", tc.headers...); got.Code != tc.want {
			t.Errorf("%s: %d, want %d: %s", tc.name, got.Code, tc.want, got.Body)
		}
	}
}

func TestMutationsNeedTheToken(t *testing.T) {
	for _, path := range []string{"POST /api/v1/reload", "POST /api/v1/mass-delete", "POST /api/v1/drain", "PUT /api/v1/log-level"} {
		method, target, _ := strings.Cut(path, " ")
		h := newHarness(1)
		for _, authorization := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Basic " + testToken, testToken} {
			w := h.do(method, target, `{"level":"debug"}`, "Authorization", authorization)
			if w.Code != 401 || w.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %q: %d", path, authorization, w.Code)
			}
		}
		if len(h.calls) != 0 || h.level.Level() != 0 {
			t.Errorf("%s was done without the token", path)
		}
		if w := h.do(method, target, `{"level":"debug"}`, "Authorization", "Bearer "+testToken); w.Code/100 != 2 {
			t.Errorf("%s with the token: %d %s", path, w.Code, w.Body)
		}
		if w := h.do(method, target, `{}`, "Authorization", "Bearer "+testToken, "Origin", "http://evil.example"); w.Code != 403 {
			t.Errorf("%s from a foreign origin: %d", path, w.Code)
		}
		if strings.Contains(h.log.String(), testToken) {
			t.Error("the token is in the log")
		}
	}
}

func TestWithoutATokenNothingIsAllowed(t *testing.T) {
	h := newHarness(1)
	h.console.cfg.Token = ""
	for _, authorization := range []string{"Bearer", "Bearer ", "Bearer x"} {
		if w := h.do("POST", "/api/v1/drain", "", "Authorization", authorization); w.Code != 401 {
			t.Errorf("%q: %d", authorization, w.Code)
		}
	}
}

func TestSecretsNeverAppear(t *testing.T) {
	h := newHarness(4)
	h.snapshot.RouteTables[0].Entries[0].Route.Split.Arms[0].RequestHeaders = &model.HeaderEdit{Add: []model.Header{{Name: "cookie", Value: "hunter2"}}}
	for _, e := range h.console.endpoints {
		if e.method != "GET" {
			continue
		}
		w := h.do("GET", e.path, "")
		if w.Code != e.status {
			t.Errorf("%s: %d", e.path, w.Code)
		}
		for _, secret := range []string{"hunter2", "aHVudGVyMg", testToken} {
			if strings.Contains(w.Body.String(), secret) {
				t.Errorf("%s shows %s: %s", e.path, secret, w.Body)
			}
		}
	}
	snapshot := h.do("GET", "/api/v1/snapshot", "").Body.String()
	for _, shown := range []string{redacted, `"x-team","value":"cart"`, `"x-user","type":"Exact","value":"7"`} {
		if !strings.Contains(snapshot, shown) {
			t.Errorf("the snapshot lacks %s: %s", shown, snapshot)
		}
	}
}

func TestBodiesAreBounded(t *testing.T) {
	h := newHarness(1)
	w := h.do("PUT", "/api/v1/log-level", `{"level":"`+strings.Repeat("x", maxBody)+`"}`, "Authorization", "Bearer "+testToken)
	if w.Code != 413 {
		t.Errorf("got %d, want 413", w.Code)
	}
}

func TestPanicsAreContained(t *testing.T) {
	h := newHarness(1)
	handler := h.console.contain(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") }))
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 500 || strings.Contains(w.Body.String(), "boom") || !strings.Contains(h.log.String(), "boom") {
		t.Errorf("%d %s, log %s", w.Code, w.Body, &h.log)
	}
}

// TestWhoPanicked: a mutation that panics half done is in the log with who made it, too.
func TestWhoPanicked(t *testing.T) {
	h := newHarness(1)
	r := httptest.NewRequest("POST", "/", nil)
	r.Header.Set("Authorization", "Bearer "+testToken)
	h.console.contain(h.console.withToken(func(http.ResponseWriter, *http.Request) { panic("half done") })).ServeHTTP(httptest.NewRecorder(), r)
	if log := h.log.String(); !strings.Contains(log, `msg="admin mutation" by=admin`) || !strings.Contains(log, "status=500") {
		t.Errorf("the log does not say who, and how it ended: %s", log)
	}
}

func TestProbeServesHealthAndMetricsOnly(t *testing.T) {
	h := newHarness(1)
	for _, e := range h.console.endpoints {
		want := http.StatusNotFound
		if e.path == "/healthz" || e.path == "/readyz" || e.path == "/metrics" {
			want = http.StatusOK
		}
		r := httptest.NewRequest(e.method, e.path, nil)
		r.Header.Set("Authorization", "Bearer "+testToken)
		w := httptest.NewRecorder()
		h.console.Probe().ServeHTTP(w, r) // under httptest's name, example.com, as a kubelet might
		if w.Code != want {
			t.Errorf("%s %s: %d, want %d", e.method, e.path, w.Code, want)
		}
	}
	if len(h.calls) != 0 {
		t.Errorf("the probe address did %v", h.calls)
	}
}

func TestProblems(t *testing.T) {
	h := newHarness(1)
	for _, tc := range []struct {
		method, target, where string
		want                  int
	}{
		{"GET", "/nowhere", "path", 404},
		{"GET", "/api/v1/reload", "method GET", 405},
		{"DELETE", "/api/v1/log-level", "method DELETE", 405},
		{"GET", "/api/v1/routes?limit=0", "query parameter limit", 400},
		{"GET", "/api/v1/routes?limit=501", "query parameter limit", 400},
		{"GET", "/api/v1/hosts?limit=x", "query parameter limit", 400},
		{"GET", "/api/v1/resources?continue=*", "query parameter continue", 400},
	} {
		w := h.do(tc.method, tc.target, "")
		var p problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Errorf("%s: %v: %s", tc.target, err, w.Body)
		}
		if w.Code != tc.want || p.Status != tc.want || p.Where != tc.where || p.Title == "" || p.Remedy == "" ||
			w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %d %+v", tc.method, tc.target, w.Code, p)
		}
	}
	if allow := h.do("DELETE", "/api/v1/log-level", "").Header().Get("Allow"); allow != "GET, PUT" {
		t.Errorf("Allow: %q", allow)
	}
}

func TestHeadersForBrowsers(t *testing.T) {
	w := newHarness(1).do("GET", "/", "")
	for name, want := range map[string]string{
		"Content-Security-Policy": contentPolicy, "X-Content-Type-Options": "nosniff", "Content-Type": "text/html; charset=utf-8",
		"Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "token")
	first, err := Token(path)
	if err != nil || len(first) < 32 {
		t.Fatalf("%q, %v", first, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if again, err := Token(path); err != nil || again != first {
		t.Errorf("again: %q, %v", again, err)
	}
	entries, _ := os.ReadDir(filepath.Dir(path))
	if len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Token(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that others read: %v", err)
	}
	if _, err := Token("/dev/null/token"); err == nil || strings.Contains(err.Error(), ".token-") {
		t.Errorf("where no file can be: %v", err)
	}
	for _, content := range []string{"", "short", "two words that are long enough"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		os.Chmod(path, 0o600)
		if got, err := Token(path); err == nil {
			t.Errorf("%q was taken for %q", content, got)
		}
	}
}

func TestTokenOfTwoProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	var got [8]string
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = Token(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, token := range got {
		if token != got[0] {
			t.Errorf("%q and %q", got[0], token)
		}
	}
}

// TestNamedTokens: a named token may what the admin's may, the handler knows whose it is, an entry
// that is taken out ends at once, and a wrong file says where and what.
func TestNamedTokens(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const alice = "- name: alice\n  groups: [team:payments]\n  sha256: 2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90\n"
	write(alice)
	h := newHarness(1)
	h.console.cfg.TokensFile = file
	var who Principal
	ask := func(token string) *httptest.ResponseRecorder {
		who = Principal{}
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		h.console.withToken(func(w http.ResponseWriter, r *http.Request) {
			if who = PrincipalOf(r.Context()); !strings.Contains(h.log.String(), "by="+who.Name) {
				t.Errorf("the log does not say before it is done who does it: %s", &h.log)
			}
			w.WriteHeader(http.StatusConflict)
		})(w, r)
		return w
	}
	if ask("alice"); who.Name != "alice" || !slices.Equal(who.Groups, []string{"team:payments"}) {
		t.Errorf("alice is %+v", who)
	}
	if log := h.log.String(); !strings.Contains(log, "by=alice") || !strings.Contains(log, "status=409") {
		t.Errorf("the log does not say who, and how it ended: %s", log)
	}
	if ask(testToken); who.Name != Owner || len(who.Groups) > 0 {
		t.Errorf("the admin is %+v", who)
	}
	if w := ask("bob"); w.Code != 401 {
		t.Errorf("bob: %d", w.Code)
	}
	write("[]")
	if w := ask("alice"); w.Code != 401 {
		t.Errorf("alice after her entry is gone: %d", w.Code)
	}
	for text, want := range map[string]string{
		alice + alice:                   "entry 2 (\"alice\"): the name stands twice",
		"- name: admin\n  sha256: 00\n": "the token file's",
		"- name: eve\n  sha256: 00\n":   "64 digits",
		"- name: a b\n":                 "one word",
		"- name: eve\n  token: x\n":     "unknown field",
	} {
		write(text)
		h.log.Reset()
		if New(h.console.cfg); !strings.Contains(h.log.String(), strings.ReplaceAll(want, `"`, `\"`)) {
			t.Errorf("%q: not said at the start: %s", text, h.log.String())
		}
		if w := ask("alice"); w.Code != 503 || !strings.Contains(w.Body.String(), strings.ReplaceAll(want, `"`, `\"`)) {
			t.Errorf("%q: %d %s, want %s", text, w.Code, w.Body, want)
		}
		if ask(testToken); who.Name != Owner {
			t.Errorf("with %q the admin is locked out", text)
		}
	}
}
