package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/model"
)

// script is a set of hosts that together answer the tries of a request one after the other.
type script struct {
	mu    sync.Mutex
	steps []string // an answer; "cut": close; "mute": nothing
	hosts []string // who was asked
	got   []string // bodies
	when  []time.Time
}

func (n *network) script(t testing.TB, steps []string, hosts ...string) *script {
	s := &script{steps: steps}
	for _, host := range hosts {
		n.upstream(t, host, func(c net.Conn, r *bufio.Reader) {
			for {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				body, err := io.ReadAll(req.Body)
				if err != nil {
					return
				}
				s.mu.Lock()
				step := "HTTP/1.1 200 OK\nContent-Length: 4\n\nlast"
				if len(s.steps) > 0 {
					step, s.steps = s.steps[0], s.steps[1:]
				}
				s.hosts, s.got, s.when = append(s.hosts, host), append(s.got, string(body)), append(s.when, time.Now())
				s.mu.Unlock()
				switch step {
				case "cut":
					return
				case "mute":
					silent(c, r)
					return
				}
				fmt.Fprint(c, lines(step))
			}
		})
	}
	return s
}

func TestRetries(t *testing.T) {
	const busy = "HTTP/1.1 503 Busy\nContent-Length: 4\n\nbusy"
	retry := &model.Retry{Attempts: 2, Codes: []int{503}, Backoff: 100 * time.Millisecond}
	body := strings.Repeat("b", 60<<10)
	for _, test := range []struct {
		name     string
		steps    []string
		request  string
		retry    *model.Retry
		timeouts model.Timeouts
		status   int
		flag     string
		body     string
		tries    int
		after    time.Duration // at most; 0: at once, or as long as back-offs take
	}{
		{"code", []string{busy}, get("/"), retry, model.Timeouts{}, 200, "", "last", 2, 0},
		{"codes to the end", []string{busy, busy, busy}, get("/"), retry, model.Timeouts{}, 503, "", "busy", 3, 0},
		{"cut", []string{"cut", "cut"}, get("/"), retry, model.Timeouts{}, 200, "", "last", 3, 0},
		{"cut too often", []string{"cut", "cut", "cut"}, get("/"), retry, model.Timeouts{}, 502, "UC", "", 3, 0},
		{"malformed", []string{"HTTP/1.1 9\n\n"}, get("/"), retry, model.Timeouts{}, 200, "", "last", 2, 0},
		{"no policy", []string{busy}, get("/"), nil, model.Timeouts{}, 503, "", "busy", 1, 0},
		{"other code", []string{"HTTP/1.1 500 No\nContent-Length: 2\n\nno"}, get("/"), retry, model.Timeouts{}, 500, "", "no", 1, 0},
		{"POST with code", []string{busy}, "POST / HTTP/1.1\nHost: h\nContent-Length: 2\n\nhi", retry, model.Timeouts{}, 503, "", "busy", 1, 0},
		{"POST cut", []string{"cut"}, "POST / HTTP/1.1\nHost: h\nContent-Length: 2\n\nhi", retry, model.Timeouts{}, 502, "UC", "", 1, 0},
		{"PUT replayed", []string{"cut", busy}, "PUT / HTTP/1.1\nHost: h\nContent-Length: 61440\n\n" + body, retry, model.Timeouts{}, 200, "", "last", 3, 0},
		{"PUT too large", []string{busy}, "PUT / HTTP/1.1\nHost: h\nContent-Length: 70000\n\n" + body + strings.Repeat("b", 70000-60<<10), retry, model.Timeouts{}, 503, "", "busy", 1, 0},
		{"PUT in chunks", []string{busy}, "PUT / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\nf000\n" + body + "\n0\n\n", retry, model.Timeouts{}, 200, "", "last", 2, 0},
		{"mute, each try", []string{"mute", "mute", "mute"}, get("/"), retry, model.Timeouts{PerTry: time.Second}, 504, "UT", "", 3, 4 * time.Second},
		{"mute once", []string{"mute"}, get("/"), retry, model.Timeouts{PerTry: time.Second}, 200, "", "last", 2, 2 * time.Second},
		{"mute, all tries", []string{"mute", "mute", "mute"}, get("/"), retry, model.Timeouts{PerTry: time.Second, Request: 2500 * time.Millisecond}, 504, "PT", "", 3, 2500 * time.Millisecond},
		{"no time for another", []string{busy}, get("/"), &model.Retry{Attempts: 1, Codes: []int{503}, Backoff: time.Minute}, model.Timeouts{Request: time.Second}, 503, "", "busy", 1, time.Second},
		{"only the request's", []string{"mute"}, get("/"), nil, model.Timeouts{Request: time.Second}, 504, "PT", "", 1, time.Second},
		{"idle before the answer", []string{"mute"}, get("/"), nil, model.Timeouts{Idle: time.Second, Request: time.Minute}, 504, "UT", "", 1, time.Second},
		{"idle before the answer", []string{"mute"}, get("/"), nil, model.Timeouts{Idle: time.Second, Request: time.Minute}, 504, "UT", "", 1, time.Second},
		{"idle within the answer", []string{"HTTP/1.1 200 OK\nContent-Length: 9\n\nhalf"}, get("/"), nil, model.Timeouts{Idle: time.Second, Request: time.Minute}, 0, "UT", "", 1, time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				s := n.script(t, test.steps, upA, upB)
				route := to("up")
				route.Retry, route.Timeouts = test.retry, test.timeouts
				r := n.rig(t, snapshotOf(map[string]string{"up": upA + "," + upB}, route), Config{})
				c := r.patient()
				began := time.Now()
				c.send(test.request)
				if test.status > 0 {
					c.want(test.status, test.flag, test.body)
				} else {
					c.r.WriteTo(discard{})
				}
				took := time.Since(began)
				synctest.Wait()
				s.mu.Lock()
				defer s.mu.Unlock()
				if len(s.hosts) != test.tries {
					t.Fatalf("tries at %v, want %d", s.hosts, test.tries)
				}
				if len(s.hosts) > 1 && s.hosts[0] == s.hosts[1] {
					t.Errorf("tries at %v: the other host should come before the same one again", s.hosts)
				}
				for i := range s.got {
					if s.got[i] != s.got[0] {
						t.Errorf("try %d had a body of %d bytes, the first of %d", i+1, len(s.got[i]), len(s.got[0]))
					}
					if i > 0 && s.when[i].Sub(s.when[i-1]) < test.retry.Backoff {
						t.Errorf("try %d came after %v", i+1, s.when[i].Sub(s.when[i-1]))
					}
				}
				if limit := max(test.after, 400*time.Millisecond); took > limit {
					t.Errorf("took %v", took)
				}
				if stats, _ := r.metrics.RouteStats(route.Name); stats.Requests != 1 || stats.Retries != uint64(test.tries-1) ||
					test.flag != "" && stats.Flags[model.ParseFlag(test.flag)] != 1 {
					t.Errorf("route counted %+v", stats)
				}
				if stats := r.metrics.Cluster("up").Snapshot(); stats.Requests != uint64(test.tries) {
					t.Errorf("cluster counted %d tries", stats.Requests)
				}
			})
		})
	}
}

func TestUnreachableHostIsPassedOver(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, hello)
		route := to("up")
		route.Retry = &model.Retry{Attempts: 1}
		r := n.rig(t, snapshotOf(map[string]string{"up": upA + "," + upB}, route), Config{})
		for range 20 {
			c := r.patient().send("POST /x HTTP/1.1\nHost: h\nContent-Length: 2\n\nhi") // nothing was sent: any method may
			c.want(200, "", "/x")
		}
	})
}

func TestRequestTimeoutCountsFromTheEndOfTheHead(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.script(t, nil, upA)
		route := to("up")
		route.Timeouts.Request = time.Second
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, route), Config{})
		c := r.patient().send("GET / HTTP/1.1\n")
		time.Sleep(2 * time.Second) // within the time for a head
		c.send("Host: h\n\n").want(200, "", "last")
	})
}

// TestRetriesByClass has a TrafficPolicy's retries, which name what they are for.
func TestRetriesByClass(t *testing.T) {
	const busy = "HTTP/1.1 503 Busy\nContent-Length: 4\n\nbusy"
	policy := func(on ...model.RetryOn) *model.Retry {
		return &model.Retry{Attempts: 1, On: append([]model.RetryOn{}, on...), Codes: []int{503}, Methods: []string{"GET"}, BackoffBase: 50 * time.Millisecond, BackoffMax: 2 * time.Second}
	}
	all := policy(model.RetryConnectFailure, model.RetryReset, model.RetryPerTryTimeout)
	put := strings.Replace(get("/"), "GET", "PUT", 1)
	for _, test := range []struct {
		name    string
		step    string
		request string
		retry   *model.Retry
		status  int
		tries   int
		took    time.Duration // at least
	}{
		{"reset", "cut", get("/"), policy(model.RetryReset), 200, 2, 0},
		{"reset is not named", "cut", get("/"), policy(model.RetryConnectFailure, model.RetryPerTryTimeout), 502, 1, 0},
		{"the method is not named", "cut", put, all, 502, 1, 0},
		{"malformed is no reset", "HTTP/1.1 9\n\n", get("/"), all, 502, 1, 0},
		{"timeout", "mute", get("/"), policy(model.RetryPerTryTimeout), 200, 2, time.Second},
		{"timeout is not named", "mute", get("/"), policy(model.RetryReset), 504, 1, time.Second},
		{"code", busy, get("/"), policy(), 200, 2, 0},
		{"code, but not the method", busy, put, policy(), 503, 1, 0},
		{"code, and when", strings.Replace(busy, "\n", "\nRetry-After: 2\n", 1), get("/"), policy(), 200, 2, 2 * time.Second},
		{"code, and too late", strings.Replace(busy, "\n", "\nRetry-After: 3\n", 1), get("/"), policy(), 503, 1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				s := n.script(t, []string{test.step}, upA, upB)
				route := to("up")
				route.Retry, route.Timeouts.PerTry = test.retry, time.Second
				r := n.rig(t, snapshotOf(map[string]string{"up": upA + "," + upB}, route), Config{})
				began := time.Now()
				resp, _ := r.patient().send(test.request).answer("GET")
				took := time.Since(began)
				synctest.Wait()
				s.mu.Lock()
				defer s.mu.Unlock()
				if resp.StatusCode != test.status || len(s.hosts) != test.tries || took < test.took || took > test.took+50*time.Millisecond {
					t.Errorf("%d after %d tries and %v", resp.StatusCode, len(s.hosts), took)
				}
			})
		})
	}
}

// TestConnectFailureAlone: a host that cannot be reached is passed over for any method, if that
// is named.
func TestConnectFailureAlone(t *testing.T) {
	for class, want := range map[model.RetryOn]int{model.RetryConnectFailure: 20, model.RetryReset: 0} {
		inBubble(t, func(t *testing.T, n *network) {
			n.upstream(t, upA, hello)
			route := to("up")
			route.Retry = &model.Retry{Attempts: 1, On: []model.RetryOn{class}, Methods: []string{"GET"}}
			r := n.rig(t, snapshotOf(map[string]string{"up": upA + "," + upB}, route), Config{})
			served := 0
			for range 20 {
				resp, _ := r.patient().send("POST /x HTTP/1.1\nHost: h\nContent-Length: 2\n\nhi").answer("POST")
				if resp.StatusCode == http.StatusOK {
					served++
				}
			}
			if want > 0 && served != want || want == 0 && served == 20 {
				t.Errorf("%s: %d of 20", class, served)
			}
		})
	}
}

// TestBackOffGrows: any time up to a bound, which doubles up to the highest.
func TestBackOffGrows(t *testing.T) {
	x := &exchange{p: &Proxy{cfg: Config{Random: func() uint64 { return 1<<64 - 1 }}}, route: &route{}, up: new(upstream)}
	x.route.retry = compileRetry(&model.Retry{On: []model.RetryOn{}, BackoffBase: 10 * time.Millisecond, BackoffMax: 50 * time.Millisecond})
	for retries, bound := range []time.Duration{10, 20, 40, 50, 50, 50} {
		bound *= time.Millisecond
		x.result.retries = retries
		for _, random := range []uint64{0, uint64(bound), 12345678, 1<<64 - 1} {
			x.p.cfg.Random = func() uint64 { return random }
			if d := x.pause(); d < 0 || d > bound || random == uint64(bound) && d != bound || random == 0 && d != 0 {
				t.Errorf("retry %d waits %v with %d, want up to %v", retries+1, d, random, bound)
			}
		}
	}
	x.result.retries = 1000
	if d := x.pause(); d < 0 || d > 50*time.Millisecond {
		t.Errorf("the thousandth retry waits %v", d)
	}
	const long = 99_999 * time.Hour
	x.route.retry = compileRetry(&model.Retry{On: []model.RetryOn{}, BackoffBase: long, BackoffMax: long})
	x.p.cfg.Random = func() uint64 { return uint64(long) }
	x.result.retries = 9
	if d := x.pause(); d != long {
		t.Errorf("the tenth retry waits %v, want %v", d, long)
	}
}
