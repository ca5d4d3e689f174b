package translate

import (
	"testing"
	"time"

	"weir.dev/weir/model"
)

// TestBackoffMax: what nobody bounded is not cut short by a default that is smaller.
func TestBackoffMax(t *testing.T) {
	second, minute := &setting[time.Duration]{value: time.Second}, &setting[time.Duration]{value: time.Minute}
	for _, test := range []struct {
		base, max *setting[time.Duration]
		want      time.Duration
	}{
		{nil, nil, defaultRetriesMax},
		{second, nil, time.Second},
		{second, minute, time.Minute},
		{minute, second, time.Second},
		{&setting[time.Duration]{}, nil, defaultRetriesMax},
	} {
		var r model.Route
		fillRetry(&r, retrySide{attempts: &setting[int]{value: 1}, base: test.base, max: test.max}, retrySide{})
		if r.Retry.BackoffMax != test.want {
			t.Errorf("base %v, max %v: %v, want %v", test.base, test.max, r.Retry.BackoffMax, test.want)
		}
	}
}
