package proxy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// gate is an upstream that answers each request when let: what it sends is where to put the
// answer's body. No answer comes once that is closed.
type gate chan chan<- string

func (n *network) gate(t testing.TB, at string) gate {
	g := make(gate)
	n.upstream(t, at, func(c net.Conn, r *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			let := make(chan string)
			g <- let
			body, ok := <-let
			if !ok {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	})
	return g
}

func TestDrain(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := n.gate(t, upA)
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, to("up")),
			Config{IdleGrace: 3 * time.Second, DrainTimeout: time.Minute})
		busy := r.patient().send(get("/busy"))
		letBusy := <-g
		idle, late := r.patient(), r.patient()
		for _, c := range []*client{idle, late} {
			c.send(get("/"))
			(<-g) <- "x"
			c.want(200, "", "x")
		}
		began := time.Now()
		stopped := make(chan time.Duration)
		go func() {
			r.stop()
			stopped <- time.Since(began)
		}()
		synctest.Wait()
		if _, err := n.dial(t.Context(), netip.MustParseAddrPort(r.addr)); err == nil {
			t.Error("still listening")
		}
		time.Sleep(time.Second)
		late.send(get("/late")) // within the grace
		(<-g) <- "late"
		if resp := late.want(200, "", "late"); !resp.Close {
			t.Error("an answer while draining should close")
		}
		late.ended()
		idle.ended()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("the idle connection was closed after %v", took)
		}
		time.Sleep(5 * time.Second)
		letBusy <- "busy"
		if resp := busy.want(200, "", "busy"); !resp.Close {
			t.Error("an answer while draining should close")
		}
		busy.ended()
		if took := <-stopped; took != 8*time.Second {
			t.Errorf("draining took %v", took)
		}
	})
}

// TestDrainDeadline leaves everything in the middle that can be.
func TestDrainDeadline(t *testing.T) {
	for _, test := range []struct {
		name, request string
		flag          string // "none": there is no record of a request
	}{
		{"waiting for the answer", get("/"), "WD"},
		{"within a head", "GET / HTTP/1.1\n", "none"},
		{"within a body", "POST / HTTP/1.1\nHost: h\nContent-Length: 100\n\nabc", "WD"},
		{"in a tunnel", "GET /tunnel HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: echo\n\n", ""},
		{"in an answer", get("/half"), "WD"},
		{"dialling", get("/dial"), "WD"},
		{"backing off", get("/backoff"), "UF"},
		{"mirroring", get("/mirror"), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					switch req.URL.Path {
					case "/tunnel":
						fmt.Fprint(c, lines("HTTP/1.1 101 Go\nConnection: upgrade\nUpgrade: echo\n\n"))
					case "/half":
						fmt.Fprint(c, lines("HTTP/1.1 200 OK\nContent-Length: 100\n\nabc"))
					case "/mirror":
						if req.Header.Get("X-Weir-Shadow") == "" {
							fmt.Fprint(c, lines("HTTP/1.1 204 OK\n\n"))
						}
					}
					silent(c, r)
				})
				if l, err := n.listen(t.Context(), netip.MustParseAddrPort(upB)); err != nil { // never accepts
					t.Fatal(err)
				} else {
					defer l.Close()
				}
				dial, backoff, mirror, all := to("dead"), to("none"), to("up"), to("up")
				dial.Name, dial.Matches = "dial", prefix("/dial")
				backoff.Name, backoff.Matches = "backoff", prefix("/backoff")
				backoff.Retry = &model.Retry{Attempts: 1, Backoff: time.Hour}
				mirror.Name, mirror.Matches = "mirror", prefix("/mirror")
				mirror.Mirrors = []model.Mirror{{Cluster: "up", Numerator: 1, Denominator: 1}}
				for _, r := range []*model.Route{dial, backoff, mirror, all} {
					r.Timeouts = model.Timeouts{}
				}
				s := snapshotOf(map[string]string{"up": upA, "dead": upB, "none": "10.0.0.9:80"}, dial, backoff, mirror, all)
				for _, c := range s.Clusters {
					c.ConnectTimeout = 0
				}
				s.Listeners[0].Client = model.Client{MaxHead: 16 << 10, KeepAlive: time.Hour}
				var out bytes.Buffer
				log := telemetry.NewAccessLog(telemetry.AccessLogConfig{Writer: &out, Shards: 2})
				r := n.rig(t, s, Config{DrainTimeout: 10 * time.Second, AccessLog: log})
				c := r.patient().send(test.request)
				go func() { _, _ = io.Copy(io.Discard, c.Conn) }()
				synctest.Wait()
				began := time.Now()
				r.stop()
				if took := time.Since(began); took < 10*time.Second-time.Second || took > 11*time.Second {
					t.Errorf("draining took %v", took)
				}
				if err := log.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				rec := record{Flag: "none"}
				if out.Len() > 0 {
					rec = record{}
					if err := json.Unmarshal(out.Bytes(), &rec); err != nil {
						t.Fatalf("%v: %s", err, &out)
					}
				}
				if rec.Flag != test.flag {
					t.Errorf("flag %q, want %q: %s", rec.Flag, test.flag, &out)
				}
				for _, h := range r.proxy.Hosts() {
					if h.Failures > 0 && test.flag == "WD" {
						t.Errorf("host %v is blamed", h.Address)
					}
				}
			})
		})
	}
}

func prefix(p string) []model.Match {
	return []model.Match{{Path: model.PathMatch{Type: model.MatchPrefix, Value: p}}}
}

func TestRemovedListenerDrainsOnlyItsOwn(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := n.gate(t, upA)
		s := snapshotOf(map[string]string{"up": upA}, to("up"))
		second := *s.Listeners[0]
		second.Name, second.Address = "second", netip.MustParseAddrPort("127.0.0.1:81")
		both := *s
		both.Listeners = []*model.Listener{s.Listeners[0], &second}
		r := n.rig(t, &both, Config{IdleGrace: time.Second, DrainTimeout: 5 * time.Second})
		stays := r.patient().send(get("/stays"))
		letStay := <-g
		r.addr = second.Address.String()
		goes, idle := r.patient().send(get("/goes")), r.patient()
		letGo := <-g
		if err := r.proxy.Apply(s); err != nil {
			t.Fatal(err)
		}
		after(t, time.Second, idle.ended)
		letStay <- "x"
		letGo <- "x"
		if resp := stays.want(200, "", "x"); resp.Close {
			t.Error("the listener that stays closes connections")
		}
		if resp := goes.want(200, "", "x"); !resp.Close {
			t.Error("the listener that goes keeps connections")
		}
		goes.ended()
		// A connection of a removed listener does not outlive the deadline either.
		if err := r.proxy.Apply(&both); err != nil {
			t.Fatal(err)
		}
		r.patient().send(get("/stuck"))
		stuck := <-g
		defer close(stuck)
		if err := r.proxy.Apply(s); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		began := time.Now()
		r.stop()
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("draining took %v", took)
		}
	})
}

func TestListenerThatTakesOverAnAddress(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, hello)
		s := snapshotOf(map[string]string{"up": upA}, to("up"))
		r := n.rig(t, s, Config{})
		renamed, next := *s.Listeners[0], *s
		renamed.Name = "other"
		next.Listeners = []*model.Listener{&renamed}
		if err := r.proxy.Apply(&next); err != nil {
			t.Fatal(err)
		}
		r.patient().send(get("/")).want(200, "", "/")
	})
}

// TestChangesUnderWay applies a new snapshot while a request is at its upstream.
func TestChangesUnderWay(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := n.gate(t, upA)
		n.upstream(t, upB, hello)
		s := snapshotOf(map[string]string{"a": upA, "b": upB}, to("a"))
		r := n.rig(t, s, Config{})
		c := r.patient().send(get("/old"))
		let := <-g
		next := snapshotOf(map[string]string{"b": upB}, to("b"))
		if err := r.proxy.Apply(next); err != nil {
			t.Fatal(err)
		}
		fresh := r.patient().send(get("/new"))
		fresh.want(200, "", "/new")
		let <- "from a"
		if resp := c.want(200, "", "from a"); resp.Close {
			t.Error("a change of routes closed a connection")
		}
		c.send(get("/then")).want(200, "", "/then") // the same connection, the new route
		opened := func() uint64 {
			for _, h := range r.proxy.Hosts() {
				if h.Cluster == "b" {
					return h.Opened
				}
			}
			return 0
		}
		before := opened()
		again := snapshotOf(map[string]string{"b": upB}, to("b"))
		again.Clusters[0].Balancing.Algorithm = model.RoundRobin
		if err := r.proxy.Apply(again); err != nil {
			t.Fatal(err)
		}
		c.send(get("/pool")).want(200, "", "/pool")
		if after := opened(); after != before {
			t.Errorf("a change of algorithm opened %d connections", after-before)
		}
	})
}
