package proxy

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/model"
)

// balancedCanary checks what was counted of the canary: each request once, and none is under way.
func balancedCanary(t *testing.T, p *Proxy, begun, failed, excluded uint64) {
	t.Helper()
	o := p.Releases()[0].Canary
	if o.InFlight != 0 || o.Requests != begun || o.Failed != failed || o.Excluded != excluded {
		t.Errorf("want %d, %d failed, %d excluded, none under way: %+v", begun, failed, excluded, o)
	}
}

// TestOutcomesAfterPanics: a defect of ours is nobody's failure, and no request is under way for ever.
func TestOutcomesAfterPanics(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, hello)
		cfg := Config{Dial: func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
			if a == netip.MustParseAddrPort(upB) {
				panic("dial")
			}
			return n.dial(ctx, a)
		}}
		r := n.rig(t, snapshotOf(map[string]string{"stable": upA, "canary": upB}, releasing(strict())), cfg)
		r.open = n.dial
		if err := r.proxy.Tune(knobs(knob(1, 1, 10000))); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			r.patient().send(get("/")).ended()
		}
		synctest.Wait()
		balancedCanary(t, r.proxy, 3, 0, 3)
	})
}

// TestOutcomesOfTunnels: a tunnel is an answer, and its length no request under way.
func TestOutcomesOfTunnels(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upB, func(c net.Conn, r *bufio.Reader) {
			if _, err := http.ReadRequest(r); err == nil {
				_, _ = c.Write([]byte(lines("HTTP/1.1 101 Go\nConnection: upgrade\nUpgrade: x\n\n")))
				silent(c, r)
			}
		})
		route := releasing(strict())
		route.Split.Release.Sampling.Fallback = model.FallbackCookie
		r := n.rig(t, snapshotOf(map[string]string{"stable": upA, "canary": upB}, route), Config{})
		if err := r.proxy.Tune(knobs(knob(1, 1, 10000))); err != nil {
			t.Fatal(err)
		}
		c := r.patient().send("GET / HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: x\n\n")
		if resp := c.want(101, "", ""); len(resp.Cookies()) != 1 {
			t.Errorf("%v", resp.Header)
		}
		synctest.Wait()
		balancedCanary(t, r.proxy, 1, 0, 0)
		c.Close()
		synctest.Wait()
		balancedCanary(t, r.proxy, 1, 0, 0)
	})
}

// TestOutcomesOfStreams: clients of HTTP/2 that reset their streams have left, wherever they were.
func TestOutcomesOfStreams(t *testing.T) {
	const each = 20
	up := serveHTTP(t, func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/hangs":
			<-req.Context().Done()
		case "/streams":
			w.(http.Flusher).Flush()
			<-req.Context().Done()
		case "/fails":
			w.WriteHeader(500)
		}
	})
	g := model.Guard{Stages: 1}
	r := startRig(t, snapshotOf(map[string]string{"stable": up, "canary": up}, releasing(g)), Config{})
	if err := r.proxy.Tune(knobs(knob(1, 1, 10000))); err != nil {
		t.Fatal(err)
	}
	c := r.h2()
	var work sync.WaitGroup
	for i := range each {
		for _, path := range []string{"/hangs", "/streams", "/fails", "/good"} {
			work.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				req := r.request("GET", path, nil).WithContext(ctx)
				req.Header.Set("X-User", fmt.Sprint(i))
				if path == "/hangs" {
					time.AfterFunc(20*time.Millisecond, cancel)
				}
				if resp, err := c.Do(req); err == nil {
					if path == "/streams" {
						cancel()
					}
					_ = resp.Body.Close()
				}
			})
		}
	}
	work.Wait()
	until(t, "all requests end", func() bool {
		o := r.proxy.Releases()[0].Canary
		return o.InFlight == 0 && o.Requests > 0 && o.Failed == each
	})
	o := r.proxy.Releases()[0].Canary
	if o.Failed != each || o.FirstFailed != each || o.Excluded+o.Failed > o.Requests || o.Excluded < each {
		t.Errorf("%+v", o)
	}
}
