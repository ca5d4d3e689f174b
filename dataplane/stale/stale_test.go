package stale

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/dataplane/transport"
)

// TestBounds fills it by number and by size.
func TestBounds(t *testing.T) {
	for _, size := range []int{10, maxBody} {
		var s Store
		s.Use()
		body := strings.Repeat("x", size)
		for i := range 2 * maxEntries {
			s.keep(&Answer{key: strconv.Itoa(i), Body: body})
			s.find([]byte("0"))
		}
		entries, bytes := 0, 0
		for i := range s.parts {
			p := &s.parts[i]
			sum := 0
			for _, k := range p.byKey {
				sum += k.size()
			}
			if sum != p.bytes {
				t.Errorf("part %d: %d bytes, counted as %d", i, sum, p.bytes)
			}
			entries, bytes = entries+len(p.byKey), bytes+p.bytes
		}
		if entries > maxEntries || bytes > maxBytes || size == 10 && entries < maxEntries/2 {
			t.Errorf("%d entries of %d bytes", entries, bytes)
		}
		if s.find([]byte("0")) == nil {
			t.Error("what was asked for last is gone")
		}
		s.remove([]byte("0"))
		if s.find([]byte("0")) != nil {
			t.Error("what was removed is there")
		}
	}
}

// TestKeptOnceASecond: of all who ask for the same at once one keeps the answer.
func TestKeptOnceASecond(t *testing.T) {
	var s Store
	s.Use()
	now := transport.Instant(7 * time.Second)
	var due atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if s.due([]byte("a"), anybody, now) {
				due.Add(1)
			}
		})
	}
	all.Wait()
	if n := due.Load(); n != 1 {
		t.Errorf("due %d times", n)
	}
	for _, step := range []struct {
		who  asker
		at   transport.Instant
		want bool
	}{
		{anybody, now + 900e6, false},
		{somebody, now, true},
		{anybody, now + 1e9, true},
		{anybody, now + 1e9, false},
	} {
		if got := s.due([]byte("a"), step.who, step.at); got != step.want {
			t.Errorf("%+v: %v", step, got)
		}
	}
}

// TestNewest: an answer that took long to come does not take the place of one that came since.
func TestNewest(t *testing.T) {
	var s Store
	s.Use()
	for _, k := range []*Answer{{key: "a", Body: "2", made: 2}, {key: "a", Body: "1", made: 1}} {
		s.keep(k)
	}
	if k := s.find([]byte("a")); k.Body != "2" {
		t.Errorf("%q", k.Body)
	}
}

// TestByDoor: what came in by one listener is not given at another, nor to others what came for
// whoever has a certificate.
func TestByDoor(t *testing.T) {
	const second = transport.Instant(time.Second)
	var s Store
	s.Use()
	get := parsed(t, "")
	keep := func(r *Request, body string, at transport.Instant) bool {
		var k Keeping
		if !r.MayKeep() || !k.Begin(&s, r, at) {
			return false
		}
		var resp http1.Response
		head := "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"
		if _, err := resp.Parse([]byte(head), &http1.Limits{}, get.Method); err != nil {
			t.Fatal(err)
		}
		edit := policy.CompileHeaderEdit(nil)
		if !k.Stores(&resp, edit) {
			return false
		}
		k.Head(&resp, edit, nil)
		k.Add([]byte(body))
		k.End(true, &resp)
		return true
	}
	given := func(r *Request) string {
		a, _, _ := s.Find(nil, r, time.Hour, transport.Now())
		if a == nil {
			return ""
		}
		return a.Body
	}
	a, b := &Request{Request: get, Route: "r", Listener: "a"}, &Request{Request: get, Route: "r", Listener: "b"}
	known := &Request{Request: get, Route: "r", Listener: "b", Verified: true}
	if !keep(a, "1", second) || given(a) != "1" || given(b) != "" {
		t.Errorf("given %q at its listener, %q at another", given(a), given(b))
	}
	if keep(known, "2", second) || given(b) != "" {
		t.Errorf("%q was kept for whoever has a certificate", given(b))
	}
	if !keep(b, "3", second) || given(b) != "3" || given(known) != "" {
		t.Errorf("given %q, and %q to whoever has a certificate", given(b), given(known))
	}
	if stranger := (&Request{Request: parsed(t, "X-What: 1\r\n"), Route: "r", Listener: "c"}); keep(stranger, "4", second) {
		t.Error("what a field may ask for is kept")
	}
}

// parsed is a request with some fields.
func parsed(t *testing.T, fields string) *http1.Request {
	var r http1.Request
	if _, err := r.Parse([]byte("GET /x HTTP/1.1\r\nHost: h\r\n"+fields+"\r\n"), &http1.Limits{}); err != nil {
		t.Fatal(err)
	}
	return &r
}
