package load

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const h2loadSummary = `finished in 1.00s, 63001.00 req/s, 15.79MB/s
requests: 63001 total, 63161 started, 63001 done, 63000 succeeded, 1 failed, 0 errored, 0 timeout
status codes: 63000 2xx, 0 3xx, 0 4xx, 1 5xx
traffic: 15.79MB (16556488) total, 1.03MB (1080000) headers (space savings 90.00%), 12.02MB (12600200) data
`

func TestReadH2load(t *testing.T) {
	for _, c := range []struct {
		name, text string
		answer     int
		failed     string
	}{
		{"a failed request", h2loadSummary, 200, "1 bad status"},
		{"clean", strings.NewReplacer("63000 succeeded, 1 failed", "63001 succeeded, 0 failed", "63000 2xx", "63001 2xx").Replace(h2loadSummary), 200, ""},
		{"short answers", strings.Replace(h2loadSummary, "63000 2xx", "63001 2xx", 1), 201, "1 wrong length"},
	} {
		var r Result
		if err := r.readH2load(c.text, c.answer); err != nil {
			t.Fatal(err)
		}
		if r.Completed != 63001 {
			t.Errorf("%s: %d answers", c.name, r.Completed)
		}
		if got := r.Failed(); c.failed == "" && got != "" || !strings.Contains(got, c.failed) {
			t.Errorf("%s: %q, want %q", c.name, got, c.failed)
		}
	}
	if err := new(Result).readH2load("h2load: connection refused", 0); err == nil {
		t.Error("no summary, no error")
	}
}

// secureServer answers 200 bytes over TLS, HTTP/1.1 and HTTP/2.
func secureServer(t *testing.T, answer int) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, answer))
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestHandshakes(t *testing.T) {
	spec := Spec{
		Address: secureServer(t, 200), Connections: 2, Client: Handshakes, Warmup: 10 * time.Millisecond, Window: 100 * time.Millisecond,
		Request: Request{Path: "/", Answer: 200},
	}
	r, err := Run(spec)
	if err != nil || r.Failed() != "" || r.Latency.P50 == 0 {
		t.Fatalf("%v, %q, %+v", err, r.Failed(), r)
	}
	spec.Request.Answer = 201
	if r, err = Run(spec); err != nil || !strings.Contains(r.Failed(), "answer 200 OK with 200 bytes, want 201") {
		t.Fatalf("%v, %q", err, r.Failed())
	}
}

func TestStreams(t *testing.T) {
	e, err := NewEcho()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Serve(ctx) }()
	r, err := Run(Spec{
		Address: e.listener.Addr().String(), Connections: 20, Client: GRPCStream, Window: 100 * time.Millisecond, Request: Request{Path: "/a.B/C", Body: 100},
	})
	if err != nil || r.Failed() != "" {
		t.Errorf("%v, %q", err, r.Failed())
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestHoldOverTLS(t *testing.T) {
	address := secureServer(t, 200)
	for _, client := range []Client{TLS, HTTP2} {
		spec := Spec{Address: address, Connections: 3, Client: client, Request: Request{Path: "/", Answer: 200}}
		h, err := Hold(spec)
		if err != nil {
			t.Fatalf("%s: %v", client, err)
		}
		if gone := h.Closed(); gone != 0 {
			t.Errorf("%s: %d of 3 closed", client, gone)
		}
		h.Close()
		spec.Request.Answer = 199
		if _, err := Hold(spec); err == nil || !strings.Contains(err.Error(), "200 bytes, want 199") {
			t.Errorf("%s: %v", client, err)
		}
	}
}

// TestTryLargeAnswer: an answer larger than the first windows of HTTP/2 comes to its end.
func TestTryLargeAnswer(t *testing.T) {
	const answer = 1 << 20
	if err := Try(Spec{Address: secureServer(t, answer), Client: HTTP2, Request: Request{Path: "/", Answer: answer}}); err != nil {
		t.Error(err)
	}
}

// TestClosedIsSeen: an end of the other side is counted, although a session ticket is unread before it.
func TestClosedIsSeen(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	server.StartTLS()
	h, err := Hold(Spec{Address: server.Listener.Addr().String(), Connections: 2, Client: TLS, Request: Request{Path: "/"}})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	server.Close() // it closes idle connections
	if gone := h.Closed(); gone != 2 {
		t.Errorf("%d closed, want 2", gone)
	}
}
