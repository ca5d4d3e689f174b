package console

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestBudgets(t *testing.T) {
	h := newHarness(2)
	for body, want := range map[string]struct {
		status int
		text   string
	}{
		`{"route":"shop/r0"}`:                          {http.StatusOK, `"route": "shop/r0/0"`},
		`{"route":"shop/r0/0","rate":5,"failing":0.5}`: {http.StatusOK, `"failing": 0.5`},
		`{"route":"shop/r0","failing":1.5}`:            {http.StatusBadRequest, "failing from 0 to 1"},
		`{"route":""}`:                                 {http.StatusBadRequest, "want a route"},
		`{"rout":"shop/r0"}`:                           {http.StatusBadRequest, "unknown field"},
		`{"route":"shop/rr0"}`:                         {http.StatusNotFound, "did you mean shop/r0?"},
	} {
		w := h.do("POST", "/api/v1/budgets", body)
		if w.Code != want.status || !strings.Contains(strings.ReplaceAll(w.Body.String(), `":`, `": `), want.text) && !strings.Contains(w.Body.String(), want.text) {
			t.Errorf("%s: %d %s, want %d with %q", body, w.Code, w.Body, want.status, want.text)
		}
	}
	h.snapshot = nil
	if w := h.do("POST", "/api/v1/budgets", `{"route":"shop/r0"}`); w.Code != http.StatusServiceUnavailable {
		t.Errorf("without a snapshot: %d %s", w.Code, w.Body)
	}
}

// What hosts of a backend are seen to call counts as declared calls do: the budget follows it.
// Strangers, and addresses that several backends have, are nobody's.
func TestBudgetsFollowWhatIsSeen(t *testing.T) {
	h := newHarness(2)
	h.hosts = append(h.hosts, Host{Cluster: "backend/shop/v2", Address: "10.0.0.9:80"}, Host{Cluster: "backend/shop/v3", Address: "10.0.0.9:80"})
	ask := func() string { return h.do("POST", "/api/v1/budgets", `{"route":"shop/r0"}`).Body.String() }
	before := ask()
	h.metrics.Callers.Note(netip.MustParseAddr("192.0.2.1"), "backend/shop/v2", h.now)
	h.metrics.Callers.Note(netip.MustParseAddr("10.0.0.9"), "backend/shop/v2", h.now)
	if got := ask(); got != before {
		t.Errorf("strangers changed it: %s", got)
	}
	h.metrics.Callers.Note(netip.MustParseAddr("10.0.0.1"), "backend/shop/v2@shop/edge", h.now)
	if got := ask(); got == before || !strings.Contains(got, `"observed"`) {
		t.Errorf("a call of v1 to v2 was seen: %s", got)
	}
	h.now = h.now.Add(2 * time.Hour)
	if got := ask(); got != before {
		t.Errorf("two hours later: %s", got)
	}
}
