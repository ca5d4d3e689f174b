package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// mirrorEcho answers with what it got, in fields.
func mirrorEcho(c net.Conn, r *bufio.Reader) {
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		fmt.Fprint(c, lines("HTTP/1.1 200 OK\nContent-Length: 0\nX-Drop: up\nX-Keep: up\nAccess-Control-Allow-Origin: up\n"))
		fmt.Fprintf(c, "Got-Path: %s\r\nGot-Host: %s\r\nGot-A: %s\r\nGot-B: %s\r\nGot-Shadow: %s\r\n\r\n", req.RequestURI, req.Host,
			strings.Join(req.Header["X-A"], ","), strings.Join(req.Header["X-B"], ","), req.Header.Get("X-Weir-Shadow"))
	}
}

// TestPolicies sends requests through routes with policies.
func TestPolicies(t *testing.T) {
	full, part := "/whole", "/new"
	cors := &model.CORS{
		AllowOrigins: []string{"https://good.example"}, AllowMethods: []string{"PUT"},
		AllowHeaders: []string{"x-a"}, MaxAge: time.Minute,
	}
	for _, test := range []struct {
		name    string
		change  func(r *model.Route)
		request string
		status  int
		want    map[string]string // fields of the answer
	}{
		{
			"redirect", func(r *model.Route) { r.Redirect = &model.Redirect{Scheme: "https", Hostname: "to", Status: 301} },
			"GET /p/a?q HTTP/1.1\nHost: h\n\n", 301,
			map[string]string{"Location": "https://to/p/a?q", "Content-Length": "0"},
		},
		{
			"redirect of a prefix, with a body", func(r *model.Route) {
				r.Redirect = &model.Redirect{Status: 308, Path: &model.PathChange{Prefix: &part}}
			}, "POST /p/a HTTP/1.1\nHost: h\nContent-Length: 2\n\nhi", 308, map[string]string{"Location": "http://h/new/a"},
		},
		{
			"rewrite", func(r *model.Route) {
				r.Rewrite = &model.Rewrite{Hostname: "inner", Path: &model.PathChange{Prefix: &part}}
			}, "GET /p/x?y=z HTTP/1.1\nHost: h\n\n", 200, map[string]string{"Got-Path": "/new/x?y=z", "Got-Host": "inner"},
		},
		{
			"rewrite whole", func(r *model.Route) { r.Rewrite = &model.Rewrite{Path: &model.PathChange{Full: &full}} },
			"GET /p/x HTTP/1.1\nHost: h\n\n", 200,
			map[string]string{"Got-Path": "/whole", "Got-Host": "h"},
		},
		{
			"headers", func(r *model.Route) {
				r.RequestHeaders = &model.HeaderEdit{Set: []model.Header{{Name: "x-a", Value: "set"}}, Remove: []string{"x-b"}}
				r.ResponseHeaders = &model.HeaderEdit{Add: []model.Header{{Name: "x-keep", Value: "too"}}, Remove: []string{"x-drop"}}
				r.Split.Arms[0].RequestHeaders = &model.HeaderEdit{Add: []model.Header{{Name: "x-a", Value: "arm"}}}
			}, "GET /p HTTP/1.1\nHost: h\nX-A: 1\nX-A: 2\nX-B: 3\n\n", 200,
			map[string]string{"Got-A": "set,arm", "Got-B": "", "X-Drop": "", "X-Keep": "up,too"},
		},
		{
			"cors", func(r *model.Route) { r.CORS = cors },
			"GET /p HTTP/1.1\nHost: h\nOrigin: https://good.example\n\n", 200,
			map[string]string{"Access-Control-Allow-Origin": "https://good.example"},
		},
		{
			"cors, other origin", func(r *model.Route) { r.CORS = cors },
			"GET /p HTTP/1.1\nHost: h\nOrigin: https://evil.example\n\n", 200,
			map[string]string{"Access-Control-Allow-Origin": ""},
		},
		{
			"preflight", func(r *model.Route) { r.CORS = cors },
			"OPTIONS /p HTTP/1.1\nHost: h\nOrigin: https://good.example\nAccess-Control-Request-Method: PUT\n\n", policy.PreflightStatus,
			map[string]string{"Access-Control-Allow-Methods": "PUT", "Got-Path": ""},
		},
		{
			"cors and a redirect", func(r *model.Route) { r.CORS, r.Redirect = cors, &model.Redirect{Status: 302, Hostname: "to"} },
			"GET /p HTTP/1.1\nHost: h\nOrigin: https://good.example\n\n", 302,
			map[string]string{"Access-Control-Allow-Origin": "https://good.example"},
		},
		{
			"refusing arm", func(r *model.Route) {
				r.Split.Arms = append(r.Split.Arms, model.Arm{Weight: 1, Refusal: &model.Refusal{Status: 500, Flag: "NC"}})
				r.Split.Arms[0].Weight = 0
			}, "GET /p HTTP/1.1\nHost: h\n\n", 500, map[string]string{"X-Weir-Flag": "NC"},
		},
		{
			"no weight", func(r *model.Route) { r.Split.Arms[0].Weight = 0 },
			"GET /p HTTP/1.1\nHost: h\n\n", 500,
			map[string]string{"X-Weir-Flag": "NC"},
		},
		{
			"no arm", func(r *model.Route) { r.Split.Arms = nil },
			"POST /p HTTP/1.1\nHost: h\nContent-Length: 2\n\nhi", 500,
			map[string]string{"X-Weir-Flag": "NC"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				n.upstream(t, upA, mirrorEcho)
				route := to("up")
				route.Matches = prefix("/p")
				test.change(route)
				s := snapshotOf(map[string]string{"up": upA}, route)
				s.Listeners[0].Address = netip.MustParseAddrPort("127.0.0.1:80")
				c := n.rig(t, s, Config{}).patient()
				for range 2 { // on the same connection
					resp := c.send(test.request).want(test.status, test.want["X-Weir-Flag"], "")
					for name, value := range test.want {
						if got := strings.Join(resp.Header.Values(name), ","); got != value {
							t.Errorf("%s: %q, want %q", name, got, value)
						}
					}
				}
			})
		})
	}
}

// TestMirrors looks that copies arrive where they should, and that nothing a mirror does
// shows in the answer or its time.
func TestMirrors(t *testing.T) {
	for _, test := range []struct {
		name                  string
		mirror                func(c net.Conn, r *bufio.Reader) // nil: nobody listens
		share                 uint32                            // of 100
		request               string
		copies                int64 // that arrive
		sent, failed, dropped uint64
	}{
		{"all", hello, 100, get("/"), 10, 10, 0, 0},
		{"none", hello, 0, get("/"), 0, 0, 0, 0},
		{"body", hello, 100, "PUT / HTTP/1.1\nHost: h\nContent-Length: 3\n\nabc", 10, 10, 0, 0},
		{"chunks", hello, 100, "PUT / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n", 10, 10, 0, 0},
		{"body too large", hello, 100, "PUT / HTTP/1.1\nHost: h\nContent-Length: 70000\n\n" + strings.Repeat("b", 70000), 0, 0, 0, 10},
		{"dead", nil, 100, get("/"), 0, 0, 10, 0},
		{"mute", silent, 100, get("/"), 4, 0, 4, 6},
		{"cuts", func(_ net.Conn, r *bufio.Reader) { _, _ = http.ReadRequest(r) }, 100, get("/"), 10, 0, 10, 0},
		{"until close", func(c net.Conn, r *bufio.Reader) {
			_, _ = http.ReadRequest(r)
			fmt.Fprint(c, lines("HTTP/1.0 200 OK\n\nwhatever"))
		}, 100, get("/"), 10, 10, 0, 0},
		{"huge", func(c net.Conn, r *bufio.Reader) {
			_, _ = http.ReadRequest(r)
			fmt.Fprint(c, lines("HTTP/1.1 200 OK\nContent-Length: 1000000000\n\n"))
			_, _ = io.CopyN(c, zeros{}, 1_000_000_000)
		}, 100, get("/"), 10, 10, 0, 0},
		{"junk", func(c net.Conn, r *bufio.Reader) {
			_, _ = http.ReadRequest(r)
			fmt.Fprint(c, "junk")
		}, 100, get("/"), 10, 0, 10, 0},
		{"switches", hello, 100, "GET / HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: x\n\n", 0, 0, 0, 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				n.upstream(t, upA, hello)
				var copies atomic.Int64
				if test.mirror != nil {
					n.upstream(t, upB, func(c net.Conn, r *bufio.Reader) {
						tap := bufio.NewReader(&countingReader{r: r, heads: &copies})
						test.mirror(c, tap)
					})
				}
				route := to("up")
				route.Mirrors = []model.Mirror{{Cluster: "mirror", Numerator: test.share, Denominator: 100}}
				r := n.rig(t, snapshotOf(map[string]string{"up": upA, "mirror": upB}, route), Config{MaxMirrors: 4})
				c := r.patient()
				after(t, 0, func() {
					for range 10 {
						c.send(test.request).want(200, "", "/")
						if test.name != "mute" {
							synctest.Wait() // so that the bound on copies under way is not met
						}
					}
				})
				time.Sleep(time.Minute)
				m := &r.metrics.Mirrors
				sent, failed, dropped := m[telemetry.MirrorSent].Load(), m[telemetry.MirrorFailed].Load(), m[telemetry.MirrorDropped].Load()
				if sent != test.sent || failed != test.failed || dropped != test.dropped || copies.Load() != test.copies {
					t.Errorf("%d sent, %d failed, %d dropped, %d arrived; want %d, %d, %d, %d",
						sent, failed, dropped, copies.Load(), test.sent, test.failed, test.dropped, test.copies)
				}
			})
		})
	}
}

// countingReader counts the heads of copies that pass.
type countingReader struct {
	r     io.Reader
	heads *atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.heads.Add(int64(strings.Count(string(p[:n]), "X-Weir-Shadow: 1\r\n")))
	return n, err
}
