package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// marked is hosts that remember what each try said about itself, and answer as the script does.
type marked struct {
	mu    sync.Mutex
	heads []http.Header
}

// marked serves at hosts: each try is answered by the next step, after that step's wait; see script.
func (n *network) marked(t testing.TB, steps []string, wait time.Duration, hosts ...string) *marked {
	m := &marked{}
	for _, host := range hosts {
		n.upstream(t, host, func(c net.Conn, r *bufio.Reader) {
			for {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				var body bytes.Buffer
				if _, err := body.ReadFrom(req.Body); err != nil {
					return
				}
				m.mu.Lock()
				step := "HTTP/1.1 200 OK\nContent-Length: 4\n\nlast"
				if len(m.heads) < len(steps) {
					step = steps[len(m.heads)]
				}
				m.heads = append(m.heads, req.Header)
				m.mu.Unlock()
				if step == "mute" {
					silent(c, r)
					return
				}
				time.Sleep(wait)
				fmt.Fprint(c, lines(step))
			}
		})
	}
	return m
}

// sent returns what the tries said in a field, in their order; - for none.
func (m *marked) sent(field string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []string
	for _, h := range m.heads {
		values := h.Values(field)
		if len(values) == 0 {
			values = []string{"-"}
		}
		list = append(list, strings.Join(values, "+"))
	}
	return strings.Join(list, " ")
}

// trusts makes callers of a snapshot trusted.
func trusts(s *model.Snapshot) *model.Snapshot {
	s.Listeners[0].Client.TrustHops = 1
	return s
}

func TestTriesSayTheirTime(t *testing.T) {
	const busy = "HTTP/1.1 503 Busy\nContent-Length: 4\n\nbusy"
	twice := &model.Retry{Attempts: 2, Codes: []int{503}, Backoff: 100 * time.Millisecond}
	for _, test := range []struct {
		name      string
		steps     []string
		wait      time.Duration
		fields    string
		untrusted bool
		retry     *model.Retry
		timeouts  model.Timeouts
		times     string
		tries     string
		status    int
		flag      string
	}{
		{"no time at all", nil, 0, "", false, nil, model.Timeouts{}, "-", "-", 200, ""},
		{"the request's", nil, 0, "", false, nil, model.Timeouts{Request: 2 * time.Second}, "2000", "-", 200, ""},
		{"the shorter of the try's", nil, 0, "", false, nil, model.Timeouts{Request: 2 * time.Second, PerTry: 700 * time.Millisecond}, "700", "-", 200, ""},
		{"of the caller", nil, 0, "X-Weir-Timeout-Ms: 300\n", false, nil, model.Timeouts{Request: 2 * time.Second}, "300", "-", 200, ""},
		{"the caller's alone", nil, 0, "X-Weir-Timeout-Ms: 300\n", false, nil, model.Timeouts{}, "300", "-", 200, ""},
		{"a longer one of the caller", nil, 0, "X-Weir-Timeout-Ms: 3000\n", false, nil, model.Timeouts{Request: 2 * time.Second}, "2000", "-", 200, ""},
		{"the shortest of several", nil, 0, "X-Weir-Timeout-Ms: 400\nx-weir-timeout-ms: 200\nX-Weir-Timeout-Ms: 300\n", false, nil, model.Timeouts{}, "200", "-", 200, ""},
		{"of anybody", nil, 0, "X-Weir-Timeout-Ms: 300\n", true, nil, model.Timeouts{Request: 2 * time.Second}, "2000", "-", 200, ""},
		{"of anybody, no time", nil, 0, "X-Weir-Timeout-Ms: 0\nX-Weir-Attempt: 3\n", true, nil, model.Timeouts{}, "-", "-", 200, ""},
		{"malformed", nil, 0, "X-Weir-Timeout-Ms: soon\n", false, nil, model.Timeouts{}, "-", "-", 200, ""},
		{"shrinks", []string{busy, busy}, 200 * time.Millisecond, "", false, twice, model.Timeouts{Request: time.Second}, "1000 700 400", "1 2 3", 200, ""},
		{"shrinks below the try's", []string{busy, busy}, 200 * time.Millisecond, "X-Weir-Timeout-Ms: 850\n", false, twice, model.Timeouts{Request: time.Second, PerTry: 500 * time.Millisecond}, "500 500 250", "1 2 3", 200, ""},
		{"passes", []string{"mute"}, 0, "X-Weir-Timeout-Ms: 300\n", false, twice, model.Timeouts{Request: time.Second}, "300", "1", 504, "PT"},
		{"has passed", nil, 0, "X-Weir-Timeout-Ms: 0\n", false, nil, model.Timeouts{Request: time.Second}, "", "", 504, "PT"},
		{"no time for another", []string{busy}, 250 * time.Millisecond, "X-Weir-Timeout-Ms: 340\n", false, twice, model.Timeouts{}, "340", "1", 503, ""},
		{"in place of the caller's", nil, 0, "X-Weir-Attempt: 7\n", false, twice, model.Timeouts{}, "-", "1", 200, ""},
		{"the caller's, of a route without", nil, 0, "X-Weir-Attempt: 7\n", false, nil, model.Timeouts{}, "-", "7", 200, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				m := n.marked(t, test.steps, test.wait, upA, upB)
				route := to("up")
				route.Retry, route.Timeouts = test.retry, test.timeouts
				s := snapshotOf(map[string]string{"up": upA + "," + upB}, route)
				if !test.untrusted {
					trusts(s)
				}
				// Jitter would make times differ: it is nothing.
				r := n.rig(t, s, Config{Random: func() uint64 { return 0 }})
				r.patient().send("GET / HTTP/1.1\nHost: h\n"+test.fields+"\n").want(test.status, test.flag, "")
				synctest.Wait()
				if got := m.sent("X-Weir-Timeout-Ms"); got != test.times {
					t.Errorf("tries had %q, want %q", got, test.times)
				}
				if got := m.sent("X-Weir-Attempt"); got != test.tries {
					t.Errorf("tries were %q, want %q", got, test.tries)
				}
				want := uint64(0)
				if test.name == "has passed" {
					want = 1
				}
				if got := r.metrics.Protection(route.Name, telemetry.ProtectDeadline).Acted(); got != want {
					t.Errorf("%d refused for their deadlines, want %d", got, want)
				}
			})
		})
	}
}

// TestTimeShrinksHopByHop has a request go through two proxies: the second one's time is what
// the first one's try has left, and its host knows.
func TestTimeShrinksHopByHop(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		m := n.marked(t, []string{"mute"}, 0, upB)
		far, near := to("far"), to("near")
		far.Timeouts.Request, near.Timeouts.Request = time.Minute, 500*time.Millisecond
		far.Retry = &model.Retry{Attempts: 3}
		behind := trusts(snapshotOf(map[string]string{"far": upB}, far))
		behind.Listeners[0].Address = netip.MustParseAddrPort("127.0.0.1:8081")
		second := n.rig(t, behind, Config{})
		first := n.rig(t, snapshotOf(map[string]string{"near": second.addr}, near), Config{})
		began := time.Now()
		first.patient().send(get("/")).want(504, "PT", "")
		if took := time.Since(began); took > 510*time.Millisecond {
			t.Errorf("took %v", took)
		}
		synctest.Wait()
		if got := m.sent("X-Weir-Timeout-Ms"); got != "500" {
			t.Errorf("the last host was told %q", got)
		}
		for _, r := range []*rig{first, second} {
			for _, h := range r.proxy.Hosts() {
				if r == second && h.Failures > 0 {
					t.Errorf("%v is blamed for its caller's deadline", h.Address)
				}
			}
		}
	})
}

// TestOnlyOneTierRetries: who is told that its caller retries leaves that to it, but for what
// no host has acted upon.
func TestOnlyOneTierRetries(t *testing.T) {
	const busy = "HTTP/1.1 503 Busy\nContent-Length: 4\n\nbusy"
	for _, test := range []struct {
		name   string
		field  string
		nested bool
		hosts  string
		tries  int
		left   uint64
		status int
		flag   string
	}{
		{"the first tier", "", false, upA, 3, 0, 503, ""},
		{"the second", "X-Weir-Attempt: 1\n", false, upA, 1, 1, 503, ""},
		{"the second, which may", "X-Weir-Attempt: 1\n", true, upA, 3, 0, 503, ""},
		{"nothing was acted upon", "X-Weir-Attempt: 1\n", false, "10.0.0.9:80", 0, 0, 503, "UF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				m := n.marked(t, []string{busy, busy, busy}, 0, upA)
				route := to("up")
				route.Retry = &model.Retry{Attempts: 2, Codes: []int{503}, Nested: test.nested}
				r := n.rig(t, trusts(snapshotOf(map[string]string{"up": test.hosts}, route)), Config{})
				r.patient().send("GET / HTTP/1.1\nHost: h\n"+test.field+"\n").want(test.status, test.flag, "")
				synctest.Wait()
				if len(m.heads) != test.tries {
					t.Errorf("%d tries, want %d", len(m.heads), test.tries)
				}
				if got := r.metrics.Protection(route.Name, telemetry.ProtectNestedRetry).Acted(); got != test.left {
					t.Errorf("%d retries were left to the caller, want %d", got, test.left)
				}
				if stats, _ := r.metrics.RouteStats(route.Name); test.tries == 0 && stats.Retries != 2 {
					t.Errorf("%d retries of what nobody has acted upon", stats.Retries)
				}
			})
		})
	}
}

// TestTierDoesNotRepeatAReset: a reset may have been acted upon.
func TestTierDoesNotRepeatAReset(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		s := n.script(t, []string{"cut"}, upA, upB)
		route := to("up")
		route.Retry = &model.Retry{Attempts: 2}
		r := n.rig(t, trusts(snapshotOf(map[string]string{"up": upA + "," + upB}, route)), Config{})
		r.patient().send("GET / HTTP/1.1\nHost: h\nX-Weir-Attempt: 2\n\n").want(502, "UC", "")
		synctest.Wait()
		if len(s.hosts) != 1 {
			t.Errorf("tries at %v", s.hosts)
		}
	})
}

// TestTimesOfRequests has one request for each of a route's times, and for the listener's, that
// is over, and the flag that says so.
func TestTimesOfRequests(t *testing.T) {
	half := "HTTP/1.1 200 OK\nContent-Length: 9\n\nhalf"
	body := "POST / HTTP/1.1\nHost: h\nContent-Length: 9\n\nhalf"
	for _, test := range []struct {
		name     string
		step     string
		request  string
		timeouts model.Timeouts
		host     string
		flag     string
		status   int // 0: the answer breaks off
		took     time.Duration
	}{
		{"request, before the answer", "mute", get("/"), model.Timeouts{Request: time.Second}, upA, "PT", 504, time.Second},
		{"request, within the answer", half, get("/"), model.Timeouts{Request: time.Second}, upA, "PT", 0, time.Second},
		{"perTry, before the answer", "mute", get("/"), model.Timeouts{Request: 3 * time.Second, PerTry: time.Second}, upA, "UT", 504, time.Second},
		{"perTry, within the answer", half, get("/"), model.Timeouts{Request: 3 * time.Second, PerTry: time.Second}, upA, "UT", 0, time.Second},
		{"connect", "", get("/"), model.Timeouts{Request: 30 * time.Second}, "10.9.9.9:80", "UF", 503, time.Second},
		{"connect, within the request's", "", get("/"), model.Timeouts{Request: 300 * time.Millisecond}, "10.9.9.9:80", "PT", 504, 300 * time.Millisecond},
		{"idle, before the answer", "mute", get("/"), model.Timeouts{Idle: 2 * time.Second}, upA, "UT", 504, 2 * time.Second},
		{"idle, within the answer", half, get("/"), model.Timeouts{Idle: 2 * time.Second}, upA, "UT", 0, 2 * time.Second},
		{"head", "", "GET / HTTP/1.1\nHo", model.Timeouts{}, upA, "DPE", 408, 5 * time.Second},
		{"body progress", "mute", body, model.Timeouts{}, upA, "DPE", 408, 5 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				n.script(t, []string{test.step}, upA)
				hung, err := n.listen(t.Context(), netip.MustParseAddrPort("10.9.9.9:80")) // nobody accepts there
				if err != nil {
					t.Fatal(err)
				}
				defer hung.Close()
				route := to("up")
				route.Timeouts = test.timeouts
				r := n.rig(t, snapshotOf(map[string]string{"up": test.host}, route), Config{})
				c := r.patient()
				began := time.Now()
				c.send(test.request)
				if test.status > 0 {
					c.want(test.status, test.flag, "")
				} else {
					_, _ = c.r.WriteTo(discard{})
				}
				if took := time.Since(began); took < test.took || took > test.took+300*time.Millisecond {
					t.Errorf("took %v, want %v", took, test.took)
				}
				synctest.Wait()
				name := route.Name
				if test.name == "head" {
					name = telemetry.Unmatched
				}
				if stats, _ := r.metrics.RouteStats(name); stats.Flags[model.ParseFlag(test.flag)] != 1 {
					t.Errorf("counted %+v", stats)
				}
			})
		})
	}
}

// TestIdempotencyKeys: a client that gives its request a key allows that it is sent again,
// whatever its method.
func TestIdempotencyKeys(t *testing.T) {
	for fields, tries := range map[string]int{"": 1, "Idempotency-Key: 1\n": 2, "idempotency-key: 1\n": 2, "Idempotency-Key:\n": 1, "Idempotency: 1\n": 1} {
		inBubble(t, func(t *testing.T, n *network) {
			s := n.script(t, []string{"cut"}, upA, upB)
			route := to("up")
			route.Retry = &model.Retry{Attempts: 1, IdempotencyHeader: "idempotency-key"}
			r := n.rig(t, snapshotOf(map[string]string{"up": upA + "," + upB}, route), Config{})
			r.patient().send("POST / HTTP/1.1\nHost: h\n" + fields + "Content-Length: 2\n\nhi").answer("POST")
			synctest.Wait()
			if len(s.hosts) != tries {
				t.Errorf("%q: %d tries, want %d", fields, len(s.hosts), tries)
			}
			if slices.ContainsFunc(s.got, func(body string) bool { return body != "hi" }) {
				t.Errorf("%q: bodies %q", fields, s.got)
			}
		})
	}
}

// TestBodyReplay: a body is sent again up to the route's bound, and one byte more is not. What
// no host has got is sent again however long it is.
func TestBodyReplay(t *testing.T) {
	const busy = "HTTP/1.1 503 Busy\nContent-Length: 4\n\nbusy"
	for _, test := range []struct {
		bound, length int
		chunked       bool
		tries         int
	}{
		{10, 10, false, 2},
		{10, 11, false, 1},
		{100 << 10, 100 << 10, false, 2},
		{100 << 10, 100<<10 + 1, false, 1},
		{20, 9, true, 2}, // with its framing
		{20, 21, true, 1},
		{1, 0, false, 2},
	} {
		inBubble(t, func(t *testing.T, n *network) {
			s := n.script(t, []string{busy}, upA, upB)
			route := to("up")
			route.Retry = &model.Retry{Attempts: 1, Codes: []int{503}, BodyReplay: int64(test.bound)}
			r := n.rig(t, snapshotOf(map[string]string{"up": upA + "," + upB}, route), Config{})
			body := strings.Repeat("b", test.length)
			request := "PUT / HTTP/1.1\nHost: h\nContent-Length: " + strconv.Itoa(test.length) + "\n\n" + body
			if test.chunked {
				request = "PUT / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n" + strconv.FormatInt(int64(test.length), 16) + "\n" + body + "\n0\n\n"
			}
			r.patient().send(request).answer("PUT")
			synctest.Wait()
			if len(s.hosts) != test.tries {
				t.Errorf("%+v: %d tries", test, len(s.hosts))
			}
			if slices.ContainsFunc(s.got, func(got string) bool { return got != body }) {
				t.Errorf("%+v: a body was changed", test)
			}
		})
	}
}

func TestUnsentBodyNeedsNoReplay(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, hello)
		route := to("up")
		route.Retry = &model.Retry{Attempts: 1, BodyReplay: 1}
		r := n.rig(t, snapshotOf(map[string]string{"up": upA + "," + upB}, route), Config{})
		for range 10 { // half of them at the host that is not there first
			r.patient().send("PUT /x HTTP/1.1\nHost: h\nContent-Length: 5\n\nhello").want(200, "", "/x")
		}
	})
}

// TestRetryAfterDates: a host may say when to ask again by the clock.
func TestRetryAfterDates(t *testing.T) {
	for wait, tries := range map[time.Duration]int{2 * time.Second: 2, 4 * time.Second: 1} {
		inBubble(t, func(t *testing.T, n *network) {
			at := time.Now().Add(wait).UTC().Format(http.TimeFormat)
			s := n.script(t, []string{"HTTP/1.1 503 Busy\nRetry-After: " + at + "\nContent-Length: 4\n\nbusy"}, upA, upB)
			route := to("up")
			route.Retry = &model.Retry{Attempts: 1, On: []model.RetryOn{}, Codes: []int{503}, BackoffMax: 3 * time.Second}
			r := n.rig(t, snapshotOf(map[string]string{"up": upA + "," + upB}, route), Config{})
			r.patient().send(get("/")).answer("GET")
			synctest.Wait()
			if len(s.when) != tries || tries > 1 && s.when[1].Sub(s.when[0]) != wait {
				t.Errorf("told to wait %v: tries at %v", wait, s.when)
			}
		})
	}
}

// TestTimeInLineCounts: a host is not told of time that the try has spent waiting for a
// connection, though it gets one that was there before.
func TestTimeInLineCounts(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		m := n.marked(t, nil, 300*time.Millisecond, upA)
		route := to("up")
		route.Timeouts.Request = time.Second
		s := snapshotOf(map[string]string{"up": upA}, route)
		s.Clusters[0].Breaker = model.Breaker{MaxConnections: 1, MaxPending: 1, Mode: model.ModeEnforce}
		r := n.rig(t, s, Config{})
		first := r.patient().send(get("/"))
		synctest.Wait()
		second := r.patient().send(get("/"))
		first.want(200, "", "last")
		second.want(200, "", "last")
		if got := m.sent("X-Weir-Timeout-Ms"); got != "1000 700" {
			t.Errorf("tries had %q", got)
		}
	})
}

// TestHostsThatWereToldTheTime: who answers 504 when the time is over that it was told does what
// we would do. It is no failure of its own if the time was the caller's, and a timeout of the
// try where that has one.
func TestHostsThatWereToldTheTime(t *testing.T) {
	const late = "HTTP/1.1 504 Late\nContent-Length: 4\n\nlate"
	for _, test := range []struct {
		after  time.Duration
		fields string
		perTry time.Duration
		status int
		tries  int
		failed uint64
	}{
		{299500 * time.Microsecond, "X-Weir-Timeout-Ms: 300\n", 0, 504, 1, 0},
		{200 * time.Millisecond, "X-Weir-Timeout-Ms: 300\n", 0, 504, 1, 1},
		{299500 * time.Microsecond, "", 300 * time.Millisecond, 200, 2, 1},
		{200 * time.Millisecond, "", 300 * time.Millisecond, 504, 1, 1},
	} {
		inBubble(t, func(t *testing.T, n *network) {
			m := n.racer(t, []lap{{test.after, late}}, upA, upB)
			route := to("up")
			route.Timeouts = model.Timeouts{Request: 10 * time.Second, PerTry: test.perTry}
			route.Retry = &model.Retry{Attempts: 1, On: []model.RetryOn{model.RetryPerTryTimeout}}
			r := n.rig(t, trusts(snapshotOf(map[string]string{"up": upA + "," + upB}, route)), Config{})
			r.patient().send("GET / HTTP/1.1\nHost: h\n"+test.fields+"\n").want(test.status, "", "")
			synctest.Wait()
			var failed uint64
			for _, h := range r.proxy.Hosts() {
				failed += h.Failures
			}
			if len(m.came) != test.tries || failed != test.failed {
				t.Errorf("%+v: %d tries, %d failures", test, len(m.came), failed)
			}
		})
	}
}
