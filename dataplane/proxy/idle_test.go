package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"weir.dev/weir/model"
)

// TestIdleTimeCountsFromTheLastByte has bytes pass for longer than the idle time, at every
// place where a byte can pass.
func TestIdleTimeCountsFromTheLastByte(t *testing.T) {
	for name, test := range map[string]struct {
		pieces []string // of the request, a second apart
		retry  *model.Retry
		answer []string // pieces, a second apart
	}{
		"a long answer after an upload": {
			[]string{"PUT / HTTP/1.1\nHost: h\nContent-Length: 4\n\nab", "cd"},
			nil,
			[]string{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "a", "b", "c", "d", "e"},
		},
		"a long upload that is gathered": {
			[]string{"PUT / HTTP/1.1\nHost: h\nContent-Length: 4\n\na", "b", "c", "d"},
			&model.Retry{Attempts: 1},
			[]string{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		},
		"interim answers": {
			[]string{"GET / HTTP/1.1\nHost: h\n\n"},
			nil,
			[]string{"", "HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		},
		"a head in pieces": {
			[]string{"GET / HTTP/1.1\nHost: h\n\n"},
			nil,
			[]string{"HTTP/1.1 ", "200 OK\r\n", "Content-", "Length: ", "0\r\n\r\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, req.Body)
					for i, piece := range test.answer {
						if i > 0 {
							time.Sleep(time.Second)
						}
						fmt.Fprint(c, piece)
					}
				})
				route := to("up")
				route.Timeouts.Idle = 2 * time.Second
				route.Retry = test.retry
				r := n.rig(t, snapshotOf(map[string]string{"up": upA}, route), Config{})
				c := r.patient()
				for i, piece := range test.pieces {
					if i > 0 {
						time.Sleep(time.Second)
					}
					c.send(piece)
				}
				for {
					resp, _ := c.answer("GET")
					if resp.StatusCode == http.StatusEarlyHints {
						continue
					}
					if resp.StatusCode != http.StatusOK {
						t.Fatalf("got %d %v", resp.StatusCode, resp.Header)
					}
					return
				}
			})
		})
	}
}

// TestGatheringKeepsToTheRequestsTime drips a body that a retry needs whole.
func TestGatheringKeepsToTheRequestsTime(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.script(t, nil, upA)
		route := to("up")
		route.Timeouts.Request = 3 * time.Second
		route.Retry = &model.Retry{Attempts: 1}
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, route), Config{})
		c := r.patient().send("PUT / HTTP/1.1\nHost: h\nContent-Length: 9\n\n")
		for range 5 {
			c.send("x")
			time.Sleep(500 * time.Millisecond)
		}
		began := time.Now()
		c.want(504, "PT", "")
		if took := time.Since(began); took != 500*time.Millisecond {
			t.Errorf("answered %v after the last piece", took)
		}
	})
}

// TestKeepAliveSwitchedOffMeanwhile changes the policy while a request is under way.
func TestKeepAliveSwitchedOffMeanwhile(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	r := newRig(t, map[string]string{"up": serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		fmt.Fprint(w, "done")
	})}, to("up"))
	c := r.dial().send("GET / HTTP/1.1\nHost: h\n\n")
	<-arrived
	next, front := *r.snap, *r.snap.Listeners[0]
	front.Client.KeepAlive = 0
	next.Listeners = []*model.Listener{&front}
	if err := r.proxy.Apply(&next); err != nil {
		t.Fatal(err)
	}
	close(release)
	c.want(200, "", "done")
	c.ended()
}
