package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir.dev/weir/model"
)

// hashed is a route below a path that ties requests to hosts of the cluster up.
func hashed(path string, keys ...model.Key) *model.Route {
	r := to("up")
	r.Name, r.Object, r.Rule, r.Matches, r.HashOn = "ns/"+path+"/0", path, "0", prefix("/"+path), keys
	return r
}

// TestSameKeySameHost: whichever proxy a request comes to, whatever that has been through, and
// however the key is written, equal values lead to equal hosts.
func TestSameKeySameHost(t *testing.T) {
	for _, algorithm := range []model.Algorithm{model.RingHash, model.Maglev} {
		t.Run(string(algorithm), func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				n.whoami(t, upA, upB, upC)
				routes := func() []*model.Route {
					return []*model.Route{
						hashed("header", model.Key{Source: model.KeyHeader, Name: "x-user"}),
						hashed("expression", model.Key{Source: model.KeyExpression, Name: `request.headers["x-user"]`}),
						hashed("path", model.Key{Source: model.KeyExpression, Name: `request.path.split("/")[2]`}),
						hashed("second",
							model.Key{Source: model.KeyExpression, Name: `request.path.split("/")[7]`}, // is in error
							model.Key{Source: model.KeyExpression, Name: `request.cookies["none"]`},    // is empty
							model.Key{Source: model.KeyIdentity},                                       // there is none
							model.Key{Source: model.KeyExpression, Name: `route.name == "second" ? request.query["u"] : "other"`}),
					}
				}
				all := snapshotOf(map[string]string{"up": upA + "," + upB + "," + upC}, routes()...)
				balancing(all, algorithm)
				one := n.rig(t, all, Config{}).patient()
				few := snapshotOf(map[string]string{"up": upB}, routes()...)
				balancing(few, algorithm)
				few.Listeners[0].Address = netip.MustParseAddrPort("127.0.0.1:1")
				later := n.rig(t, few, Config{})
				other := later.patient()
				other.send("GET /header HTTP/1.1\nHost: h\nX-User: a\n\n").want(200, "", upB)
				later.reapply(func(s *model.Snapshot) { endpoints(s, "up", map[string]uint32{upA: 1, upB: 1, upC: 1}) })
				seen := map[string]bool{}
				hidden := struct{ rapid.TB }{t} // its deadline, which a bubble has none of
				rapid.Check(hidden, func(t *rapid.T) {
					user := rapid.StringMatching(`[a-z0-9]{1,12}`).Draw(t, "user")
					home := ""
					for _, path := range []string{"/header", "/expression", "/path/" + user, "/second?u=" + user} {
						for name, c := range map[string]*client{"one": one, "other": other} {
							_, host := c.send("GET " + path + " HTTP/1.1\nHost: h\nX-User: " + user + "\n\n").answer("GET")
							if home == "" {
								home = host
							}
							if host != home {
								t.Fatalf("%s at %s leads to %s, and to %s before", path, name, host, home)
							}
						}
					}
					seen[home] = true
				})
				if len(seen) != 3 {
					t.Errorf("all keys lead to %v", seen)
				}
			})
		})
	}
}

// TestSameIdentitySameHost: a client's identity is a key, whatever its certificate and its
// protocol; without one the next key counts.
func TestSameIdentitySameHost(t *testing.T) {
	var hosts []string
	for i := range 3 {
		hosts = append(hosts, serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "host ", i) }))
	}
	ca := newNotary(t)
	s := twoListeners(strings.Join(hosts, ","), &model.TLS{Names: []model.TLSName{
		ca.name(&model.ClientValidation{CAs: ca.pem(), Insecure: true}, "a.test"),
	}})
	balancing(s, model.Maglev)
	entry := &s.RouteTables[0].Entries[0]
	entry.Route = hashed("", model.Key{Source: model.KeyIdentity}, model.Key{Source: model.KeyHeader, Name: "x-user"})
	expressed := hashed("expression", model.Key{Source: model.KeyExpression, Name: `identity`}, model.Key{Source: model.KeyHeader, Name: "x-user"})
	s.RouteTables[0].Entries = append(s.RouteTables[0].Entries, model.Entry{Route: expressed})
	r := startRig(t, s, Config{})
	ask := func(id, path string, http2 bool) string {
		t.Helper()
		config := ca.config("a.test", nil)
		if id != "" {
			config = ca.config("a.test", ca.client(id, time.Now().Add(time.Hour)))
		}
		transport := &http.Transport{
			TLSClientConfig: config, ForceAttemptHTTP2: http2,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", r.addr)
			},
		}
		defer transport.CloseIdleConnections()
		req, err := http.NewRequest("GET", "https://a.test"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-User", "spiffe://test/user1") // the value of an identity, and no proof
		resp, err := (&http.Client{Transport: transport, Timeout: patience}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 || (resp.ProtoMajor == 2) != http2 {
			t.Fatalf("%s: %s, %v", resp.Proto, resp.Status, err)
		}
		return string(body)
	}
	seen := map[string]bool{}
	for user := range 12 {
		id := fmt.Sprint("spiffe://test/user", user)
		home := ask(id, "/", false)
		seen[home] = true
		if again, second, way := ask(id, "/", false), ask(id, "/", true), ask(id, "/expression", user%2 == 0); again != home || second != home || way != home {
			t.Errorf("%s: %s, then %s, over HTTP/2 %s, by expression %s", id, home, again, second, way)
		}
	}
	if len(seen) < 2 {
		t.Errorf("all identities lead to %v", seen)
	}
	want := ask("spiffe://test/user1", "/", false) // equal values of different keys hash alike
	if by, way := ask("", "/", false), ask("", "/expression", true); by != want || way != want {
		t.Errorf("without an identity the header leads to %s and %s, want %s", by, way, want)
	}
}
