package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"weir.dev/weir/model"
)

// newParkingRig parks connections almost at once.
func newParkingRig(t *testing.T, change func(c *model.Client)) *rig {
	s := snapshotOf(map[string]string{"up": serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.URL.Path)
	})}, to("up"))
	if change != nil {
		change(&s.Listeners[0].Client)
	}
	return startRig(t, s, Config{ParkAfter: 2 * time.Millisecond})
}

// parked waits until n connections are parked.
func (r *rig) parked(n int64) {
	r.t.Helper()
	for limit := time.Now().Add(patience); r.metrics.Listener("front").Parked() != n; runtime.Gosched() {
		if time.Now().After(limit) {
			r.t.Fatalf("%d parked, want %d", r.metrics.Listener("front").Parked(), n)
		}
	}
}

func TestParkedConnectionsAreServed(t *testing.T) {
	r := newParkingRig(t, nil)
	c := r.dial()
	r.parked(1) // before its first request
	for _, path := range []string{"/a", "/b"} {
		c.send(get(path)).want(200, "", path)
		r.parked(1)
	}
	c.send(get("/c") + get("/d")) // pipelined
	c.want(200, "", "/c")
	c.want(200, "", "/d")
	r.parked(1)
	c.send("GET /e HTTP/1.1\n") // a head in pieces
	r.parked(0)
	c.send("Host: h\n\n").want(200, "", "/e")
	r.parked(1)
	if resp := c.send("GET /f HTTP/1.1\nHost: h\nConnection: close\n\n").want(200, "", "/f"); !resp.Close {
		t.Error("kept open")
	}
	c.ended()
}

func TestParkedConnectionsKeepTheirTimes(t *testing.T) {
	t.Run("keep-alive", func(t *testing.T) {
		r := newParkingRig(t, func(c *model.Client) { c.KeepAlive = 20 * time.Millisecond })
		c := r.dial().send(get("/"))
		c.want(200, "", "/")
		c.ended()
	})
	t.Run("first head", func(t *testing.T) {
		r := newParkingRig(t, func(c *model.Client) { c.HeadTimeout = 20 * time.Millisecond })
		r.dial().ended()
	})
	t.Run("head after parking", func(t *testing.T) {
		r := newParkingRig(t, func(c *model.Client) { c.HeadTimeout = 500 * time.Millisecond })
		c := r.dial()
		r.parked(1)
		c.send("GET / HTTP/1.1\n").want(408, "DPE", "")
		c.ended()
	})
}

// TestParkedWhenKeepAliveIsSwitchedOff changes the policy under a parked connection: what it
// sends next is still answered.
func TestParkedWhenKeepAliveIsSwitchedOff(t *testing.T) {
	r := newParkingRig(t, nil)
	c := r.dial().send(get("/a"))
	c.want(200, "", "/a")
	r.parked(1)
	next, front := *r.snap, *r.snap.Listeners[0]
	front.Client.KeepAlive = 0
	next.Listeners = []*model.Listener{&front}
	if err := r.proxy.Apply(&next); err != nil {
		t.Fatal(err)
	}
	if resp := c.send(get("/b")).want(200, "", "/b"); !resp.Close {
		t.Error("kept open")
	}
	c.ended()
}

func TestShutdownWithParkedConnections(t *testing.T) {
	r := newParkingRig(t, nil)
	conns := []*client{r.dial(), r.dial()}
	conns[0].send(get("/")).want(200, "", "/")
	r.parked(2)
	r.stop()
	for _, c := range conns {
		c.ended()
	}
}

// TestParkedStorm has hundreds of parked connections ask at once, again and again.
func TestParkedStorm(t *testing.T) {
	const n = 300
	r := newParkingRig(t, func(c *model.Client) { c.KeepAlive = time.Minute })
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = r.dial().Conn
	}
	for range 3 {
		r.parked(n)
		var all sync.WaitGroup
		for i, c := range conns {
			all.Go(func() {
				path := fmt.Sprintf("/%d", i)
				if _, err := io.WriteString(c, lines(get(path))); err != nil {
					t.Error(err)
					return
				}
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					t.Error(err)
					return
				}
				if body, err := io.ReadAll(resp.Body); string(body) != path || err != nil {
					t.Errorf("got %q for %s, %v", body, path, err)
				}
			})
		}
		all.Wait()
	}
}
