package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// after checks that do takes want, in the time of a bubble.
func after(t *testing.T, want time.Duration, do func()) {
	t.Helper()
	began := time.Now()
	do()
	if took := time.Since(began); took != want {
		t.Errorf("took %v, want %v", took, want)
	}
}

func TestSlowClients(t *testing.T) {
	const head, body, keep = 5 * time.Second, 5 * time.Second, 30 * time.Second // of defaultClient
	for _, test := range []struct {
		name   string
		pieces []string // sent a second apart
		status int      // 0: the connection ends without a word
		after  time.Duration
	}{
		{"nothing", nil, 0, head},
		{"head in drips", []string{"G", "E", "T", " ", "/"}, 408, head},
		{"head without end", []string{"GET / HTTP/1.1\nHost: h\n"}, 408, head},
		{"body missing", []string{"POST / HTTP/1.1\nHost: h\nContent-Length: 5\n\n"}, 408, body},
		{"body stops", []string{"POST / HTTP/1.1\nHost: h\nContent-Length: 5\n\n", "ab", "c"}, 408, 2*time.Second + body},
		{"chunk stops", []string{"POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n", "5\nab"}, 408, time.Second + body},
		{"idle after an answer", []string{get("/")}, 200, keep},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				n.upstream(t, upA, hello)
				r := n.rig(t, snapshotOf(map[string]string{"up": upA}, to("up")), Config{})
				c := r.patient()
				began := time.Now()
				for i, piece := range test.pieces {
					if i > 0 {
						time.Sleep(time.Second)
					}
					c.send(piece)
				}
				if test.status == 408 {
					if resp := c.want(408, "DPE", ""); !resp.Close {
						t.Error("the connection should close")
					}
				} else if test.status > 0 {
					c.want(test.status, "", "")
				}
				c.ended()
				if took := time.Since(began); took != test.after {
					t.Errorf("took %v, want %v", took, test.after)
				}
				synctest.Wait()
				if test.status == 408 {
					stats := r.metrics.Totals()
					if stats.Flags[model.FlagDPE] != 1 || stats.Classes[4] != 1 {
						t.Errorf("counted %+v", stats)
					}
				}
			})
		})
	}
}

func TestKeepAliveZeroClosesAfterEachAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, hello)
		s := snapshotOf(map[string]string{"up": upA}, to("up"))
		s.Listeners[0].Client.KeepAlive = 0
		c := n.rig(t, s, Config{}).patient().send(get("/"))
		if resp := c.want(200, "", "/"); !resp.Close {
			t.Error("the answer should close the connection")
		}
		after(t, 0, c.ended)
	})
}

// TestSlowReader stops reading in the middle of a large answer.
func TestSlowReader(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		freed := make(chan struct{})
		n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
			defer close(freed)
			if _, err := http.ReadRequest(r); err == nil {
				fmt.Fprint(c, lines("HTTP/1.1 200 OK\nContent-Length: 50000000\n\n"))
				_, _ = io.CopyN(c, zeros{}, 50_000_000)
			}
		})
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, to("up")), Config{})
		c := r.patient().send(get("/"))
		if _, err := io.CopyN(io.Discard, c.r, 1_000_000); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		stalled := time.Now()
		<-freed
		if took := time.Since(stalled); took < 5*time.Second || took > 10*time.Second {
			t.Errorf("cut after %v", took)
		}
		rest, err := io.Copy(io.Discard, c.r)
		if err == nil && rest > 49_000_000 || rest > 1<<20 {
			t.Errorf("read %d more bytes, %v", rest, err)
		}
		synctest.Wait()
		if stats, _ := r.metrics.RouteStats("ns/to-up/0"); stats.Flags[model.FlagDC] != 1 {
			t.Errorf("counted %+v", stats.Flags)
		}
	})
}

// zeros is an endless body.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestManyPipelinedRequestsWithBodies(t *testing.T) {
	up := serveHTTP(t, echo)
	r := newRig(t, map[string]string{"up": up}, to("up"))
	c := r.dial()
	const count = 300
	sent := make(chan error, 1)
	size := func(i int) int { return i * 37 % 3000 }
	go func() {
		var b strings.Builder
		for i := range count {
			body := strings.Repeat("b", size(i))
			switch {
			case i%3 == 0:
				fmt.Fprintf(&b, "PUT /%d HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", i, len(body), body)
			case i%3 == 1 && body != "":
				fmt.Fprintf(&b, "POST /%d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", i, len(body), body)
			default:
				fmt.Fprintf(&b, "GET /%d HTTP/1.1\r\nHost: h\r\n\r\n", i)
			}
		}
		_, err := io.WriteString(c.Conn, b.String())
		sent <- err
	}()
	for i := range count {
		resp, body := c.answer("GET")
		if resp.StatusCode != 200 || resp.Header.Get("X-Path") != fmt.Sprintf("/%d", i) {
			t.Fatalf("answer %d: %d for %s", i, resp.StatusCode, resp.Header.Get("X-Path"))
		}
		if i%3 == 0 && !strings.HasPrefix(body, fmt.Sprintf("PUT %d ", size(i))) {
			t.Fatalf("answer %d: %.40q", i, body)
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestConnectionLimits(t *testing.T) {
	for _, test := range []struct {
		name            string
		process, socket int
	}{{"process", 3, 0}, {"socket", 0, 3}} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				n.upstream(t, upA, hello)
				s := snapshotOf(map[string]string{"up": upA}, to("up"))
				s.Listeners[0].Client.MaxConnections = test.socket
				r := n.rig(t, s, Config{MaxConnections: test.process})
				var open []*client
				for range 3 {
					open = append(open, r.patient().send(get("/in")))
					open[len(open)-1].want(200, "", "/in")
				}
				for range 5 {
					r.patient().ended()
				}
				stats := r.metrics.Listener("front")
				if got := stats.Refused(telemetry.RefusedLimit); got != 5 {
					t.Errorf("%d refused, want 5", got)
				}
				open[1].send(get("/still")).want(200, "", "/still")
				open[0].Close()
				synctest.Wait()
				r.patient().send(get("/again")).want(200, "", "/again")
				r.patient().ended()
			})
		})
	}
}

func TestAcceptFailures(t *testing.T) {
	for _, fault := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, errors.New("strange")} {
		t.Run(fault.Error(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				n.upstream(t, upA, hello)
				var left atomic.Int64
				left.Store(4)
				r := n.rig(t, snapshotOf(map[string]string{"up": upA}, to("up")), Config{
					Listen: func(ctx context.Context, at netip.AddrPort) (net.Listener, error) {
						l, err := n.listen(ctx, at)
						l.(*memoryListener).fail = func() error {
							if left.Add(-1) >= 0 {
								return &net.OpError{Op: "accept", Err: fault}
							}
							return nil
						}
						return l, err
					},
				})
				r.patient().send(get("/")).want(200, "", "/")
				stats := r.metrics.Listener("front")
				if got := stats.Refused(telemetry.RefusedDescriptors) + stats.Refused(telemetry.RefusedOther); got != 4 {
					t.Errorf("%d counted, want 4", got)
				}
			})
		})
	}
}

func TestEndsOfConnectionsBetweenRequests(t *testing.T) {
	up := serveHTTP(t, echo)
	r := newRig(t, map[string]string{"up": up}, to("up"))
	for _, test := range []struct {
		name, sent string
		status     int // after the half-close; 0: none
	}{
		{"nothing", "", 0},
		{"half a head", "GET / HTT", 400},
		{"half a body", "POST / HTTP/1.1\nHost: h\nContent-Length: 10\n\nabc", 400},
		{"half a chunk", "POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n5\nab", 400},
	} {
		c := r.dial().send(test.sent)
		_ = c.Conn.(*net.TCPConn).CloseWrite()
		if test.status > 0 {
			c.answer("GET")
		}
		c.ended()
	}
}
