package proxy

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// TestDegrading lets requests pile up and end, and looks at what others get meanwhile.
func TestDegrading(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := n.gate(t, upA)
		route := guarded(model.Overload{
			Limit:      10,
			Priorities: []model.Priority{{When: `request.path == "/batch"`, Class: model.ClassSheddable}},
			Degrade: []model.Degrade{
				{At: 0.5, Shed: model.ClassSheddable},
				{At: 0.8, Answer: &model.FixedAnswer{Status: 203, Headers: []model.Header{{Name: "x-lean", Value: "1"}}, Body: "lean\n"}},
			},
		})
		route.Timeouts.Idle = time.Hour
		r := n.rig(t, snapshotOf(oneUp, route), Config{Random: func() uint64 { return 1 << 63 }})
		var busy []*client
		var lets []chan<- string
		fill := func(upTo int) {
			for len(busy) < upTo {
				busy = append(busy, r.asked("/x", ""))
				lets = append(lets, <-g)
			}
		}
		ease := func(downTo int) {
			for ; len(busy) > downTo; busy, lets = busy[1:], lets[1:] {
				lets[0] <- "x"
				busy[0].want(200, "", "x")
				synctest.Wait()
			}
		}
		served := func(path string) {
			t.Helper()
			c := r.asked(path, "")
			(<-g) <- "y"
			c.want(200, "", "y")
			synctest.Wait()
		}
		fill(4)
		served("/batch")
		fill(5)
		r.asked("/batch", "").want(503, "PO", "")
		served("/x")
		fill(8)
		if resp := r.asked("/x", "").want(203, "PD", "lean\n"); resp.Header.Get("X-Lean") != "1" {
			t.Error("the fixed answer lacks its field")
		}
		r.asked("/batch", "").want(503, "PO", "")

		ease(7) // within 10 points: all stays as it is
		time.Sleep(900 * time.Millisecond)
		r.asked("/x", "").want(203, "PD", "")
		ease(3)
		time.Sleep(900 * time.Millisecond)
		r.asked("/x", "").want(203, "PD", "") // for a second still
		time.Sleep(2200 * time.Millisecond)   // heat 0.8 less two seconds of 5 points: the second step is over
		served("/x")
		r.asked("/batch", "").want(503, "PO", "")
		time.Sleep(6 * time.Second)
		served("/batch")
		if s := r.over(); s.Active != 0 || s.InFlight != 3 {
			t.Errorf("at the end: %+v", s)
		}
		ease(0)
		for kind, want := range map[telemetry.ProtectionKind]uint64{"degrade/shed": 3, "degrade/answer": 3} {
			if n := r.protection(kind).Acted(); n != want {
				t.Errorf("%s acted %d times, want %d", kind, n, want)
			}
		}
	})
}

// TestLessForEach: fewer tries, and less time, while the scope is busy.
func TestLessForEach(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		g := n.gate(t, upA)
		rec := n.recorder(t, upB, func(int, *http.Request) string { return "HTTP/1.1 503 X\nContent-Length: 0\n\n" })
		n.upstream(t, "10.0.0.4:80", silent)
		policy := model.Overload{Limit: 2, Degrade: []model.Degrade{{At: 0.5, NoRetries: true, Timeouts: &model.Timeouts{Request: time.Second}}}}
		keeper, failing, slow := guarded(policy), guarded(policy), guarded(policy)
		for i, route := range []*model.Route{keeper, failing, slow} {
			path := []string{"/keep", "/fail", "/slow"}[i]
			route.Name = "ns" + path + "/0"
			route.Matches = []model.Match{{Path: model.PathMatch{Type: model.MatchPrefix, Value: path}}}
			route.Split.Arms[0].Cluster = []string{"up", "bad", "slow"}[i]
			route.Timeouts.Request = 5 * time.Second
			route.Retry = &model.Retry{Attempts: 2, Codes: []int{503}}
		}
		r := n.rig(t, snapshotOf(map[string]string{"up": upA, "bad": upB, "slow": "10.0.0.4:80"}, keeper, failing, slow), Config{})
		r.asked("/fail", "").want(503, "", "")
		if n := len(rec.asked()); n != 3 {
			t.Errorf("%d tries while there is room", n)
		}
		synctest.Wait() // its place is given back just behind the answer
		keep := r.asked("/keep", "")
		let := <-g
		r.asked("/fail", "").want(503, "", "")
		if n := len(rec.asked()); n != 4 {
			t.Errorf("%d tries in all, want one more", n)
		}
		began := time.Now()
		r.asked("/slow", "").want(504, "PT", "")
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %v", took)
		}
		let <- "x"
		keep.want(200, "", "x")
	})
}

// TestServeStale: what is kept, and to whom it is given, answer by answer.
func TestServeStale(t *testing.T) {
	const long = 70_000
	for _, test := range []struct {
		name          string
		answer        string // head of the upstream's answer, without Content-Length
		kept          string // fields of the request whose answer may be kept
		asks          string // fields of the one that may get it
		after         time.Duration
		method, given string
	}{
		{"plain", "Content-Type: text/x\nDate: Mon, 02 Jan 2006 15:04:05 GMT\n", "", "", 5 * time.Second, "", "body"},
		{"too old", "", "", "", 21 * time.Second, "", ""},
		{"aged before", "Age: 16\n", "", "", 5 * time.Second, "", ""},
		{"for HEAD", "", "", "", 5 * time.Second, "HEAD", "body"},
		{"not for POST", "", "", "", 5 * time.Second, "POST", ""},
		{"private", "Cache-Control: max-age=60, private\n", "", "", 5 * time.Second, "", ""},
		{"no-store", "Cache-Control: No-Store\n", "", "", 5 * time.Second, "", ""},
		{"no-cache", "Cache-Control: no-cache\n", "", "", 5 * time.Second, "", ""},
		{"unreadable", "Cache-Control: max-age=x\n", "", "", 5 * time.Second, "", ""},
		{"stale for a while", "Cache-Control: max-age=1\n", "", "", 5 * time.Second, "", "body"},
		{"never stale", "Cache-Control: max-age=1, must-revalidate\n", "", "", 5 * time.Second, "", ""},
		{"never stale, fresh", "Cache-Control: max-age=10, must-revalidate\n", "", "", 5 * time.Second, "", "body"},
		{"shared", "Cache-Control: s-maxage=2\n", "", "", 5 * time.Second, "", ""},
		{"of a session", "Set-Cookie: a=b\n", "", "", 5 * time.Second, "", ""},
		{"varies", "Vary: Accept-Language\n", "", "", 5 * time.Second, "", ""},
		{"varies by coding", "Vary: accept-encoding\n", "Accept-Encoding: br\n", "Accept-Encoding: br\n", 5 * time.Second, "", "body"},
		{"of another coding", "Vary: Accept-Encoding\n", "Accept-Encoding: br\n", "Accept-Encoding: gzip\n", 5 * time.Second, "", ""},
		{"whoever is authorised", "Cache-Control: public\n", "Authorization: Basic x\n", "", 5 * time.Second, "", ""},
		{"asked by a user", "", "Cookie: sid=ann\n", "", 5 * time.Second, "", ""},
		{"asked by a user with a key", "", "X-Api-Key: ann\n", "X-Api-Key: bob\n", 5 * time.Second, "", ""},
		{"asked by somebody in the words of the house", "", "X-User: ann\n", "X-User: bob\n", 5 * time.Second, "", ""},
		{"asked by a browser", "", "User-Agent: x\nAccept-Language: en\nSec-Fetch-Mode: navigate\n", "User-Agent: y\n", 5 * time.Second, "", "body"},
		{"asked by a user for all", "Cache-Control: public\n", "Cookie: sid=ann\n", "Cookie: sid=bob\n", 5 * time.Second, "", "body"},
		{"nobody's, to a user", "", "", "Cookie: sid=bob\n", 5 * time.Second, "", ""},
		{"client wants none stored", "", "Cache-Control: no-store\n", "", 5 * time.Second, "", ""},
		{"client wants none stored before", "", "", "Cache-Control: no-cache\n", 5 * time.Second, "", ""},
		{"a part", "", "Range: bytes=0-1\n", "", 5 * time.Second, "", ""},
		{"too long", "X-Long: 1\n", "", "", 5 * time.Second, "", ""},
		{"in chunks", "Transfer-Encoding: chunked\n", "", "", 5 * time.Second, "", "body"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				rec := n.recorder(t, upA, func(int, *http.Request) string {
					head := "HTTP/1.1 200 OK\n" + test.answer
					switch {
					case strings.Contains(head, "chunked"):
						return head + "\n2\nbo\n2\ndy\n0\n\n"
					case strings.Contains(head, "X-Long"):
						return fmt.Sprintf("%sContent-Length: %d\n\n%s", head, long, strings.Repeat("x", long))
					}
					return head + "Content-Length: 4\n\nbody"
				})
				g := n.gate(t, upB)
				policy := model.Overload{Limit: 2, Degrade: []model.Degrade{{At: 0.5, ServeStale: 20 * time.Second}}}
				busy, route := guarded(policy), guarded(policy)
				busy.Timeouts.Idle = time.Hour
				busy.Name, busy.Split.Arms[0].Cluster = "ns/busy/0", "busy"
				busy.Matches = []model.Match{{Path: model.PathMatch{Type: model.MatchPrefix, Value: "/busy"}}}
				r := n.rig(t, snapshotOf(map[string]string{"up": upA, "busy": upB}, busy, route), Config{})
				r.asked("/x?q", test.kept).answer("GET")
				hold := r.asked("/busy", "")
				let := <-g
				time.Sleep(test.after)
				synctest.Wait()
				method := test.method
				if method == "" {
					method = "GET"
				}
				c := r.patient().send(method + " /x?q HTTP/1.1\nHost: h\n" + test.asks + "\n")
				resp, body := c.answer(method)
				want := test.given
				if method == "HEAD" {
					want = ""
				}
				stale := resp.Header.Get("X-Weir-Flag") == "PD"
				if stale != (test.given != "") || stale && (body != want || resp.StatusCode != 200) {
					t.Errorf("flag %q, body %q; want stale %q", resp.Header.Get("X-Weir-Flag"), body, test.given)
				}
				if asked := len(rec.asked()); stale == (asked == 2) {
					t.Errorf("the upstream was asked %d times", asked)
				}
				if stale {
					seconds, _ := strconv.Atoi(resp.Header.Get("Age"))
					if aged := time.Duration(seconds) * time.Second; aged != test.after {
						t.Errorf("Age: %d", seconds)
					}
					if length := resp.Header.Get("Content-Length"); length != "4" {
						t.Errorf("Content-Length: %s", length)
					}
					if strings.Contains(test.answer, "Date") && (resp.Header.Get("Date")[:3] != "Mon" || len(resp.Header["Date"]) != 1) {
						t.Errorf("Date: %q", resp.Header["Date"])
					}
				}
				// Another query has another answer.
				resp, _ = r.asked("/x?r", test.asks).answer("GET")
				if resp.Header.Get("X-Weir-Flag") == "PD" {
					t.Error("another request's answer was given")
				}
				let <- "x"
				hold.want(200, "", "x")
			})
		})
	}
}
