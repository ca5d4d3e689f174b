package policy

import (
	"strings"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 10, 21, 7, 27, 30, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"0":                                 0,
		"120":                               2 * time.Minute,
		"999999999999999999":                longest,
		"Wed, 21 Oct 2026 07:28:00 GMT":     30 * time.Second,
		"Wednesday, 21-Oct-26 07:28:00 GMT": 30 * time.Second,
		"Wed Oct 21 07:28:00 2026":          30 * time.Second,
		"Wed, 21 Oct 2026 07:27:00 GMT":     0, // it has passed
		"Wed, 21 Oct 2026 07:28:00 +0200":   -1,
		"-1":                                -1,
		"1.5":                               -1,
		"soon":                              -1,
		"":                                  -1,
		strings.Repeat("9", 30):             -1,
		"120, 240":                          -1,
	} {
		if got, ok := ParseRetryAfter([]byte(text), now); ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %v, %v, want %v", text, got, ok, want)
		}
	}
}

func TestTimeoutMillis(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "1": time.Millisecond, "00250": 250 * time.Millisecond, "999999999999999999": longest,
		"": -1, "-1": -1, "+1": -1, "1.5": -1, "1s": -1, " 1": -1, "1,2": -1, "0x10": -1, strings.Repeat("9", 19): -1,
	} {
		if got, ok := ParseTimeoutMillis([]byte(text)); ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %v, %v, want %v", text, got, ok, want)
		}
	}
}

// TestTimesAreRounded: a host is not told more time than there is, a client not less.
func TestTimesAreRounded(t *testing.T) {
	for d, want := range map[time.Duration][3]string{
		1:                          {"1", "1", "1"},
		time.Millisecond:           {"1", "1", "1"},
		1999 * time.Microsecond:    {"1", "1", "2"},
		time.Second:                {"1000", "1", "1000"},
		1500001 * time.Microsecond: {"1500", "2", "1501"},
	} {
		for i, got := range []string{
			string(AppendTimeoutMillis(nil, d)), string(AppendRetryAfter(nil, d)), string(AppendPushback(nil, d)),
		} {
			name := []string{"X-Weir-Timeout-Ms", "Retry-After", "Grpc-Retry-Pushback-Ms"}[i]
			if want := name + ": " + want[i] + "\r\n"; got != want {
				t.Errorf("%v: %q, want %q", d, got, want)
			}
		}
	}
	if got := string(AppendTimeoutMillis(nil, -time.Second)); got != "X-Weir-Timeout-Ms: 1\r\n" {
		t.Errorf("no time left is %q", got)
	}
	if got := string(AppendAttempt(nil, 12)); got != "X-Weir-Attempt: 12\r\n" {
		t.Errorf("the twelfth try is %q", got)
	}
}

// FuzzTimes: whatever comes, no time is negative or longer than any.
func FuzzTimes(f *testing.F) {
	for _, seed := range []string{"0", "15", "Wed, 21 Oct 2026 07:28:00 GMT", "-1", "999999999999999999"} {
		f.Add([]byte(seed))
	}
	now := time.Date(2026, 10, 21, 7, 27, 30, 0, time.UTC)
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, ok := ParseTimeoutMillis(b); d < 0 || d > longest || ok && d%time.Millisecond != 0 {
			t.Errorf("timeout %q: %v", b, d)
		}
		if d, ok := ParseRetryAfter(b, now); d < 0 || !ok && d != 0 {
			t.Errorf("Retry-After %q: %v", b, d)
		}
	})
}
