package proxy

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/dataplane/listener"
	"weir.dev/weir/model"
)

// TestStorableSaysAll: whose an answer is, and who may have it, is all known to the store.
func TestStorableSaysAll(t *testing.T) {
	x := newExchange().(*exchange)
	x.c, x.route = &listener.Conn{Secured: &listener.Secured{Verified: true}}, &route{model: &model.Route{Name: "r"}}
	x.view = &view{listener: &model.Listener{Name: "a"}}
	x.caller.Trusted = true
	if r := x.storable(); r.Request != &x.req || r.Route != "r" || r.Listener != "a" || !r.Trusted || !r.Verified {
		t.Errorf("%+v", r)
	}
}

// TestStaleIsSafe sends what should change nothing of what others are given: requests whose
// answers depend on what the key does not say, and requests that end what is kept for others.
func TestStaleIsSafe(t *testing.T) {
	const plain = "GET /x HTTP/1.1\nHost: h\n\n"
	for _, test := range []struct {
		name        string
		first, then string // requests; the second may be empty
		fields      string // of the first answer
		answer      string // head of the second one, without Content-Length
		asks, given string
	}{
		{"a body asks", "GET /x HTTP/1.1\nHost: h\nContent-Length: 3\n\none", "", "", "", plain, ""},
		{"a body asks for another", plain, "", "", "", "GET /x HTTP/1.1\nHost: h\nContent-Length: 3\n\none", ""},
		{"an unknown field decides", "GET /x HTTP/1.1\nHost: h\nX-Original-Url: /y\n\n", "", "Cache-Control: public\n", "", plain, ""},
		{"another host for links", "GET /x HTTP/1.1\nHost: h\nX-Forwarded-Host: evil\n\n", "", "", "", plain, ""},
		{"another scheme for links", "GET /x HTTP/1.1\nHost: h\nX-Forwarded-Proto: https\n\n", "", "", "", plain, ""},
		{"another port for links", "GET /x HTTP/1.1\nHost: h\nX-Forwarded-Port: 666\n\n", "", "", "", plain, ""},
		{"another host in the standard's words", "GET /x HTTP/1.1\nHost: h\nForwarded: for=1.2.3.4;host=evil\n\n", "", "", "", plain, ""},
		{"the same host", "GET /x HTTP/1.1\nHost: h\nX-Forwarded-Host: a\n\n", "", "", "", "GET /x HTTP/1.1\nHost: h\nX-Forwarded-Host: a\n\n", "1"},
		{"a coding not asked for", "GET /x HTTP/1.1\nHost: h\nAccept-Encoding: br\n\n", "", "Content-Encoding: br\n", "", plain, ""},
		{"the coding asked for", "GET /x HTTP/1.1\nHost: h\nAccept-Encoding: br\n\n", "", "Content-Encoding: br\n", "", "GET /x HTTP/1.1\nHost: h\nAccept-Encoding: br\n\n", "1"},
		{"another coding asked for", plain, "GET /x HTTP/1.1\nHost: h\nAccept-Encoding: x\n\n", "", "HTTP/1.1 200 OK\nVary: Accept-Encoding\n", plain, "1"},
		{"an old client", plain, "GET /x HTTP/1.0\nHost: h\n\n", "", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n", plain, "1"},
		{"a user", plain, "GET /x HTTP/1.1\nHost: h\nCookie: a=b\n\n", "", "HTTP/1.1 200 OK\n", plain, "1"},
		{"a user who gets nothing", plain, "GET /x HTTP/1.1\nHost: h\nX-Evil: a\n\n", "", "HTTP/1.1 404 No\n", plain, "1"},
		{"nothing has changed", plain, "GET /x HTTP/1.1\nHost: h\nIf-None-Match: \"1\"\n\n", "", "HTTP/1.1 304 Same\n", plain, "1"},
		{"somebody is refused", plain, plain, "", "HTTP/1.1 403 No\n", plain, "1"},
		{"a bad request", plain, "GET /x HTTP/1.1\nHost: h\nAccept: x/y\n\n", "", "HTTP/1.1 406 No\n", plain, "1"},
		{"it is gone", plain, plain, "", "HTTP/1.1 404 No\n", plain, ""},
		{"it has moved", plain, plain, "", "HTTP/1.1 302 Moved\nLocation: /y\n", plain, ""},
		{"it is private now", plain, plain, "", "HTTP/1.1 200 OK\nCache-Control: private\n", plain, ""},
		{"a newer one", plain, plain, "", "HTTP/1.1 200 OK\n", plain, "2"},
		{"the session's field", plain, "", "X-Session: forged\n", "", plain, "1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				rec := n.recorder(t, upA, func(i int, _ *http.Request) string {
					head := "HTTP/1.1 200 OK\n" + test.fields
					if i > 1 {
						head = test.answer
					}
					if head == "HTTP/1.1 304 Same\n" {
						return head + "\n"
					}
					if strings.Contains(head, "chunked") {
						return head + "\n0\n\n"
					}
					return head + "Content-Length: 1\n\n" + strconv.Itoa(i)
				})
				g := n.gate(t, upB)
				policy := model.Overload{Limit: 2, Degrade: []model.Degrade{{At: 0.5, ServeStale: time.Minute}}}
				busy, route := guarded(policy), guarded(policy)
				busy.Timeouts.Idle = time.Hour
				busy.Name, busy.Split.Arms[0].Cluster = "ns/busy/0", "busy"
				busy.Matches = []model.Match{{Path: model.PathMatch{Type: model.MatchPrefix, Value: "/busy"}}}
				route.Session = &model.Session{Type: model.SessionHeader, Name: "x-session", AbsoluteTimeout: time.Hour}
				r := n.rig(t, believing(snapshotOf(map[string]string{"up": upA, "busy": upB}, busy, route)), Config{})
				asked := 0
				for _, request := range []string{test.first, test.then} {
					if request != "" {
						r.patient().send(request).answer("GET")
						asked++
					}
					time.Sleep(2 * time.Second)
				}
				if n := len(rec.asked()); n != asked {
					t.Fatalf("the upstream was asked %d times", n)
				}
				hold := r.asked("/busy", "")
				let := <-g
				synctest.Wait()
				resp, body := r.patient().send(test.asks).answer("GET")
				if resp.Header.Get("X-Weir-Flag") != "PD" {
					body = ""
				}
				if body != test.given {
					t.Errorf("given %q, want %q", body, test.given)
				}
				if session := resp.Header.Get("X-Session"); session == "forged" {
					t.Error("the host's own word for a session was given")
				}
				let <- "x"
				hold.want(200, "", "x")
			})
		})
	}
}
