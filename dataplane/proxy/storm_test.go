package proxy

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"weir.dev/weir/model"
)

// TestChangesUnderLoad applies snapshots as fast as they come while clients send requests on
// connections that last. Every request is answered by a host that some snapshot names, and
// none fails.
func TestChangesUnderLoad(t *testing.T) {
	const clients, requests = 6, 300
	named := func(name string) string {
		return serveHTTP(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, name+r.URL.Path) })
	}
	a, b := named("a"), named("b")
	snapshots := []*model.Snapshot{
		snapshotOf(map[string]string{"up": a}, to("up")),
		snapshotOf(map[string]string{"up": a + "," + b}, to("up")),
		snapshotOf(map[string]string{"other": b}, to("other")),
		snapshotOf(map[string]string{"up": b, "other": a}, to("other"), to("up")),
	}
	second := *snapshots[1].Listeners[0]
	second.Name = "second"
	snapshots[1].Listeners = append(snapshots[1].Listeners, &second)
	r := startRig(t, snapshots[0], Config{})
	stop := make(chan struct{})
	var applying, sending sync.WaitGroup
	applying.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := r.proxy.Apply(snapshots[i%len(snapshots)]); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for k := range clients {
		sending.Go(func() {
			c := r.dial()
			for i := range requests {
				path := fmt.Sprintf("/%d/%d", k, i)
				if i%3 == 0 {
					fmt.Fprintf(c, "PUT %s HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", path)
				} else {
					fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path)
				}
				resp, err := http.ReadResponse(c.r, nil)
				if err != nil {
					t.Errorf("request %s: %v", path, err)
					return
				}
				body := make([]byte, 20)
				n, _ := resp.Body.Read(body)
				resp.Body.Close()
				if resp.StatusCode != 200 || !strings.HasSuffix(string(body[:n]), path) || resp.Close {
					t.Errorf("request %s: %d %q, close %v", path, resp.StatusCode, body[:n], resp.Close)
				}
			}
		})
	}
	sending.Wait()
	close(stop)
	applying.Wait()
}

// TestHalfOpenFlood opens many connections, and lets go of them in all the ways there are,
// while others are served.
func TestHalfOpenFlood(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, hello)
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, to("up")), Config{MaxConnections: 50})
		var flood sync.WaitGroup
		for i := range 500 {
			flood.Go(func() {
				c, err := n.dial(context.Background(), netip.MustParseAddrPort(r.addr))
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				drip(c, i)
			})
		}
		flood.Wait()
		synctest.Wait()
		for range 100 {
			c := r.patient().send(get("/x"))
			c.want(200, "", "/x")
			c.Close()
			synctest.Wait()
		}
	})
}

func drip(c net.Conn, i int) {
	parts := []string{"", "G", "GET / HTTP/1.1\n", get("/"), "POST / HTTP/1.1\nHost: h\nContent-Length: 9\n\nabc", "\x00"}
	if _, err := c.Write([]byte(lines(parts[i%len(parts)]))); err != nil {
		return
	}
	if i%2 == 0 {
		_, _ = bufio.NewReader(c).WriteTo(discard{})
	}
}
