package proxy

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weir.dev/weir/model"
)

const upC = "10.0.0.3:80"

// whoami starts hosts that answer with their address, and the cookies and session header
// that they saw.
func (n *network) whoami(t testing.TB, hosts ...string) {
	for _, host := range hosts {
		n.upstream(t, host, func(c net.Conn, r *bufio.Reader) {
			for {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				fmt.Fprintf(c, lines("HTTP/1.1 200 OK\nX-Session: upstream's own\nGot-Cookie: %s\nGot-Session: %s\nContent-Length: %d\n\n%s"),
					req.Header.Get("Cookie"), req.Header.Get("X-Session"), len(host), host)
			}
		})
	}
}

// browser keeps the cookies of one session as a browser does, or its header.
type browser struct {
	*client
	fields string // sent with every request
	set    int    // how often a token came
	last   *http.Cookie
}

// ask sends a request and returns the host that answered.
func (b *browser) ask() string {
	b.t.Helper()
	b.send("GET / HTTP/1.1\nHost: h\n" + b.fields + "\n")
	resp, body := b.answer("GET")
	if resp.StatusCode != 200 {
		b.t.Fatalf("status %d, flag %s", resp.StatusCode, resp.Header.Get("X-Weir-Flag"))
	}
	for _, c := range resp.Cookies() {
		b.fields, b.last = "Cookie: other=1; "+c.Name+"="+c.Value+"\n", c
		b.set++
	}
	if v := resp.Header["X-Session"]; len(v) == 1 && v[0] != "upstream's own" {
		b.fields = "X-Session: " + v[0] + "\n"
		b.set++
	}
	return body
}

// stays checks that a number of requests all reach one host, and that this many tokens come.
func (b *browser) stays(at string, tokens int) {
	b.t.Helper()
	before := b.set
	for i := range 12 {
		if got := b.ask(); got != at {
			b.t.Fatalf("request %d went to %s, want %s", i, got, at)
		}
	}
	if got := b.set - before; got != tokens {
		b.t.Fatalf("%d tokens came, want %d", got, tokens)
	}
}

// sticky is a route with a session.
func sticky(cluster string, m model.Session) *model.Route {
	r := to(cluster)
	if m.Type == "" {
		m.Type, m.Name = model.SessionCookie, "weir"
	}
	r.Session = &m
	return r
}

// reapply makes a changed copy of the live snapshot live; what is published never changes.
func (r *rig) reapply(change func(s *model.Snapshot)) {
	r.t.Helper()
	next := *r.snap
	next.Clusters, next.Endpoints = slices.Clone(next.Clusters), slices.Clone(next.Endpoints)
	table := *next.RouteTables[0]
	table.Entries = slices.Clone(table.Entries)
	for i := range table.Entries {
		route := *table.Entries[i].Route
		table.Entries[i].Route = &route
	}
	next.RouteTables = []*model.RouteTable{&table}
	change(&next)
	for _, e := range table.Entries {
		e.Route.Hash = ""
		e.Route.Hash = model.HashOf(e.Route)
	}
	r.snap = &next
	if err := r.proxy.Apply(&next); err != nil {
		r.t.Fatal(err)
	}
}

// endpoints replaces the endpoints of the named cluster: addresses with weights.
func endpoints(s *model.Snapshot, cluster string, weights map[string]uint32) {
	set := &model.EndpointSet{Cluster: cluster}
	for address, weight := range weights {
		set.Endpoints = append(set.Endpoints, model.Endpoint{Address: netip.MustParseAddrPort(address), Weight: weight})
	}
	for i := range s.Endpoints {
		if s.Endpoints[i].Cluster == cluster {
			s.Endpoints[i] = set
		}
	}
}

// balancing replaces the algorithm of every cluster.
func balancing(s *model.Snapshot, algorithm model.Algorithm) {
	for i, c := range s.Clusters {
		changed := *c
		changed.Balancing.Algorithm = algorithm
		s.Clusters[i] = &changed
	}
}

// TestSessionsSurvive changes everything around a session.
func TestSessionsSurvive(t *testing.T) {
	for _, kind := range []model.Session{
		{Type: model.SessionCookie, Name: "weir"},
		{Type: model.SessionHeader, Name: "x-session"},
	} {
		t.Run(string(kind.Type), func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				n.whoami(t, upA, upB, upC)
				s := snapshotOf(map[string]string{"up": upA + "," + upB + "," + upC}, sticky("up", kind))
				balancing(s, model.RoundRobin)
				r := n.rig(t, s, Config{})
				b := &browser{client: r.patient()}
				home := b.ask()
				if b.set != 1 {
					t.Fatalf("%d tokens came with the first answer", b.set)
				}
				b.stays(home, 0)
				if seen := map[string]bool{}; true {
					for range 6 {
						seen[(&browser{client: r.patient()}).ask()] = true
					}
					if len(seen) != 3 {
						t.Errorf("new sessions begin only at %v", seen)
					}
				}
				r.reapply(func(s *model.Snapshot) { balancing(s, model.Random) })
				b.stays(home, 0)
				weights := map[string]uint32{upA: 5, upB: 5, upC: 5}
				weights[home] = 0
				r.reapply(func(s *model.Snapshot) { endpoints(s, "up", weights) })
				b.stays(home, 0)
				delete(weights, home)
				r.reapply(func(s *model.Snapshot) { endpoints(s, "up", weights) })
				moved := b.ask()
				if moved == home || b.set != 2 {
					t.Fatalf("after its host went, the session is at %s with %d tokens", moved, b.set)
				}
				b.stays(moved, 0)
				weights[home] = 1
				r.reapply(func(s *model.Snapshot) { endpoints(s, "up", weights) })
				b.stays(moved, 0)
			})
		})
	}
}

// TestSessionLeavesAnUnhealthyHost: it moves once, and does not come back.
func TestSessionLeavesAnUnhealthyHost(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.whoami(t, upA, upB)
		r := n.rig(t, snapshotOf(map[string]string{"up": upA + "," + upB}, sticky("up", model.Session{})), Config{})
		b := &browser{client: r.patient()}
		home := b.ask()
		unready := func(is bool) {
			r.reapply(func(s *model.Snapshot) {
				endpoints(s, "up", map[string]uint32{upA: 1, upB: 1})
				for i := range s.Endpoints[0].Endpoints {
					e := &s.Endpoints[0].Endpoints[i]
					e.Unready = is && e.Address.String() == home
				}
			})
		}
		unready(true)
		away := b.ask()
		if away == home || b.set != 2 {
			t.Fatalf("the session is at %s with %d tokens", away, b.set)
		}
		unready(false)
		b.stays(away, 0)
	})
}

// TestSessionsKeepTheirArm checks that weights move new clients only.
func TestSessionsKeepTheirArm(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.whoami(t, upA, upB)
		route := sticky("one", model.Session{})
		route.Split.Arms = append(route.Split.Arms, model.Arm{Name: "two", Cluster: "two"})
		r := n.rig(t, snapshotOf(map[string]string{"one": upA, "two": upB}, route), Config{})
		b := &browser{client: r.patient()}
		b.stays(upA, 1)
		arms := func(list ...model.Arm) {
			r.reapply(func(s *model.Snapshot) {
				s.RouteTables[0].Entries[0].Route.Split.Arms = list
			})
		}
		two := model.Arm{Name: "two", Cluster: "two", Weight: 1}
		arms(model.Arm{Name: "one", Cluster: "one"}, two)
		b.stays(upA, 0)
		(&browser{client: r.patient()}).stays(upB, 1)
		arms(model.Arm{Name: "one", Refusal: &model.Refusal{Status: 500, Flag: "NC"}}, two)
		b.stays(upB, 1)
	})
}

// TestSessionMovesWithRetries checks that the token is that of the host that answered.
func TestSessionMovesWithRetries(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		route := sticky("up", model.Session{})
		route.Retry = &model.Retry{Attempts: 2}
		r := n.rig(t, snapshotOf(map[string]string{"up": upA + "," + upB}, route), Config{})
		n.whoami(t, upB)
		b := &browser{client: r.patient()}
		b.stays(upB, 1) // nothing listens at upA
		n.whoami(t, upA)
		b.stays(upB, 0)
	})
}

// TestSessionLeavesAHostThatFails has a living session whose host begins to fail.
func TestSessionLeavesAHostThatFails(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		var failing atomic.Value
		failing.Store("")
		for _, host := range []string{upA, upB} {
			n.upstream(t, host, func(c net.Conn, r *bufio.Reader) {
				for {
					if _, err := http.ReadRequest(r); err != nil {
						return
					}
					status := "200 OK"
					if failing.Load() == host {
						status = "503 Busy"
					}
					fmt.Fprintf(c, lines("HTTP/1.1 %s\nContent-Length: %d\n\n%s"), status, len(host), host)
				}
			})
		}
		route := sticky("up", model.Session{})
		route.Retry = &model.Retry{Attempts: 1, Codes: []int{503}}
		r := n.rig(t, snapshotOf(map[string]string{"up": upA + "," + upB}, route), Config{})
		b := &browser{client: r.patient()}
		home := b.ask()
		b.stays(home, 0)
		failing.Store(home)
		away := b.ask()
		if away == home || b.set != 2 {
			t.Fatalf("the answer is from %s, %d tokens in all", away, b.set)
		}
		failing.Store("")
		b.stays(away, 0)
	})
}

func TestTokensThatAreNone(t *testing.T) {
	for name, value := range map[string]string{
		"malformed": "Cookie: weir=" + strings.Repeat("%", 20) + "\n",
		"address":   "Cookie: weir=10.0.0.1:80\n",
		"forged":    "Cookie: weir=AQAAAAAAAAAAAAAAAAAA\n",
		"long":      "Cookie: weir=" + strings.Repeat("A", 3000) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				n.whoami(t, upA)
				r := n.rig(t, snapshotOf(map[string]string{"up": upA}, sticky("up", model.Session{})), Config{})
				b := &browser{client: r.patient(), fields: value}
				b.stays(upA, 1)
			})
		})
	}
}

// TestSessionsEnd lets time pass.
func TestSessionsEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.whoami(t, upA)
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, sticky("up", model.Session{
			Type: model.SessionCookie, Name: "weir", Path: "/shop", Permanent: true, AbsoluteTimeout: time.Hour,
		})), Config{})
		var b *browser
		ask := func(tokens, maxAge int) {
			t.Helper()
			fields := ""
			if b != nil {
				fields = b.fields
			}
			b = &browser{client: r.patient(), fields: fields}
			b.ask()
			if b.set != tokens || tokens > 0 && (b.last.MaxAge != maxAge || b.last.Path != "/shop") {
				t.Fatalf("%d tokens, %v; want %d with %d s", b.set, b.last, tokens, maxAge)
			}
		}
		ask(1, 3600)
		time.Sleep(time.Hour - time.Millisecond)
		ask(0, 0)
		time.Sleep(time.Millisecond)
		ask(1, 3600) // an hour has passed: a new session
		ask(0, 0)
	})
}

// TestSessionCookieIsForwarded: as GEP-1619 says, the backend sees what the session is by;
// and the cookie is Secure for a client that speaks https.
func TestSessionCookieIsForwarded(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.whoami(t, upA)
		s := snapshotOf(map[string]string{"up": upA}, sticky("up", model.Session{}))
		s.Listeners[0].Client.TrustHops = 1
		r := n.rig(t, s, Config{})
		c := r.patient()
		cookie := c.send(get("/")).want(200, "", upA).Cookies()[0]
		if cookie.Secure || !cookie.HttpOnly || cookie.MaxAge != 0 {
			t.Errorf("cookie of http: %v", cookie)
		}
		cookie = c.send("GET / HTTP/1.1\nHost: h\nX-Forwarded-Proto: https\n\n").want(200, "", upA).Cookies()[0]
		if !cookie.Secure {
			t.Errorf("cookie of https: %v", cookie)
		}
		resp := c.send("GET / HTTP/1.1\nHost: h\nCookie: weir="+cookie.Value+"\n\n").want(200, "", upA)
		if got := resp.Header.Get("Got-Cookie"); got != "weir="+cookie.Value {
			t.Errorf("the upstream saw %q", got)
		}
	})
}

// TestSessionOfATunnel begins one with the answer that switches protocols.
func TestSessionOfATunnel(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
			if _, err := http.ReadRequest(r); err == nil {
				fmt.Fprint(c, lines("HTTP/1.1 101 Go\nConnection: upgrade\nUpgrade: x\n\n"))
			}
		})
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, sticky("up", model.Session{})), Config{})
		c := r.patient().send("GET / HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: x\n\n")
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil || resp.StatusCode != 101 || len(resp.Cookies()) != 1 {
			t.Errorf("got %v, %v", resp, err)
		}
	})
}

// TestHashedRequests: equal keys lead to equal hosts, in every proxy; sessions go first.
func TestHashedRequests(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.whoami(t, upA, upB, upC)
		route := to("up")
		route.HashOn = []model.Key{{Source: model.KeyHeader, Name: "x-user"}, {Source: model.KeyQuery, Name: "u"}}
		bound := sticky("up", model.Session{})
		bound.Name, bound.HashOn, bound.Matches = "ns/bound/0", route.HashOn, prefix("/bound")
		s := snapshotOf(map[string]string{"up": upA + "," + upB + "," + upC}, route, bound)
		balancing(s, model.RingHash)
		c := n.rig(t, s, Config{}).patient()
		ask := func(path, field string) (host, token string) {
			resp, body := c.send("GET " + path + " HTTP/1.1\nHost: h\n" + field + "\n").answer("GET")
			if cookies := resp.Cookies(); len(cookies) > 0 {
				token = cookies[0].Value
			}
			return body, token
		}
		seen, homes := map[string]bool{}, map[string]string{}
		for user := range 60 {
			name := fmt.Sprint("user", user%20)
			host, _ := ask("/", "X-User: "+name+"\n")
			if other, _ := ask("/?u="+name, ""); other != host {
				t.Fatalf("%s: %s by header, %s by parameter", name, host, other)
			}
			if at, ok := homes[name]; ok && at != host {
				t.Fatalf("%s: %s, then %s", name, at, host)
			}
			homes[name], seen[host] = host, true
		}
		if len(seen) < 2 {
			t.Errorf("all users go to %v", seen)
		}
		host, token := ask("/bound", "X-User: user1\n")
		if host != homes["user1"] {
			t.Errorf("a session begins at %s, its key leads to %s", host, homes["user1"])
		}
		for name, at := range homes {
			if at == host {
				continue
			}
			if got, _ := ask("/bound", "X-User: "+name+"\nCookie: weir="+token+"\n"); got != host {
				t.Errorf("the key %s (%s) beats the session (%s)", name, at, host)
			}
		}
		without := map[string]bool{}
		for range 50 {
			host, _ := ask("/", "")
			without[host] = true
		}
		if len(without) != 3 {
			t.Errorf("requests without a key go to %v", without)
		}
	})
}
