package http1

import (
	"bytes"
	"testing"
)

// Every way to cut a message in two, and every byte on its own, gives what the whole gives,
// or the same refusal earlier. Each piece stands in new memory.
func TestRequestSplit(t *testing.T) {
	for _, m := range requests {
		for cut := range len(m.raw) + 1 {
			checkRequestSplit(t, m.raw, m.limits(), m.want, []int{cut, len(m.raw)})
		}
		checkRequestSplit(t, m.raw, m.limits(), m.want, everyByte(len(m.raw)))
	}
}

func everyByte(n int) []int {
	ends := make([]int, n+1)
	for i := range ends {
		ends[i] = i
	}
	return ends
}

func checkRequestSplit(t *testing.T, raw string, lim *Limits, want string, ends []int) {
	t.Helper()
	var r Request
	for _, end := range ends {
		n, err := r.Parse(bytes.Clone([]byte(raw[:end])), lim)
		got := outcome(t, n, err, func() string { return describe(&r) })
		if got == "" && end < len(raw) {
			continue
		}
		if got != want {
			t.Errorf("%q up to %d: got %q, want %q", raw, end, got, want)
		}
		return
	}
}

func TestResponseSplit(t *testing.T) {
	for _, a := range answers {
		for cut := range len(a.raw) + 1 {
			checkResponseSplit(t, &a, []int{cut, len(a.raw)})
		}
		checkResponseSplit(t, &a, everyByte(len(a.raw)))
	}
}

func checkResponseSplit(t *testing.T, a *answer, ends []int) {
	t.Helper()
	var r Response
	for _, end := range ends {
		n, err := r.Parse(bytes.Clone([]byte(a.raw[:end])), a.limits(), a.to())
		got := outcome(t, n, err, func() string { return describeAnswer(&r) })
		if got == "" && end < len(a.raw) {
			continue
		}
		if got != a.want {
			t.Errorf("%q up to %d: got %q, want %q", a.raw, end, got, a.want)
		}
		return
	}
}

// What has been looked at is not looked at again: a long line that arrives byte by byte
// has been searched for its end up to the last byte.
func TestParseIsLinear(t *testing.T) {
	var r Request
	line := append([]byte("GET /"), bytes.Repeat([]byte("a"), 1000)...)
	for end := range len(line) + 1 {
		if n, err := r.Parse(line[:end], &Limits{}); n != 0 || err != nil {
			t.Fatalf("n = %d, error %v", n, err)
		}
		if r.scanned != end {
			t.Fatalf("after %d bytes: searched up to %d", end, r.scanned)
		}
	}
}
