package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weir.dev/weir/model"
)

// tenHosts are what outliers are found among.
var tenHosts = func() (hosts []string) {
	for i := range 10 {
		hosts = append(hosts, fmt.Sprintf("10.0.0.%d:80", i+1))
	}
	return hosts
}()

// answers serves requests with a status, each after a wait.
func answers(status int, wait time.Duration) func(net.Conn, *bufio.Reader) {
	return func(c net.Conn, r *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			time.Sleep(wait)
			if _, err := fmt.Fprintf(c, "HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n", status); err != nil {
				return
			}
		}
	}
}

// answered is a request as its user sees it.
type answered struct {
	at   time.Duration // from the first one on
	took time.Duration
	ok   bool
}

// use has twenty users send a request every tenth of a second, for so long.
func (r *rig) use(lasts time.Duration) []answered {
	const users, every = 20, 100 * time.Millisecond
	began := time.Now()
	all := make([][]answered, users)
	var work sync.WaitGroup
	for u := range users {
		work.Go(func() {
			time.Sleep(every * time.Duration(u) / users)
			c := r.patient()
			for {
				sent := time.Now()
				if sent.Sub(began) >= lasts {
					return
				}
				resp, _ := c.send(get("/")).answer("GET")
				took := time.Since(sent)
				all[u] = append(all[u], answered{sent.Sub(began), took, resp.StatusCode == 200})
				time.Sleep(every - took%every)
			}
		})
	}
	work.Wait()
	return slices.Concat(all...)
}

// ejecting is a cluster of ten hosts that ejects outliers.
func ejecting() *model.Snapshot {
	s := snapshotOf(map[string]string{"up": strings.Join(tenHosts, ",")}, to("up"))
	s.Clusters[0].Outlier = model.Outlier{
		Consecutive5xx: 5, ConsecutiveLocal: 5, SlowerThanMedian: 3,
		Interval: 10 * time.Second, MinRequests: 10, BaseEjection: 30 * time.Second, MaxEjection: 5 * time.Minute,
		MaxEjected: 0.5, Mode: model.ModeEnforce,
	}
	s.Clusters[0].Balancing.PanicThreshold = 0.5
	return s
}

// out returns whether the first host is ejected, and by what.
func (r *rig) out() (bool, string) {
	for _, h := range r.proxy.Hosts() {
		if h.Address.String() == tenHosts[0] {
			return h.Ejected, h.EjectedBy
		}
	}
	return false, ""
}

// TestOneDeadOfTen: users see as many errors as it takes to eject the host, and no other until
// it returns.
func TestOneDeadOfTen(t *testing.T) {
	for name, first := range map[string]func(net.Conn, *bufio.Reader){
		"consecutiveLocal": nil, // nobody listens
		"consecutive5xx":   answers(503, 0),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				for _, host := range tenHosts[1:] {
					n.upstream(t, host, answers(200, 10*time.Millisecond))
				}
				if first != nil {
					n.upstream(t, tenHosts[0], first)
				}
				r := n.rig(t, ejecting(), Config{})
				failed, last := 0, time.Duration(0)
				for _, a := range r.use(25 * time.Second) {
					if !a.ok {
						failed, last = failed+1, max(last, a.at)
					}
				}
				if ejected, by := r.out(); !ejected || by != name || failed < 5 || failed > 6 || last > 20*time.Second {
					t.Errorf("ejected: %v by %q; %d requests failed, the last after %v", ejected, by, failed, last)
				}
			})
		})
	}
}

// TestOneSlowOfTen: a host that answers with 200 after 400 ms costs users' 99th percentile less
// than 1.3 times, from the first ejection on, its returns included.
func TestOneSlowOfTen(t *testing.T) {
	inFull(t)
	p99 := func(wait time.Duration, outlier bool) time.Duration {
		var d time.Duration
		inBubble(t, func(t *testing.T, n *network) {
			n.upstream(t, tenHosts[0], answers(200, wait))
			for _, host := range tenHosts[1:] {
				n.upstream(t, host, answers(200, 10*time.Millisecond))
			}
			s := ejecting()
			if !outlier {
				s.Clusters[0].Outlier = model.Outlier{}
			}
			r := n.rig(t, s, Config{})
			r.use(13 * time.Second)
			if ejected, by := r.out(); ejected != (outlier && by == "slowerThanMedian") {
				t.Errorf("ejected: %v by %q", ejected, by)
			}
			var took []time.Duration
			for _, a := range r.use(time.Minute) {
				took = append(took, a.took)
			}
			slices.Sort(took)
			d = took[len(took)*99/100]
		})
		return d
	}
	even, without, with := p99(10*time.Millisecond, false), p99(400*time.Millisecond, false), p99(400*time.Millisecond, true)
	if float64(with) > 1.3*float64(even) {
		t.Errorf("99 %% are answered in %v, and without the slow host in %v", with, even)
	}
	if without < 2*even {
		t.Errorf("99 %% are answered in %v without ejection: the test shows nothing", without)
	}
}

// TestAllFailOfTen: where all hosts fail nobody is the odd one, and requests still go to all of them.
func TestAllFailOfTen(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		for _, host := range tenHosts {
			n.upstream(t, host, answers(500, 10*time.Millisecond))
		}
		all := ejecting()
		balancing(all, model.RoundRobin) // so that each has failed when the first one is judged
		r := n.rig(t, all, Config{})
		r.use(20 * time.Second)
		for _, h := range r.proxy.Hosts() {
			if h.Ejections > 0 || h.Failures < 100 {
				t.Errorf("%v failed %d times, and was ejected %d times", h.Address, h.Failures, h.Ejections)
			}
		}
		r.patient().send(get("/")).want(500, "", "")
	})
}

// TestSlowClientsEjectNobody: whose request or answer takes too long because of the client is no
// outlier; who leaves a client waiting is.
func TestSlowClientsEjectNobody(t *testing.T) {
	large := func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", 1<<20, strings.Repeat("x", 1<<20))
	}
	stuck := func(_ net.Conn, r *bufio.Reader) {
		if req, err := http.ReadRequest(r); err == nil {
			_, _ = io.CopyN(io.Discard, req.Body, 200<<10)
		}
		time.Sleep(2 * time.Second)
	}
	for name, test := range map[string]struct {
		host    func(net.Conn, *bufio.Reader)
		request string
		retry   *model.Retry
		ejected bool
	}{
		"slow to send":     {hello, "PUT / HTTP/1.1\nHost: h\nContent-Length: 9\n\nx", nil, false},
		"slow, per try":    {hello, "PUT / HTTP/1.1\nHost: h\nContent-Length: 9\n\nx", &model.Retry{Attempts: 2, On: []model.RetryOn{model.RetryPerTryTimeout}}, false},
		"slow to take":     {large, get("/"), nil, false},
		"a host hangs":     {silent, get("/"), nil, true},
		"and has it all":   {silent, "PUT / HTTP/1.1\nHost: h\nContent-Length: 1\n\nx", nil, true},
		"it reads no more": {stuck, "PUT / HTTP/1.1\nHost: h\nContent-Length: 9000000\n\n" + strings.Repeat("x", 1<<20), nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				n.upstream(t, upA, test.host)
				if test.ejected { // one that hangs beside one that serves
					n.upstream(t, upB, hello)
				} else {
					n.upstream(t, upB, test.host)
				}
				route := to("up")
				route.Timeouts.Request = time.Second
				if route.Retry = test.retry; test.retry != nil {
					route.Timeouts.PerTry = 300 * time.Millisecond
				}
				s := snapshotOf(map[string]string{"up": upA + "," + upB}, route)
				s.Clusters[0].Outlier = ejecting().Clusters[0].Outlier
				s.Clusters[0].Outlier.ConsecutiveLocal = 2
				r := n.rig(t, s, Config{})
				for range 20 {
					c := r.patient()
					go func() { _, _ = c.Write([]byte(lines(test.request))) }()
					time.Sleep(2 * time.Second)
					_, _ = c.r.WriteTo(discard{})
					c.Close()
				}
				ejections, failures := uint64(0), uint64(0)
				for _, h := range r.proxy.Hosts() {
					ejections, failures = ejections+h.Ejections, failures+h.Failures
				}
				if (ejections > 0) != test.ejected || (failures > 0) != test.ejected {
					t.Errorf("%d ejections, %d failures, want any: %v", ejections, failures, test.ejected)
				}
			})
		})
	}
}
