package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"weir.dev/weir/model"
)

// TestHTTP2OverTLS: a handshake agrees on it, and requests, bodies and refusals are the same.
func TestHTTP2OverTLS(t *testing.T) {
	ca := newNotary(t)
	s := twoListeners(serveHTTP(t, mix), &model.TLS{Names: []model.TLSName{ca.name(nil, "a.test"), ca.name(nil, "b.test")}})
	r := startRig(t, s, Config{})
	transport := &http.Transport{
		TLSClientConfig: ca.config("a.test", nil), ForceAttemptHTTP2: true, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", r.addr)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	c := &http.Client{Transport: transport, Timeout: patience}
	var wait sync.WaitGroup
	for i := range 40 {
		wait.Go(func() {
			size := []int{0, 10, 70_000, 1_000_000}[i%4]
			req, err := http.NewRequest("POST", fmt.Sprintf("https://a.test/?size=%d", size), bytes.NewReader(make([]byte, size)))
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := c.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); err != nil || len(body) != size || resp.ProtoMajor != 2 {
				t.Errorf("%s: %d bytes of %d, %v", resp.Proto, len(body), size, err)
			}
		})
	}
	wait.Wait()
	req, err := http.NewRequest("GET", "https://a.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "b.test" // whose certificate this connection has not shown
	if resp, _ := ask(t, c, req); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("the other listener's host: %d", resp.StatusCode)
	}
}

// TestHTTP2AgreedAndNotSpoken: then there is nobody to answer.
func TestHTTP2AgreedAndNotSpoken(t *testing.T) {
	ca := newNotary(t)
	s := twoListeners(serveHTTP(t, mix), &model.TLS{Names: []model.TLSName{ca.name(nil, "a.test")}})
	r := startRig(t, s, Config{})
	config := ca.config("a.test", nil)
	config.NextProtos = []string{"h2"}
	c := r.secured(config)
	c.send("GET / HTTP/1.1\nHost: a.test\n\n").ended()
}
