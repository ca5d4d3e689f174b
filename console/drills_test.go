package console

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// StartDrill implements Drills for tests.
func (h *harness) StartDrill(context.Context, DrillOrder) error { return h.drill }

// StopDrill implements Drills for tests.
func (h *harness) StopDrill(context.Context, string, string) error { return h.drill }

func TestDrills(t *testing.T) {
	h := newHarness(1)
	for _, test := range []struct {
		path, body string
		err        error
		status     int
		part       string
	}{
		{"", `{"namespace":"shop","name":"slow","reason":"r","targetRefs":[],"faults":[],"seconds":3}`, nil, 200, `"done":"started"`},
		{"", `{"name":"slow"}`, &WrongDrill{[]string{"spec.faults: required", "b"}}, 400, "spec.faults: required; b"},
		{"", `{"name":"slow"}`, fmt.Errorf("%w: it runs already", ErrConflict), 409, "it runs already"},
		{"", `{"name":7}`, nil, 400, "weir drill run"},
		{"/stop", `{"namespace":"shop","name":"slow"}`, nil, 200, `"done":"stopped"`},
		{"/stop", `{"namespace":"shop","name":"slow"}`, fmt.Errorf("%w: no drill", ErrConflict), 409, "no drill"},
	} {
		h.drill = test.err
		w := h.do("POST", "/api/v1/drills"+test.path, test.body, "Authorization", "Bearer "+testToken)
		if w.Code != test.status || !strings.Contains(w.Body.String(), test.part) {
			t.Errorf("%s: %d %s, want %d with %s", test.body, w.Code, w.Body, test.status, test.part)
		}
	}
	if w := h.do("POST", "/api/v1/drills", `{}`); w.Code != 401 {
		t.Errorf("without a token: %d", w.Code)
	}
}

func TestCloseBreaker(t *testing.T) {
	h := newHarness(1)
	for body, want := range map[string]string{
		`{"target":"backend/shop/cart","reason":"it is back"}`: `200 {"done":"closed","was":"open"}`,
		`{"target":"backend/shop/none"}`:                       "404",
		`{}`:                                                   "400",
		`{"target":7}`:                                         "400",
	} {
		w := h.do("POST", "/api/v1/breakers/close", body, "Authorization", "Bearer "+testToken)
		if got := fmt.Sprint(w.Code, " ", w.Body); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
		if w.Code == 200 && (h.breaker.By == "" || h.breaker.Reason != "it is back") {
			t.Errorf("ordered %+v, want who and why", h.breaker)
		}
	}
	if w := h.do("POST", "/api/v1/breakers/close", `{"target":"backend/shop/cart"}`); w.Code != 401 {
		t.Errorf("without a token: %d", w.Code)
	}
}
