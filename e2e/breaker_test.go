package e2e_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestBreakerClose opens the breaker of a backend that fails, and closes it by hand once that is well again.
func TestBreakerClose(t *testing.T) {
	t.Parallel()
	b := breakable(t)
	var well atomic.Bool
	var asked atomic.Int32
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1); !well.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer upstream.Close()
	b.base = edge(b.front) + routed("shop", "payments") + backend("payments", upstream.Listener.Addr().String()) + `---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: payments}
spec:
  targetRefs: [{group: weir.dev, kind: Backend, name: payments}]
  circuitBreaker: {trip: {failures: 50%, of: 10, openFor: 10m, probes: 1}}
`
	b.write("")
	get := func() (status int, flag string) {
		resp, _, err := b.meet("")
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header.Get("X-Weir-Flag")
	}
	eventually(t, func() (bool, string) {
		_, flag := get()
		return flag == "UO", "no open breaker: " + flag
	})
	well.Store(true)
	before := asked.Load()
	if status, flag := get(); status != http.StatusServiceUnavailable || flag != "UO" || asked.Load() != before {
		t.Errorf("open: %d %q, and the backend was asked %d times", status, flag, asked.Load()-before)
	}
	b.weir(true, "get resilience backend/default/payments", "breaker open, probes in [0-9]+ s")
	b.weir(false, "breaker close", "name backends as NAMESPACE/NAME")
	b.weir(false, "breaker close shop/nobody", "backend/shop/nobody: .*404.*no live backend of that name has a breaker that trips")
	b.weir(false, "breaker close payments --token-file "+b.file, "admin token: .*not one word")
	if status, flag := get(); flag != "UO" {
		t.Errorf("after what was refused: %d %q", status, flag)
	}
	b.weir(true, "breaker close payments --reason well-again", "^backend/default/payments: closed, was open\n$")
	for range 20 {
		if status, flag := get(); status != http.StatusOK || flag != "" {
			t.Fatalf("closed: %d %q", status, flag)
		}
	}
	b.weir(true, "get resilience backend/default/payments", "breaker closed")
	b.weir(true, "breaker close default/payments", "closed, was closed")
	if log := b.log.String(); !strings.Contains(log, "well-again") || !strings.Contains(log, "backend/default/payments") {
		t.Errorf("the log does not say who closed it and why:\n%s", log)
	}
}
