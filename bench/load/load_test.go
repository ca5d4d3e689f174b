package load

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestMessageInPieces(t *testing.T) {
	type want struct {
		line string
		body int64
	}
	tests := []struct {
		name, wire string
		want       []want
	}{
		{"no body", "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n", []want{{"HTTP/1.1 204 No Content", 0}}},
		{"no fields", "GET / HTTP/1.1\r\n\r\n", []want{{"GET / HTTP/1.1", 0}}},
		{
			"two answers", "HTTP/1.1 200 OK\r\ncontent-LENGTH:  3 \r\n\r\nabcHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
			[]want{{"HTTP/1.1 200 OK", 3}, {"HTTP/1.1 200 OK", 0}},
		},
		{
			"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\n",
			[]want{{"HTTP/1.1 200 OK", 13}},
		},
		{"body like a head", "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n\r\n\r\n\r\n\r\n", []want{{"HTTP/1.1 200 OK", 8}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for size := 1; size <= len(test.wire); size++ {
				var m message
				var got []want
				for piece := range slices.Chunk([]byte(test.wire), size) {
					for len(piece) > 0 {
						rest, done, err := m.next(piece)
						if err != nil {
							t.Fatalf("pieces of %d: %v", size, err)
						}
						if done {
							got = append(got, want{string(m.line), m.body})
						}
						piece = rest
					}
				}
				if !slices.Equal(got, test.want) || m.phase != inHead || len(m.partial) > 0 {
					t.Fatalf("pieces of %d: got %v, phase %v; want %v", size, got, m.phase, test.want)
				}
			}
		})
	}
}

func TestMessageErrors(t *testing.T) {
	for _, wire := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		strings.Repeat("h", maxHead+1),
	} {
		var m message
		if _, done, err := m.next([]byte(wire)); err == nil {
			t.Errorf("%.60q: done %v, want an error", wire, done)
		}
	}
}

func TestSuccess(t *testing.T) {
	for line, want := range map[string]bool{
		"HTTP/1.1 200 OK": true, "HTTP/1.1 204 ": true, "HTTP/1.1 302 Found": false,
		"HTTP/1.1 502 Bad Gateway": false, "HTTP/1.1 2000 ?": false, "": false,
	} {
		if got := (&message{line: []byte(line)}).success(); got != want {
			t.Errorf("success of %q is %v", line, got)
		}
	}
}

// TestHistogram compares quantiles with those of the sorted values: never
// below, and at most 1/128 above.
func TestHistogram(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(0, 1<<38), 1, 200).Draw(t, "ns")
		var h histogram
		for _, v := range values {
			h.add(time.Duration(v))
		}
		slices.Sort(values)
		for _, thousandths := range []int{1, 500, 990, 999, 1000} {
			rank := max((thousandths*len(values)+999)/1000, 1)
			exact := time.Duration(values[rank-1])
			got := h.quantile(float64(thousandths) / 1000)
			if got < exact || got > exact+exact/128 {
				t.Fatalf("quantile %d/1000 of %v is %v, exactly %v", thousandths, values, got, exact)
			}
		}
	})
}

func TestHistogramTakesAnything(t *testing.T) {
	var h histogram
	h.add(-time.Second)
	h.add(1000 * time.Hour)
	if h.quantile(0.5) != 0 || h.max != 1000*time.Hour || h.total != 2 {
		t.Errorf("median %v, max %v, total %d", h.quantile(0.5), h.max, h.total)
	}
}

func TestPaceCountsFromTheSchedule(t *testing.T) {
	var p pace
	p.start(10*time.Second, 11*time.Second, 12*time.Second, 4000)
	for k, want := range map[int]time.Duration{0: 10 * time.Second, 1: 10*time.Second + 250*time.Microsecond, 4000: 11 * time.Second} {
		p.due = k
		if got := p.at(); got != want {
			t.Errorf("request %d is due at %v, want %v", k, got, want)
		}
	}
	for at, want := range map[time.Duration]bool{10 * time.Second: false, 11 * time.Second: true, 12 * time.Second: false} {
		if p.counts(at) != want {
			t.Errorf("a request due at %v counts: %v", at, !want)
		}
	}
}

func TestWires(t *testing.T) {
	r := Request{Path: "/bytes/1", Hosts: 50, Headers: 40, Body: 7}
	all := r.wires()
	if again := r.wires(); len(all) != 50 || !slices.EqualFunc(all, again, bytes.Equal) {
		t.Fatalf("%d requests, or another order the second time", len(all))
	}
	seen := map[string]bool{}
	for _, wire := range all {
		var m message
		rest, done, err := m.next(wire)
		if err != nil || !done || len(rest) > 0 || m.body != 7 || string(m.line) != "POST /bytes/1 HTTP/1.1" {
			t.Fatalf("%q: done %v, error %v, rest %q, body %d", wire, done, err, rest, m.body)
		}
		if n := bytes.Count(wire, []byte("X-Bench-Field-")); n != 40 {
			t.Fatalf("%d extra fields", n)
		}
		seen[string(bytes.SplitN(wire, []byte("\r\n"), 3)[1])] = true
	}
	if len(seen) != 50 || !seen["Host: "+Host(49)] {
		t.Errorf("%d hosts", len(seen))
	}
}

// startUpstream serves until the test ends, or stop is called.
func startUpstream(t *testing.T) (address string, stop func()) {
	t.Helper()
	u, err := NewUpstream(1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- u.Serve(ctx) }()
	ended := false
	stop = func() {
		if cancel(); !ended {
			ended = true
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	address = fmt.Sprintf("127.0.0.1:%d", u.Ports()[0])
	t.Cleanup(stop)
	return address, stop
}

func TestRunAgainstUpstream(t *testing.T) {
	address, _ := startUpstream(t)
	tests := map[string]Spec{
		"closed":    {Connections: 8, Request: Request{Path: "/bytes/200", Answer: 200}},
		"large":     {Connections: 4, Request: Request{Path: "/bytes/4000000", Answer: 4000000}},
		"chunked":   {Connections: 4, Request: Request{Path: "/chunked/65536", Answer: 65536}},
		"empty":     {Connections: 4, Request: Request{Path: "/chunked/0", Answer: 0}},
		"headers":   {Connections: 4, Request: Request{Path: "/headers/40", Answer: 200, Headers: 40}},
		"post":      {Connections: 4, Request: Request{Path: "/bytes/200", Answer: 200, Body: 3 << 20}},
		"pipelined": {Connections: 4, Pipeline: 8, Request: Request{Path: "/bytes/200", Answer: 200}},
		"pipelined large": {Connections: 2, Pipeline: 3, Request: Request{
			Path: "/bytes/200000", Answer: 200000, Body: 1 << 20, Hosts: 5,
		}},
		"paced": {Connections: 4, Rate: 1000, Request: Request{Path: "/bytes/200", Answer: 200}},
	}
	for name, spec := range tests {
		t.Run(name, func(t *testing.T) {
			spec.Address, spec.Warmup, spec.Window = address, 5*time.Millisecond, 200*time.Millisecond
			got, err := Run(spec)
			if err != nil || got.Failed() != "" {
				t.Fatalf("%v %s", err, got.Failed())
			}
			if got.Completed == 0 || got.Latency.P50 <= 0 || got.Elapsed <= 0 {
				t.Errorf("result %+v", got)
			}
		})
	}
}

func TestRunCountsFailures(t *testing.T) {
	address, _ := startUpstream(t)
	closing := closingServer(t)
	tests := map[string]struct {
		spec  Spec
		count func(Result) uint64
	}{
		"status": {Spec{Address: address, Request: Request{Path: "/nothing"}}, func(r Result) uint64 { return r.BadStatus }},
		"length": {Spec{Address: address, Request: Request{Path: "/bytes/200", Answer: 201}}, func(r Result) uint64 { return r.BadLength }},
		"broken": {Spec{Address: closing, Request: Request{Path: "/"}}, func(r Result) uint64 { return r.Broken }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.spec.Connections, test.spec.Window = 2, 50*time.Millisecond
			got, err := Run(test.spec)
			if err != nil {
				t.Fatal(err)
			}
			if test.count(got) == 0 || got.Failed() == "" || got.Why == "" {
				t.Errorf("failures not counted: %+v", got)
			}
		})
	}
}

// closingServer closes every connection after half an answer.
func closingServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Read(make([]byte, 1024))
			c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"))
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func TestPacedRunMissesNothing(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // it never answers: the kernel accepts for it
	got, err := Run(Spec{Address: l.Addr().String(), Connections: 2, Rate: 100, Window: 100 * time.Millisecond, Request: Request{Path: "/"}})
	if err != nil || got.Unfinished != 10 {
		t.Errorf("%d unfinished requests, want 10; error %v", got.Unfinished, err)
	}
}

func TestIdle(t *testing.T) {
	address, stop := startUpstream(t)
	h, err := OpenIdle(address, 10, Request{Path: "/bytes/200", Answer: 200})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if n := h.Closed(); n != 0 {
		t.Errorf("%d connections closed at once", n)
	}
	stop()
	if n := h.Closed(); n != 10 {
		t.Errorf("%d connections closed after the end, want 10", n)
	}
	if _, err := OpenIdle(address, 1, Request{Path: "/"}); err == nil {
		t.Error("connected to nothing")
	}
}
