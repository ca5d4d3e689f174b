package translate

import (
	"testing"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
)

// TestBalancingValues: the schema lets nothing else pass, but another source may.
func TestBalancingValues(t *testing.T) {
	for text, want := range map[string]float64{"0%": 0, "50%": 0.5, "33.33%": 0.3333, "28%": 0.28, "100%": 1, "50": -1, "101%": -1, "-1%": -1, "NaN%": -1, "%": -1} {
		r := policyReader{reporter: reporter{object: &resource.Object{}}}
		if got := r.percentage("p", v1alpha1.Percentage(text)); (want < 0) != (len(r.diagnostics) == 1) || want >= 0 && got != want {
			t.Errorf("%q: %v, %v", text, got, r.diagnostics)
		}
	}
	for text, want := range map[string]float64{"0": 0, "1": 1, "1.25": 1.25, "999.999": 999.999, "0.5": -1, "": -1, "x": -1, "-2": -1, "Inf": -1, "NaN": -1} {
		r := policyReader{reporter: reporter{object: &resource.Object{}}}
		if got := r.loadFactor("p", v1alpha1.LoadFactor(text)); (want < 0) != (len(r.diagnostics) == 1) || want >= 0 && got != want {
			t.Errorf("%q: %v, %v", text, got, r.diagnostics)
		}
	}
	r := policyReader{reporter: reporter{object: &resource.Object{}}}
	if keys := r.readKeys("hashOn", []v1alpha1.Key{{}}); len(keys) != 0 || len(r.diagnostics) != 1 {
		t.Errorf("empty key: %v, %v", keys, r.diagnostics)
	}
}
