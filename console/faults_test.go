package console

import (
	"context"
	"strings"
	"testing"
	"time"
)

// Faults implements Faults for tests.
func (h *harness) Faults() []Fault { return h.faults }

// StopFaults implements Faults for tests.
func (h *harness) StopFaults(_ context.Context, o FaultOrder) (int, error) {
	h.ordered = append(h.ordered, o)
	n := 0
	for _, f := range h.faults {
		if len(o.Policies) == 0 || o.Policies[0] == f.Policy {
			n++
		}
	}
	return n, nil
}

func TestFaultOrders(t *testing.T) {
	h := newHarness(1)
	h.faults = []Fault{
		{Policy: "shop/late", Name: "late", Does: "delay 1s", State: FaultStopped, Expires: time.Unix(1, 0)},
		{Policy: "shop/slow", Name: "slow", Does: "reset", State: FaultActive},
	}
	list := h.do("GET", "/api/v1/faults", "").Body.String()
	if slow, late := strings.Index(list, "shop/slow"), strings.Index(list, "shop/late"); slow < 0 || late < slow {
		t.Errorf("what is active does not come first: %s", list)
	}
	for _, test := range []struct {
		path, body string
		status     int
		part       string
	}{
		{"stop", `{"policies":["shop/slow"],"reason":"page"}`, 200, `"faults":1`},
		{"resume", `{"all":true}`, 200, `"done":"resumed","faults":2`},
		{"stop", `{"policies":["shop/slow","shop/none"]}`, 200, `"unknown":["shop/none"]`},
		{"stop", `{"policies":["shop/none"]}`, 404, "no live FaultPolicy"},
		{"stop", `{}`, 400, "namespace/name"},
		{"stop", `{"all":true,"policies":["shop/slow"]}`, 400, "namespace/name"},
	} {
		w := h.do("POST", "/api/v1/faults/"+test.path, test.body, "Authorization", "Bearer "+testToken)
		if w.Code != test.status || !strings.Contains(w.Body.String(), test.part) {
			t.Errorf("%s %s: %d %s", test.path, test.body, w.Code, w.Body)
		}
	}
	if len(h.ordered) != 4 || h.ordered[0].Stop.By != Owner || h.ordered[0].Stop.Reason != "page" || !h.ordered[1].Resume {
		t.Errorf("ordered %+v", h.ordered)
	}
	if w := h.do("POST", "/api/v1/faults/stop", `{"all":true}`); w.Code != 401 {
		t.Errorf("without a token: %d", w.Code)
	}
}
