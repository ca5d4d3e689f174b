package policy

import (
	"strings"
	"testing"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/model"
)

var testLimits = http1.Limits{
	MaxHead: 64 << 10, MaxLine: 16 << 10, MaxFields: 200,
	Underscores: model.NameReject, Escapes: model.EscapeReject,
}

// request parses a request whose lines are given without line ends.
func request(t testing.TB, lines ...string) *http1.Request {
	t.Helper()
	req := &http1.Request{}
	raw := []byte(strings.Join(lines, "\r\n") + "\r\n\r\n")
	n, err := req.Parse(raw, &testLimits)
	if err != nil || n != len(raw) {
		t.Fatalf("Parse(%q) = %d, %v", raw, n, err)
	}
	return req
}

// get is request for "GET / HTTP/1.1" with a Host and the given field lines.
func get(t testing.TB, fields ...string) *http1.Request {
	t.Helper()
	return request(t, append([]string{"GET / HTTP/1.1", "Host: shop.example.com:8080"}, fields...)...)
}

// fieldLines splits appended field lines and fails the test when they are not such.
func fieldLines(t testing.TB, b []byte) []string {
	t.Helper()
	if len(b) == 0 {
		return nil
	}
	s, ok := strings.CutSuffix(string(b), "\r\n")
	if !ok {
		t.Fatalf("%q does not end in a line end", b)
	}
	lines := strings.Split(s, "\r\n")
	for _, l := range lines {
		if name, _, ok := strings.Cut(l, ": "); !ok || !isToken(name) || strings.ContainsAny(l, "\r\n\x00") {
			t.Fatalf("%q is not a field line", l)
		}
	}
	return lines
}

// noAllocations fails the test when f allocates once its buffers are warm.
func noAllocations(t *testing.T, f func()) {
	t.Helper()
	if n := testing.AllocsPerRun(100, f); n != 0 {
		t.Errorf("%v allocations per run, want 0", n)
	}
}
