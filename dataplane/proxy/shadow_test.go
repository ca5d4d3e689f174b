package proxy

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/model"
)

// shadowingRoute returns a route with a Shadow of all its requests of safe methods.
func shadowingRoute(change ...func(*model.Shadow)) *model.Route {
	s := model.Shadow{
		Name: "ns/s", Cluster: "shadow", Share: 1, Methods: []string{"GET", "HEAD"},
		Limits: model.ShadowLimits{InFlight: 100, Body: 64 << 10},
		Compare: &model.Compare{
			Status: true, Headers: []string{"x-kind"}, Body: model.CompareJSON, Latency: true, Ignore: []string{"$.id"},
		},
	}
	for _, f := range change {
		f(&s)
	}
	r := to("up")
	r.Shadows = []model.Shadow{s}
	return r
}

// replies is an upstream that answers everything with the same bytes after so long.
func replies(after time.Duration, answer string) func(net.Conn, *bufio.Reader) {
	return func(c net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			time.Sleep(after)
			if _, err := io.WriteString(c, lines(answer)); err != nil {
				return
			}
		}
	}
}

func sized(head, body string) string {
	return fmt.Sprintf("HTTP/1.1 %s\nContent-Length: %d\n\n%s", head, len(body), body)
}

// fates is what became of requests.
func fates(r model.ShadowReport) string {
	text := fmt.Sprintf("%d answered, %d failed", r.Copies.Answered, r.Copies.Failed)
	for _, d := range r.Copies.Dropped {
		text += fmt.Sprintf(", %d %s", d.Count, d.Reason)
	}
	if c := r.Comparison; c != nil {
		text += fmt.Sprintf("; %d equal, %d noise, %d different, %d uncompared", c.Equal, c.Noise, c.Different, c.Uncompared)
		for _, f := range c.Fields {
			text += "; " + f.Field
		}
	}
	return text
}

// TestShadowsCompare looks at one request and what comparing its answers finds, in each form that answers
// come in.
func TestShadowsCompare(t *testing.T) {
	good := sized("200 OK\nX-Kind: a", `{"id":1,"v":[1,2]}`)
	chunked := "HTTP/1.1 200 OK\nX-Kind: a\nTransfer-Encoding: chunked\n\n9\n{\"id\":2, \n9\n\"v\":[1,2]\n1\n}\n0\nT: x\n\n"
	untilClose := "HTTP/1.1 200 OK\nX-Kind: a\nConnection: close\n\n{\"v\":[1,2]}"
	const compared = "1 answered, 0 failed; "
	for _, test := range []struct {
		name, up, shadow string
		change           func(*model.Route)
		request          string
		want             string
	}{
		{"equal", good, good, nil, "", compared + "1 equal, 0 noise, 0 different, 0 uncompared"},
		{"in chunks", chunked, good, nil, "", compared + "1 equal, 0 noise, 0 different, 0 uncompared"},
		{"a shadow in chunks", good, chunked, nil, "", compared + "1 equal, 0 noise, 0 different, 0 uncompared"},
		{"for HTTP/1.0", chunked, good, nil, "GET /p HTTP/1.0\nHost: h\nConnection: keep-alive\n\n", compared + "1 equal, 0 noise, 0 different, 0 uncompared"},
		{"HEAD", sized("200 OK\nX-Kind: a", ""), sized("200 OK\nX-Kind: a", ""), nil, "HEAD /p HTTP/1.1\nHost: h\n\n", compared + "1 equal, 0 noise, 0 different, 0 uncompared"},
		{"a status", good, sized("503 No\nX-Kind: a", `{"id":1,"v":[1,2]}`), nil, "", compared + "0 equal, 0 noise, 1 different, 0 uncompared; status"},
		{"a header", good, sized("200 OK", `{"id":1,"v":[1,2]}`), nil, "", compared + "0 equal, 0 noise, 1 different, 0 uncompared; header x-kind"},
		{"a body", chunked, sized("200 OK\nX-Kind: a", `{"id":1,"v":[1,3]}`), nil, "", compared + "0 equal, 0 noise, 1 different, 0 uncompared; $.v[*]"},
		{"compressed for the client", good, good, func(r *model.Route) { r.Compression = compressing().Compression }, "GET /p HTTP/1.1\nHost: h\nAccept-Encoding: gzip\n\n", compared + "1 equal, 0 noise, 0 different, 0 uncompared"},
		{"too long", sized("200 OK\nX-Kind: a", strings.Repeat(" ", 1000)), good, func(r *model.Route) { r.Shadows[0].Limits.Body = 999 }, "", compared + "0 equal, 0 noise, 0 different, 1 uncompared"},
		{"a shadow too long", good, sized("200 OK\nX-Kind: a", strings.Repeat(" ", 1000)), func(r *model.Route) { r.Shadows[0].Limits.Body = 999 }, "", compared + "0 equal, 0 noise, 0 different, 1 uncompared"},
		{"long, and bodies do not matter", good, sized("200 OK\nX-Kind: a", strings.Repeat(" ", 1000)), func(r *model.Route) {
			r.Shadows[0].Limits.Body, r.Shadows[0].Compare.Body = 999, model.CompareNone
		}, "", compared + "1 equal, 0 noise, 0 different, 0 uncompared"},
		{"no answer of the shadow", good, "junk", nil, "", "0 answered, 1 failed; 0 equal, 0 noise, 0 different, 1 uncompared"},
		{"no answer of the primary", "junk", good, nil, "", compared + "0 equal, 0 noise, 0 different, 1 uncompared"},
		{"another try's", "HTTP/1.1 503 No\nContent-Length: 0\n\n", sized("503 No", ""), func(r *model.Route) {
			r.Retry = &model.Retry{Attempts: 1, Codes: []int{503}}
		}, "", compared + "1 equal, 0 noise, 0 different, 0 uncompared"},
		{"not compared", good, "HTTP/1.1 500 No\nContent-Length: 0\n\n", func(r *model.Route) { r.Shadows[0].Compare = nil }, "", "1 answered, 0 failed"},
		{"until the end", untilClose, good, func(r *model.Route) { r.Shadows[0].Compare.Ignore = []string{"$.id"} }, "", compared + "1 equal, 0 noise, 0 different, 0 uncompared"},
		{"another method", good, good, nil, "DELETE /p HTTP/1.1\nHost: h\n\n", "0 answered, 0 failed; 0 equal, 0 noise, 0 different, 0 uncompared"},
		{"a body too long", good, good, nil, "GET /p HTTP/1.1\nHost: h\nContent-Length: 70000\n\n" + strings.Repeat("b", 70000), "0 answered, 0 failed, 1 body; 0 equal, 0 noise, 0 different, 0 uncompared"},
		{"a body too long in chunks", good, good, func(r *model.Route) { r.Shadows[0].Limits.Body = 10 }, "GET /p HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n6\nabcdef\n0\n\n", "0 answered, 0 failed, 1 body; 0 equal, 0 noise, 0 different, 0 uncompared"},
		{"a tunnel", good, good, nil, "GET /p HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: x\n\n", "0 answered, 0 failed, 1 upgrade; 0 equal, 0 noise, 0 different, 0 uncompared"},
		{"no such backend", good, good, func(r *model.Route) { r.Shadows[0].Refusal = &model.Refusal{} }, "", "0 answered, 0 failed, 1 unresolved; 0 equal, 0 noise, 0 different, 0 uncompared"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				script := func(answer string) func(net.Conn, *bufio.Reader) {
					if strings.HasPrefix(answer, "HTTP/1.1 200 OK\nX-Kind: a\nConnection: close") || answer == "junk" {
						return func(c net.Conn, r *bufio.Reader) {
							_, _ = http.ReadRequest(r)
							_, _ = io.WriteString(c, lines(answer))
						}
					}
					return replies(0, answer)
				}
				n.upstream(t, upA, script(test.up))
				n.upstream(t, upB, script(test.shadow))
				route := shadowingRoute()
				if test.change != nil {
					test.change(route)
				}
				r := n.rig(t, snapshotOf(map[string]string{"up": upA, "shadow": upB}, route), Config{})
				request := test.request
				if request == "" {
					request = get("/p")
				}
				method, _, _ := strings.Cut(request, " ")
				r.patient().send(request).answer(method)
				synctest.Wait()
				if got := fates(r.proxy.Shadows()[0]); got != test.want {
					t.Errorf("got %s\nwant %s", got, test.want)
				}
				if in := r.proxy.Shadows()[0].Copies.InFlight; in != 0 {
					t.Errorf("%d in flight", in)
				}
			})
		})
	}
}

// hostile are shadows that do what they can.
var hostile = map[string]func(c net.Conn, r *bufio.Reader){
	"plain": hello,
	"dead":  nil,
	"mute":  silent,
	"deaf":  func(net.Conn, *bufio.Reader) { select {} },
	"slow":  replies(7*time.Second, sized("200 OK", "/")),
	"cuts":  func(_ net.Conn, r *bufio.Reader) { _, _ = http.ReadRequest(r) },
	"junk": func(c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		fmt.Fprint(c, "junk")
	},
	"huge": func(c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		fmt.Fprint(c, lines("HTTP/1.1 200 OK\nContent-Length: 1000000000\n\n"))
		_, _ = io.CopyN(c, zeros{}, 1_000_000_000)
	},
	"huge head": func(c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		fmt.Fprint(c, lines("HTTP/1.1 200 OK\nX: "))
		_, _ = io.CopyN(c, zeros{}, 1_000_000)
	},
	"drips": func(c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		fmt.Fprint(c, lines("HTTP/1.1 200 OK\n\n"))
		for {
			if _, err := c.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(time.Second)
		}
	},
}

// TestShadowsHarmNobody: whatever a shadow does, each answer is the primary's and comes when it
// would have come; no more requests are copied at a time than may be, and each is counted once.
func TestShadowsHarmNobody(t *testing.T) {
	const clients, each, limit = 5, 8, 4
	for _, name := range slices.Sorted(maps.Keys(hostile)) {
		for _, baseline := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, baseline %v", name, baseline), func(t *testing.T) {
				inBubble(t, func(t *testing.T, n *network) {
					n.upstream(t, upA, replies(10*time.Millisecond, sized("200 OK", "fine")))
					switch f := hostile[name]; name {
					case "dead":
					case "deaf":
						n.upstream(t, upB, func(c net.Conn, _ *bufio.Reader) { <-t.Context().Done() })
					default:
						n.upstream(t, upB, f)
					}
					route := shadowingRoute(func(s *model.Shadow) {
						s.Limits.InFlight, s.Compare.Baseline = limit, baseline
					})
					r := n.rig(t, snapshotOf(map[string]string{"up": upA, "shadow": upB}, route), Config{})
					var all sync.WaitGroup
					for range clients {
						c := r.patient()
						all.Go(func() {
							for range each {
								began := time.Now()
								if _, body := c.send(get("/")).answer("GET"); body != "fine" {
									t.Errorf("got %q", body)
								}
								if took := time.Since(began); took != 10*time.Millisecond {
									t.Errorf("took %v", took)
								}
								if in := r.proxy.Shadows()[0].Copies.InFlight; in > limit {
									t.Errorf("%d in flight", in)
								}
							}
						})
					}
					all.Wait()
					time.Sleep(time.Minute)
					got := r.proxy.Shadows()[0]
					sum := got.Copies.Answered + got.Copies.Failed
					for _, d := range got.Copies.Dropped {
						sum += d.Count
					}
					c := got.Comparison
					if sum != clients*each || got.Copies.InFlight != 0 || c.Compared()+c.Uncompared != got.Copies.Answered+got.Copies.Failed {
						t.Errorf("of %d requests: %s, %d in flight", clients*each, fates(got), got.Copies.InFlight)
					}
				})
			})
		}
	}
}

// TestNoiseIsCancelled: what differs between two answers of the primary is not laid at the shadow's door.
func TestNoiseIsCancelled(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		var id, price atomic.Int64
		var copies, others atomic.Int64
		serve := func(price func() int64) func(net.Conn, *bufio.Reader) {
			return func(c net.Conn, r *bufio.Reader) {
				for {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					if req.Header.Get("X-Weir-Shadow") == "" {
						others.Add(1)
					} else {
						copies.Add(1)
					}
					fmt.Fprint(c, lines(sized("200 OK", fmt.Sprintf(`{"serial":%d,"price":%d}`, id.Add(1), price()))))
				}
			}
		}
		n.upstream(t, upA, serve(func() int64 { return 0 }))
		n.upstream(t, upB, serve(func() int64 { return price.Add(1) / 10 }))
		route := shadowingRoute(func(s *model.Shadow) { s.Methods, s.Compare.Baseline = nil, true })
		r := n.rig(t, snapshotOf(map[string]string{"up": upA, "shadow": upB}, route), Config{})
		c := r.patient()
		for range 19 {
			c.send(get("/")).want(200, "", "serial")
			synctest.Wait()
		}
		got := r.proxy.Shadows()[0]
		want := []model.ShadowField{
			{Field: "$.price", Different: 10, Net: 10},
			{Field: "$.serial", Different: 19, Noise: 19, Noisy: true},
		}
		if c := got.Comparison; c.Different != 10 || c.Noise != 9 || !slices.Equal(c.Fields, want) {
			t.Errorf("got %s %v", fates(got), c.Fields)
		}
		if e := got.Comparison.Examples; len(e) != 1 || e[0].Field != "$.price" || e[0].Primary != "0" || e[0].Shadow != "1" || e[0].Path != "/" {
			t.Errorf("examples %v", e)
		}
		c.send("POST / HTTP/1.1\nHost: h\nContent-Length: 0\n\n").want(200, "", "serial") // it has no baseline
		synctest.Wait()
		if others.Load() != 20 || copies.Load() != 39 {
			t.Errorf("%d requests and %d copies", others.Load(), copies.Load())
		}
	})
}

// TestCopiesDoNotHoldUploads: a slow body goes to the primary as it comes, and the copy has all of it.
func TestCopiesDoNotHoldUploads(t *testing.T) {
	for name, head := range map[string]string{
		"length": "PUT /p?q=1 HTTP/1.1\nHost: h.example:81\nContent-Length: 4\nX-Weir-Arm: a\nX-Weir-Timeout-Ms: 100\nX-Weir-Attempt: 1\nX-Weir-Priority: Critical\n\n",
		"chunks": "PUT /p?q=1 HTTP/1.1\nHost: h.example:81\nTransfer-Encoding: chunked\n\n",
		"asks":   "PUT /p?q=1 HTTP/1.1\nHost: h.example:81\nContent-Length: 4\nExpect: 100-continue\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				arrived := make(chan byte, 1)
				n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					fmt.Fprint(c, lines("HTTP/1.1 100 Continue\n\n"))
					var b [1]byte
					_, _ = io.ReadFull(req.Body, b[:])
					arrived <- b[0]
					_, _ = io.Copy(io.Discard, req.Body)
					fmt.Fprint(c, lines(sized("200 OK", "fine")))
				})
				type copyOf struct {
					*http.Request
					body string
				}
				copies := make(chan copyOf, 1)
				n.upstream(t, upB, func(c net.Conn, r *bufio.Reader) {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					body, _ := io.ReadAll(req.Body)
					copies <- copyOf{req, string(body)}
					fmt.Fprint(c, lines(sized("200 OK", "fine")))
				})
				route := shadowingRoute(func(s *model.Shadow) { s.Methods = []string{"PUT"} })
				s := trusts(snapshotOf(map[string]string{"up": upA, "shadow": upB}, route))
				r := n.rig(t, s, Config{})
				c := r.patient().send(head)
				pieces := []string{"a", "bcd"}
				if name == "chunks" {
					pieces = []string{"1\na\n", "3\nbcd\n0\n\n"}
				}
				if name == "asks" {
					if resp, err := http.ReadResponse(c.r, nil); err != nil || resp.StatusCode != 100 {
						t.Fatalf("%v %v", resp, err)
					}
				}
				c.send(pieces[0])
				synctest.Wait()
				select {
				case b := <-arrived:
					if b != 'a' {
						t.Errorf("first came %q", b)
					}
				default:
					t.Fatal("the primary waits for the copy")
				}
				time.Sleep(50 * time.Millisecond)
				c.send(pieces[1])
				if resp, body := c.answer("PUT"); resp.StatusCode != 200 || body != "fine" {
					t.Errorf("got %d %q", resp.StatusCode, body)
				}
				got := <-copies
				if got.body != "abcd" || got.Host != "h.example:81" || got.RequestURI != "/p?q=1" || got.Header.Get("X-Weir-Shadow") != "1" {
					t.Errorf("the copy: %s %s %q %v", got.Host, got.RequestURI, got.body, got.Header)
				}
				for _, name := range []string{"X-Weir-Arm", "X-Weir-Timeout-Ms", "X-Weir-Attempt", "X-Weir-Priority", "Expect"} {
					if v := got.Header.Values(name); v != nil {
						t.Errorf("the copy says %s: %v", name, v)
					}
				}
			})
		})
	}
}

// TestUnfinishedUploadsAreNotCopied: a client that leaves within its body, or whose request is answered before
// its end, has no copy.
func TestUnfinishedUploadsAreNotCopied(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
			_, _ = http.ReadRequest(r)
			fmt.Fprint(c, lines(sized("200 OK", "early")))
			_, _ = r.WriteTo(io.Discard)
		})
		route := shadowingRoute(func(s *model.Shadow) { s.Methods = []string{"PUT"} })
		r := n.rig(t, snapshotOf(map[string]string{"up": upA, "shadow": upB}, route), Config{})
		r.patient().send("PUT / HTTP/1.1\nHost: h\nContent-Length: 4\n\na").want(200, "", "early")
		c := r.patient().send("PUT / HTTP/1.1\nHost: h\nContent-Length: 4\n\na")
		c.Close()
		time.Sleep(time.Minute)
		if got := fates(r.proxy.Shadows()[0]); got != "0 answered, 0 failed, 2 unfinished; 0 equal, 0 noise, 0 different, 2 uncompared" {
			t.Error(got)
		}
	})
}

// TestCopiesOfCopies: a shadow that leads back has an end.
func TestCopiesOfCopies(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, hello)
		route := shadowingRoute()
		s := trusts(snapshotOf(map[string]string{"up": upA, "shadow": "127.0.0.1:80"}, route))
		s.Listeners[0].Address = netip.MustParseAddrPort("127.0.0.1:80")
		r := n.rig(t, s, Config{})
		r.patient().send(get("/")).want(200, "", "/")
		synctest.Wait()
		if got := fates(r.proxy.Shadows()[0]); !strings.HasPrefix(got, "1 answered, 0 failed, 1 copy; ") {
			t.Error(got)
		}
	})
}

// TestShadowsKeepTheirCounts: over an edit of the route and of the Shadow, until they are reset or
// the Shadow is gone.
func TestShadowsKeepTheirCounts(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, hello)
		n.upstream(t, upB, hello)
		hosts := map[string]string{"up": upA, "shadow": upB}
		apply := func(r *rig, route *model.Route) {
			s := snapshotOf(hosts, route)
			s.Listeners[0].Address = r.snap.Listeners[0].Address
			if err := r.proxy.Apply(s); err != nil {
				t.Error(err)
			}
		}
		r := n.rig(t, snapshotOf(hosts, shadowingRoute()), Config{})
		c := r.patient()
		ask := func() string {
			c.send(get("/")).want(200, "", "/")
			synctest.Wait()
			list := r.proxy.Shadows()
			if len(list) == 0 {
				return "none"
			}
			return fates(list[0])
		}
		first := ask()
		apply(r, shadowingRoute(func(s *model.Shadow) { s.Share, s.Limits.InFlight = 0.999999, 7 }))
		second := ask()
		if !r.proxy.ResetShadow("ns/s") || r.proxy.ResetShadow("ns/other") {
			t.Error("what is reset")
		}
		third := ask()
		apply(r, to("up"))
		gone := ask()
		apply(r, shadowingRoute())
		anew := ask()
		one := "1 answered, 0 failed; 1 equal, 0 noise, 0 different, 0 uncompared"
		if want := []string{one, strings.ReplaceAll(one, "1 ", "2 "), one, "none", one}; !slices.Equal([]string{first, second, third, gone, anew}, want) {
			t.Errorf("%q", []string{first, second, third, gone, anew})
		}
		if l := r.proxy.Shadows()[0].Comparison.Latency; l == nil {
			t.Error("no latency")
		}
	})
}

// TestBaselineLeavesRoom: the second copy takes no place at the primary that a request may need.
func TestBaselineLeavesRoom(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
			for {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				if req.Header.Get("X-Weir-Shadow") != "" {
					time.Sleep(10 * time.Second) // who asks twice waits
				}
				fmt.Fprint(c, lines(sized("200 OK", "fine")))
			}
		})
		n.upstream(t, upB, replies(0, sized("200 OK", "fine")))
		route := shadowingRoute(func(s *model.Shadow) { s.Compare.Baseline = true })
		s := snapshotOf(map[string]string{"up": upA, "shadow": upB}, route)
		for _, c := range s.Clusters {
			if c.Name == "up" {
				c.Breaker = model.Breaker{MaxConnections: 100, MaxPending: 100, MaxRequests: 4, Mode: model.ModeEnforce}
			}
		}
		r := n.rig(t, s, Config{})
		for range 10 {
			r.patient().send(get("/")).want(200, "", "fine")
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		// The request itself may still have its own place, or not, when the second copy asks for one.
		got := fates(r.proxy.Shadows()[0])
		if got != "10 answered, 0 failed; 2 equal, 0 noise, 0 different, 8 uncompared" && got != "10 answered, 0 failed; 1 equal, 0 noise, 0 different, 9 uncompared" {
			t.Error(got)
		}
	})
}

// TestCopiesLeaveRoom: nor do copies to the cluster that the route's own requests go to.
func TestCopiesLeaveRoom(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
			for {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				if req.Header.Get("X-Weir-Shadow") != "" {
					time.Sleep(10 * time.Second)
				}
				fmt.Fprint(c, lines(sized("200 OK", "fine")))
			}
		})
		s := snapshotOf(map[string]string{"up": upA}, shadowingRoute(func(s *model.Shadow) { s.Cluster = "up" }))
		s.Clusters[0].Breaker = model.Breaker{MaxConnections: 100, MaxPending: 100, MaxRequests: 4, Mode: model.ModeEnforce}
		r := n.rig(t, s, Config{})
		for range 10 {
			r.patient().send(get("/")).want(200, "", "fine")
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		// The request itself may still have its own place, or not, when its copy asks for one.
		got := fates(r.proxy.Shadows()[0])
		if !strings.HasPrefix(got, "2 answered, 0 failed, 8 breaker; ") && !strings.HasPrefix(got, "1 answered, 0 failed, 9 breaker; ") {
			t.Error(got)
		}
	})
}

// TestStreamsKeepNoPlace: an answer that goes on for ever, a few bytes at a time, does not keep copies of other
// requests from being sent.
func TestStreamsKeepNoPlace(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			_, err := io.WriteString(c, lines("HTTP/1.1 200 OK\nContent-Length: 100000\n\n"))
			for err == nil {
				time.Sleep(time.Second)
				_, err = io.WriteString(c, ".")
			}
		})
		n.upstream(t, upB, replies(0, sized("200 OK", "fine")))
		r := n.rig(t, snapshotOf(map[string]string{"up": upA, "shadow": upB}, shadowingRoute()), Config{})
		c := r.patient().send(get("/"))
		go func() { _, _ = io.Copy(io.Discard, c.r) }()
		time.Sleep(10 * time.Second)
		if n := r.proxy.Shadows()[0].Copies.InFlight; n != 1 {
			t.Errorf("%d under way, want 1: %s", n, fates(r.proxy.Shadows()[0]))
		}
		time.Sleep(10 * time.Second)
		if got := r.proxy.Shadows()[0]; got.Copies.InFlight != 0 || got.Comparison.Uncompared != 1 {
			t.Errorf("%d under way, %s", got.Copies.InFlight, fates(got))
		}
		_ = c.Close()
		time.Sleep(5 * time.Second) // in which the upstream notices
	})
}
