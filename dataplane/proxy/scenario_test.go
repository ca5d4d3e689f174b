package proxy

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir.dev/weir/model"
)

// inFull skips what differs by chance or by figures alone from what is played beside it: the race detector makes a
// play ten times as long and would find nothing new. `make test` plays everything without it as well.
func inFull(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("is played without the race detector")
	}
}

// A stage is a whole proxy in virtual time, the hosts behind it, and what is counted at both ends
// in each second.
type stage struct {
	*rig
	began   time.Time
	hosts   []*actor
	seconds [60]second
	first   atomic.Pointer[func(net.Conn, *bufio.Reader)] // what the first host does instead; nil: its work
}

// second is what happened in one second.
type second struct {
	tries atomic.Int64 // at hosts
	first atomic.Int64 // of them, not marked as a retry
	good  atomic.Int64 // requests that their callers had answered in time
	bad   atomic.Int64
}

func (s *stage) now() *second {
	return &s.seconds[min(time.Since(s.began)/time.Second, time.Duration(len(s.seconds)-1))]
}

// sum adds up what seconds counted, from one up to another.
func (s *stage) sum(from, until int, of func(*second) *atomic.Int64) (n float64) {
	for i := from; i < until; i++ {
		n += float64(of(&s.seconds[i]).Load())
	}
	return n
}

func allTries(s *second) *atomic.Int64   { return &s.tries }
func firstTries(s *second) *atomic.Int64 { return &s.first }
func served(s *second) *atomic.Int64     { return &s.good }
func unserved(s *second) *atomic.Int64   { return &s.bad }

// curve is what each second counted, for logs.
func (s *stage) curve(until int, of func(*second) *atomic.Int64) string {
	var b strings.Builder
	for i := range until {
		fmt.Fprint(&b, of(&s.seconds[i]).Load(), " ")
	}
	return b.String()
}

// An actor is a host that works on so many requests at once, 50 to 150 ms on each. The others wait
// in a line without end, first come, first served. It does not notice that somebody has left: it
// works on that request as on any other.
type actor struct {
	mu      sync.Mutex
	workers int
	busy    int
	line    []chan struct{}
	slower  float64
}

// set changes what the host can do.
func (a *actor) set(workers int, slower float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.workers, a.slower = workers, slower
	a.next()
}

// next lets those work who may. The lock is held.
func (a *actor) next() {
	for a.busy < a.workers && len(a.line) > 0 {
		a.busy++
		close(a.line[0])
		a.line = a.line[1:]
	}
}

// work returns when a request's turn has come and its work is done.
func (a *actor) work() {
	turn := make(chan struct{})
	a.mu.Lock()
	a.line = append(a.line, turn)
	a.next()
	a.mu.Unlock()
	<-turn
	a.mu.Lock()
	takes := time.Duration(float64(50+rand.IntN(101)) * a.slower * float64(time.Millisecond))
	a.mu.Unlock()
	time.Sleep(takes)
	a.mu.Lock()
	a.busy--
	a.next()
	a.mu.Unlock()
}

func (s *stage) serve(a *actor) func(net.Conn, *bufio.Reader) {
	return func(c net.Conn, r *bufio.Reader) {
		if instead := s.first.Load(); instead != nil && a == s.hosts[0] {
			(*instead)(c, r)
			return
		}
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			s.now().tries.Add(1)
			if attempt := req.Header.Get("X-Weir-Attempt"); attempt == "" || attempt == "1" {
				s.now().first.Add(1)
			}
			a.work()
			if _, err := fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); err != nil {
				return
			}
		}
	}
}

// newStage starts a proxy before ten hosts with ten workers each: 1,000 requests a second.
func newStage(t *testing.T, n *network, snap *model.Snapshot) *stage {
	s := &stage{began: time.Now()}
	for _, host := range tenHosts {
		a := &actor{workers: 10, slower: 1}
		s.hosts = append(s.hosts, a)
		n.upstream(t, host, s.serve(a))
	}
	s.rig = n.rig(t, snap, Config{})
	return s
}

// all changes what every host can do.
func (s *stage) all(workers int, slower float64) {
	for _, a := range s.hosts {
		a.set(workers, slower)
	}
}

// recommended is the recommended policy on a route to ten hosts: what package translate makes
// of it, with everything left to the defaults that has one. It keeps the file up to date.
func recommended(t *testing.T) *model.Snapshot {
	t.Helper()
	var policy struct {
		Timeouts  model.Timeouts
		Retry     *model.Retry
		Overload  *model.Overload
		Balancing model.Balancing
		Breaker   model.Breaker
		Outlier   model.Outlier
	}
	b, err := os.ReadFile("testdata/recommended.json")
	if err == nil {
		err = json.Unmarshal(b, &policy)
	}
	if err != nil {
		t.Fatal(err)
	}
	route := to("up")
	route.Timeouts, route.Retry, route.Overload = policy.Timeouts, policy.Retry, policy.Overload
	snap := snapshotOf(map[string]string{"up": strings.Join(tenHosts, ",")}, route)
	c := snap.Clusters[0]
	c.Balancing, c.Breaker, c.Outlier = policy.Balancing, policy.Breaker, policy.Outlier
	return snap
}

// A caller thinks, asks, waits for as long as it has patience, and asks again when it was not
// served: as software development kits do, and people who reload a page.
type caller struct {
	think    time.Duration // on average
	patience time.Duration
	again    int           // times that it asks again
	pause    time.Duration // before it does, at most; twice as long each further time
	fields   string
	good     *atomic.Int64 // counts for it, besides the stage; nil: nobody does
	bad      *atomic.Int64
}

// shoppers are a thousand callers who ask 800 times a second while they are served.
const shoppers = 1000

var shopper = caller{think: 1150 * time.Millisecond, patience: 2500 * time.Millisecond, again: 2, pause: 400 * time.Millisecond}

// run has so many callers ask until a time, and returns when all have their answers or have left.
func (s *stage) run(callers int, c caller, until time.Duration) {
	var work sync.WaitGroup
	for range callers {
		work.Go(func() {
			var line *phone
			defer func() { line.close() }()
			pause := func(d time.Duration) bool { time.Sleep(d); return time.Since(s.began) < until }
			for more := pause(time.Duration(rand.ExpFloat64() * float64(c.think))); more; more = pause(time.Duration(rand.ExpFloat64() * float64(c.think))) {
				line = s.ask(line, &c)
			}
		})
	}
	work.Wait()
}

// ask has a caller ask until it is served, or asks no more. It returns the connection, if that can be
// used again.
func (s *stage) ask(d *phone, c *caller) *phone {
	for again := 0; ; again++ {
		ok := false
		if d, ok = s.once(d, c); ok {
			s.now().good.Add(1)
			if c.good != nil {
				c.good.Add(1)
			}
			return d
		}
		s.now().bad.Add(1)
		if c.bad != nil {
			c.bad.Add(1)
		}
		if again == c.again {
			return d
		}
		time.Sleep(time.Duration(rand.Float64() * float64(c.pause<<again)))
	}
}

// phone is a caller's connection.
type phone struct {
	net.Conn
	r *bufio.Reader
}

func (d *phone) close() {
	if d != nil {
		d.Close()
	}
}

func (s *stage) once(d *phone, c *caller) (_ *phone, ok bool) {
	if d == nil {
		conn, err := s.open(context.Background(), netip.MustParseAddrPort(s.addr))
		if err != nil {
			return nil, false
		}
		d = &phone{conn, bufio.NewReader(conn)}
	}
	_ = d.SetDeadline(time.Now().Add(c.patience))
	if _, err := fmt.Fprintf(d, "GET / HTTP/1.1\r\nHost: h\r\n%s\r\n", c.fields); err == nil {
		if resp, err := http.ReadResponse(d.r, nil); err == nil {
			_, err = d.r.Discard(int(resp.ContentLength))
			if err == nil && !resp.Close {
				return d, resp.StatusCode == http.StatusOK
			}
			d.Close()
			return nil, err == nil && resp.StatusCode == http.StatusOK
		}
	}
	d.Close()
	return nil, false
}
