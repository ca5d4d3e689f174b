package proxy

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/limit"
	load "weir.dev/weir/traffic/overload"
)

// faultyConn panics when it is written to with a certain byte first.
type faultyConn struct {
	net.Conn
	on byte
}

func (c *faultyConn) Write(p []byte) (int, error) {
	if len(p) > 0 && p[0] == c.on {
		panic("write")
	}
	return c.Conn.Write(p)
}

// TestPanicsAreContained provokes defects through what the engine is given from outside. One
// connection is lost, nothing else; the rig checks that every count is balanced in the end.
func TestPanicsAreContained(t *testing.T) {
	for _, test := range []struct {
		name    string
		request string
		dial    func(n *network) func(context.Context, netip.AddrPort) (net.Conn, error)
		random  bool // panics
		answer  int  // 0: the connection is lost
	}{
		{name: "random", request: get("/"), random: true},
		{name: "dial", request: get("/"), dial: func(n *network) func(context.Context, netip.AddrPort) (net.Conn, error) {
			return func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
				if a == netip.MustParseAddrPort(upA) {
					panic("dial")
				}
				return n.dial(ctx, a)
			}
		}},
		{name: "write", request: get("/"), dial: faulty('G')},
		{name: "pump", request: "PUT / HTTP/1.1\nHost: h\nContent-Length: 5\n\n", dial: faulty('x'), answer: 500},
		{name: "tunnel", request: "PUT / HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: x\n\n", dial: faulty('x')},
		{name: "mirror", request: "GET /mirror HTTP/1.1\nHost: h\n\n", dial: faultyAt(upB), answer: 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					switch {
					case req.Header.Get("Upgrade") != "":
						_, _ = c.Write([]byte(lines("HTTP/1.1 101 Go\nConnection: upgrade\nUpgrade: x\n\n")))
					case test.name == "mirror":
						_, _ = c.Write([]byte(lines("HTTP/1.1 200 OK\nContent-Length: 0\n\n")))
					}
					silent(c, r)
				})
				mirror, all, good := to("a"), to("a"), to("good")
				mirror.Name, mirror.Matches = "mirror", prefix("/mirror")
				mirror.Mirrors = []model.Mirror{{Cluster: "b", Numerator: 1, Denominator: 1}}
				good.Matches = prefix("/good")
				n.upstream(t, "10.0.0.3:80", hello)
				s := snapshotOf(map[string]string{"a": upA, "b": upB, "good": "10.0.0.3:80"}, good, mirror, all)
				cfg := Config{}
				var calls atomic.Int64
				if test.random {
					cfg.Random = func() uint64 {
						if calls.Add(1) == 6 { // in a pick
							panic("random")
						}
						return 1
					}
				}
				if test.dial != nil {
					cfg.Dial = test.dial(n)
				}
				r := n.rig(t, s, cfg)
				r.open = n.dial
				c := r.patient().send(test.request)
				if test.random {
					for calls.Load() < 6 {
						_ = c.Close()
						c = r.patient().send(get("/good"))
						synctest.Wait()
					}
					_, _ = c.r.WriteTo(discard{})
				} else {
					if test.name == "tunnel" {
						c.want(101, "", "")
					}
					if test.name == "pump" || test.name == "tunnel" {
						synctest.Wait()
						c.send("xxxxx")
					}
					if test.answer > 0 {
						resp, _ := c.answer("GET")
						if resp.StatusCode != test.answer {
							t.Errorf("got %d", resp.StatusCode)
						}
					} else {
						c.ended()
					}
				}
				r.patient().send(get("/good")).want(200, "", "/good")
				r.stop()
				if test.name == "mirror" {
					if n := r.metrics.Mirrors[telemetry.MirrorFailed].Load(); n != 1 {
						t.Errorf("%d mirrors failed", n)
					}
				} else if stats := r.metrics.Totals(); test.name != "tunnel" && stats.Flags[model.FlagWI] != 1 {
					t.Errorf("counted %v", stats.Flags)
				}
			})
		})
	}
}

func faulty(on byte) func(n *network) func(context.Context, netip.AddrPort) (net.Conn, error) {
	return func(n *network) func(context.Context, netip.AddrPort) (net.Conn, error) {
		return func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
			c, err := n.dial(ctx, a)
			if err != nil || a != netip.MustParseAddrPort(upA) {
				return c, err
			}
			return &faultyConn{c, on}, nil
		}
	}
}

func faultyAt(at string) func(n *network) func(context.Context, netip.AddrPort) (net.Conn, error) {
	return func(n *network) func(context.Context, netip.AddrPort) (net.Conn, error) {
		return func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
			if a == netip.MustParseAddrPort(at) {
				panic("dial")
			}
			return n.dial(ctx, a)
		}
	}
}

// TestPanicInTheQueue: who waited has no place any more, neither in the queue nor behind it.
func TestPanicInTheQueue(t *testing.T) {
	for _, woken := range []bool{false, true} {
		gate := load.NewGate(load.Config{Limit: 1, Queue: &model.Queue{Size: 1}}, 1)
		if !gate.Try(0, model.ClassCritical) {
			t.Fatal("the limit of one is reached by none")
		}
		x := newExchange().(*exchange)
		x.abandonTurn() // it has never waited
		x.overload.class = model.ClassCritical
		if v := gate.Enter(0, model.ClassCritical, 0, x.newTurn(gate)); v.Kind != load.Queued {
			t.Fatalf("%+v", v)
		}
		if woken {
			gate.Leave(0, 0, model.ClassCritical, limit.Ignored)
		}
		x.abandonTurn()
		if !woken {
			gate.Leave(0, 0, model.ClassCritical, limit.Ignored)
		}
		x.abandonTurn()
		if s := gate.Status(0); s.InFlight != 0 || s.Queued != 0 {
			t.Errorf("woken %v: %+v", woken, s)
		}
	}
}
