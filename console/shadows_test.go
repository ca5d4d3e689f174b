package console

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/model"
)

// Shadows implements Shadows for tests.
func (h *harness) Shadows() []model.ShadowReport { return h.shadows }

// ResetShadow implements Shadows for tests.
func (h *harness) ResetShadow(name string) bool {
	for i := range h.shadows {
		if h.shadows[i].Shadow == name {
			h.shadows[i] = model.ShadowReport{Shadow: name}
			return true
		}
	}
	return false
}

func TestShadows(t *testing.T) {
	h := newHarness(1)
	h.shadows = []model.ShadowReport{
		{Shadow: "shop/b", Copies: model.ShadowCopies{Answered: 3, Dropped: []model.ShadowDrop{{Reason: "body", Count: 2}}}},
		{Shadow: "shop/a", Since: started, Comparison: &model.ShadowComparison{
			Equal: 2, Noise: 1, Different: 1, Fields: []model.ShadowField{{Field: "$.price", Different: 2, Noise: 1, Net: 1}},
			Examples: []model.ShadowExample{{At: started, Method: "GET", Path: "/p", Field: "$.price", Primary: "1", Shadow: "2"}},
			Latency: &model.ShadowLatency{
				Primary: model.ShadowQuantiles{P50: time.Millisecond, P99: 2 * time.Millisecond},
				Shadow:  model.ShadowQuantiles{P50: 3 * time.Millisecond, P99: 5 * time.Millisecond},
			},
		}},
	}
	got := get[list[shadowView]](t, h, "/api/v1/shadows")
	if len(got.Items) != 2 || got.Items[0].Name != "shop/a" || got.Items[1].Comparison != nil || got.Items[1].Dropped[0].Count != 2 {
		t.Errorf("got %+v", got.Items)
	}
	a := got.Items[0]
	if a.Comparison.Compared != 4 || a.Comparison.Share != 0.25 || a.Latency.Ratio.P50 != 3 || a.Latency.Ratio.P99 != 2.5 || a.Latency.Ratio.P95 != 0 {
		t.Errorf("got %+v %+v", a.Comparison, a.Latency)
	}
	if one := get[list[shadowView]](t, h, "/api/v1/shadows?name=shop/b"); len(one.Items) != 1 {
		t.Errorf("by name %+v", one.Items)
	}
	for body, want := range map[string]int{
		`{"shadow":"shop/a"}`: http.StatusAccepted, `{"shadow":"shop/c"}`: http.StatusNotFound, `{}`: http.StatusBadRequest, `{"x":1}`: http.StatusBadRequest,
	} {
		if w := h.do("POST", "/api/v1/shadows/reset", body, "Authorization", "Bearer "+testToken); w.Code != want {
			t.Errorf("%s: %d, want %d: %s", body, w.Code, want, w.Body)
		}
	}
	if w := h.do("POST", "/api/v1/shadows/reset", `{"shadow":"shop/a"}`); w.Code != http.StatusUnauthorized {
		t.Errorf("without a token: %d", w.Code)
	}
	b, err := json.Marshal(get[list[shadowView]](t, h, "/api/v1/shadows").Items[0])
	if err != nil || strings.Contains(string(b), "comparison") {
		t.Errorf("after the reset: %s, %v", b, err)
	}
}
