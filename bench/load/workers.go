package load

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// worker does one thing after the other. Each call of next does the next one and returns when
// it is done.
type worker struct {
	next  func(ctx context.Context) error
	close func()
}

// runWorkers has workers at it until the window has passed. The first error of one ends it.
func runWorkers(s Spec, workers []worker) (Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.Warmup+s.Window+settle)
	defer cancel()
	var (
		mu      sync.Mutex
		r       Result
		measure bool
		stopped bool
		latency histogram
		all     sync.WaitGroup
	)
	work := func(w worker) {
		defer w.close()
		for {
			began := time.Now()
			err := w.next(ctx)
			took := time.Since(began)
			mu.Lock()
			done := stopped
			switch {
			case stopped:
			case err != nil:
				r.Broken++
				r.Why, done = err.Error(), true
			default:
				if r.Total++; measure {
					r.Completed++
					latency.add(took)
				}
			}
			mu.Unlock()
			if done {
				return
			}
		}
	}
	for _, w := range workers {
		all.Go(func() { work(w) })
	}
	edge := func(sign time.Duration, on, over bool) (time.Time, error) {
		mu.Lock()
		defer mu.Unlock()
		measure, stopped = on, over
		return time.Now(), r.sample(s.Watch, sign)
	}
	wait(ctx, s.Warmup)
	from, err := edge(-1, true, false)
	wait(ctx, s.Window)
	to, err2 := edge(1, false, true)
	cancel()
	all.Wait()
	r.Elapsed, r.Latency = to.Sub(from), latency.quantiles()
	return r, errors.Join(err, err2)
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// ClientTLS is what the clients of this package agree to: TLS 1.3 with X25519 only, so that every
// proxy computes the same, and any certificate.
func ClientTLS(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}, NextProtos: protocols,
		ServerName: plainHost, InsecureSkipVerify: true, //nolint:gosec // its own certificate, made a moment ago
	}
}

// runHandshakes makes a connection for each request.
func runHandshakes(s Spec) (Result, error) {
	wire := bytes.Replace(s.Request.wire(plainHost), []byte("\r\n\r\n"), []byte("\r\nConnection: close\r\n\r\n"), 1)
	config := ClientTLS("http/1.1")
	workers := make([]worker, s.Connections)
	for i := range workers {
		workers[i] = worker{close: func() {}, next: func(ctx context.Context) error {
			dialer := tls.Dialer{Config: config}
			conn, err := dialer.DialContext(ctx, "tcp4", s.Address)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			if _, err := conn.Write(wire); err != nil {
				return err
			}
			return s.Request.check(http.ReadResponse(bufio.NewReader(conn), nil))
		}}
	}
	return runWorkers(s, workers)
}

// check reads an answer to its end.
func (r Request) check(resp *http.Response, err error) error {
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || n != int64(r.Answer) {
		return fmt.Errorf("answer %s with %d bytes, want %d", resp.Status, n, r.Answer)
	}
	return nil
}

// perTransport is how many workers of runStreams share a connection.
const perTransport = 16

// runStreams keeps calls of gRPC open and has one message after the other echoed on each.
func runStreams(s Spec) (Result, error) {
	var workers []worker
	var shared *http.Transport
	for i := range s.Connections {
		if i%perTransport == 0 {
			shared = newTransport()
		}
		w, err := newStream(s, shared)
		if err != nil {
			return Result{}, err
		}
		workers = append(workers, w)
	}
	return runWorkers(s, workers)
}

// newTransport is a connection of HTTP/2 in clear text.
func newTransport() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Transport{Protocols: protocols, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext}
}

func newStream(s Spec, transport *http.Transport) (worker, error) {
	body, write := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.Address+s.Request.Path, body)
	if err != nil {
		cancel()
		return worker{}, err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	resp, err := transport.RoundTrip(req)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("answer %s", resp.Status)
	}
	if err != nil {
		cancel()
		return worker{}, err
	}
	message := grpcMessage(s.Request.Body)
	echo := make([]byte, len(message))
	return worker{
		close: cancel,
		next: func(context.Context) error {
			if _, err := write.Write(message); err != nil {
				return err
			}
			_, err := io.ReadFull(resp.Body, echo)
			return err
		},
	}, nil
}

// runHTTP3 sends one request after the other on each stream slot of each connection.
func runHTTP3(s Spec) (Result, error) {
	var workers []worker
	for range s.Connections {
		transport := &http3.Transport{TLSClientConfig: ClientTLS("h3")}
		for range max(s.Pipeline, 1) {
			workers = append(workers, newQUIC(s, transport))
		}
	}
	return runWorkers(s, workers)
}

func newQUIC(s Spec, transport *http3.Transport) worker {
	return worker{
		close: func() { _ = transport.Close() },
		next: func(ctx context.Context) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.Address+s.Request.Path, nil)
			if err != nil {
				return err
			}
			return s.Request.check(transport.RoundTrip(req))
		},
	}
}
