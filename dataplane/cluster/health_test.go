package cluster

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/health"
)

// mood is how a host of a town answers.
type mood int

const (
	well     mood = iota
	unwell        // 503
	paused        // connections come to be, and nothing more
	gone          // refused
	nowhere       // a connection never comes to be
	slowMood      // well, but takes 300 ms
)

// town is hosts with moods, well unless they have another one.
type town struct {
	mu     sync.Mutex
	moods  map[netip.AddrPort]mood
	asked  map[netip.AddrPort][]time.Time
	during int // dials under way
	most   int
	hosts  sync.WaitGroup
}

func newTown() *town {
	return &town{moods: map[netip.AddrPort]mood{}, asked: map[netip.AddrPort][]time.Time{}}
}

// feel sets the mood of 10.0.0.N:80.
func (n *town) feel(host int, m mood) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.moods[address(fmt.Sprintf("10.0.0.%d:80", host))] = m
}

func (n *town) times(host int) []time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]time.Time(nil), n.asked[address(fmt.Sprintf("10.0.0.%d:80", host))]...)
}

// atOnce is how many dials there have been at the same time.
func (n *town) atOnce() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.most
}

// known is how many hosts have been asked.
func (n *town) known() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.asked)
}

func (n *town) dial(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
	n.mu.Lock()
	m := n.moods[a]
	n.asked[a] = append(n.asked[a], time.Now())
	n.during++
	n.most = max(n.most, n.during)
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.during--
	}()
	switch m {
	case gone:
		return nil, errors.New("connection refused")
	case nowhere:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ours, theirs := net.Pipe()
	n.hosts.Go(func() {
		defer theirs.Close()
		in := bufio.NewReader(theirs)
		if _, err := http.ReadRequest(in); err != nil {
			return
		}
		switch m {
		case paused:
			_, _ = io.Copy(io.Discard, in)
			return
		case slowMood:
			<-time.After(300 * time.Millisecond)
		}
		status := map[mood]string{unwell: "503 No"}[m]
		if status == "" {
			status = "200 OK"
		}
		_, _ = io.WriteString(theirs, "HTTP/1.1 "+status+"\r\nContent-Length: 0\r\n\r\n")
	})
	return ours, nil
}

// checkedCluster is a cluster whose hosts are checked every 5 s, for 1 s.
func checkedCluster(change ...func(*model.Cluster)) *model.Cluster {
	return testCluster(append([]func(*model.Cluster){func(c *model.Cluster) {
		c.HealthCheck = byHTTP(func(h *model.HealthCheck) { h.Timeout = time.Second })
		c.Balancing.PanicThreshold = 0.1
	}}, change...)...)
}

// inTown runs a test in a bubble, with a Set that runs.
func inTown(t *testing.T, config Config, f func(t *testing.T, n *town, s *Set)) {
	synctest.Test(t, func(t *testing.T) {
		n := newTown()
		config.Dial = n.dial
		s := New(config)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		f(t, n, s)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		n.hosts.Wait()
	})
}

// verdicts are what is held of the hosts that do not drain, in order: ?, healthy or unhealthy
// (H, U), in lower case if no request may go there.
func verdicts(s *Set) string {
	var text strings.Builder
	for _, h := range s.Hosts() {
		if h.Draining {
			continue
		}
		v := "?HU"[h.Check]
		if v == 'H' && !h.Healthy {
			v = 'h'
		}
		if v == '?' && !h.Healthy {
			v = '-'
		}
		text.WriteByte(v)
	}
	return text.String()
}

func wantVerdicts(t *testing.T, when string, s *Set, want string) {
	t.Helper()
	if got := verdicts(s); got != want {
		t.Errorf("%s: %s, want %s", when, got, want)
	}
}

// picked is which hosts get requests.
func picked(t *testing.T, s *Set) string {
	t.Helper()
	seen := map[int]bool{}
	for range 200 {
		if h, err := s.Cluster("c").Pick(Request{}); err == nil {
			seen[host(h)] = true
		}
	}
	var text strings.Builder
	for i := range 10 {
		if seen[i] {
			fmt.Fprint(&text, i+1)
		}
	}
	return text.String()
}

func wantPicked(t *testing.T, when string, s *Set, want string) {
	t.Helper()
	if got := picked(t, s); got != want {
		t.Errorf("%s: requests go to %q, want %q", when, got, want)
	}
}

func TestChecksMoveRequestsAway(t *testing.T) {
	inTown(t, Config{}, func(t *testing.T, n *town, s *Set) {
		n.feel(3, gone)
		apply(t, s, checkedCluster(), endpoints(1, 1, 1))
		wantVerdicts(t, "before any check", s, "???")
		wantPicked(t, "before any check", s, "123")
		time.Sleep(time.Second)
		wantVerdicts(t, "the first result decides", s, "HHU")
		wantPicked(t, "the first result decides", s, "12")
		for _, m := range []mood{unwell, paused, gone, nowhere} {
			n.feel(1, m)
			time.Sleep(4 * time.Second)
			wantVerdicts(t, fmt.Sprint(m, ": one failure at most"), s, "HHU")
			time.Sleep(15 * time.Second)
			wantVerdicts(t, fmt.Sprint(m, ": three failures"), s, "UHU")
			wantPicked(t, fmt.Sprint(m), s, "2")
			n.feel(1, well)
			time.Sleep(4 * time.Second)
			wantVerdicts(t, fmt.Sprint(m, ": one success at most"), s, "UHU")
			time.Sleep(8 * time.Second)
			wantVerdicts(t, fmt.Sprint(m, ": well again"), s, "HHU")
			wantPicked(t, fmt.Sprint(m, ": well again"), s, "12")
		}
		n.feel(3, slowMood)
		time.Sleep(12 * time.Second)
		wantVerdicts(t, "slow is not unwell", s, "HHH")
	})
}

func TestStatusOfChecks(t *testing.T) {
	inTown(t, Config{}, func(t *testing.T, n *town, s *Set) {
		n.feel(1, paused)
		n.feel(2, unwell)
		apply(t, s, checkedCluster(), endpoints(1, 1))
		began := time.Now()
		time.Sleep(3 * time.Second)
		one, two := status(t, s, "10.0.0.1:80"), status(t, s, "10.0.0.2:80")
		if one.CheckError != "no answer within 1s" || one.CheckResults != [checkResults]uint64{CheckTimedOut: 1} || !one.Checked || one.Check != health.Unhealthy {
			t.Errorf("a host that is paused: %+v", one)
		}
		if two.CheckError != "status 503, expected 200-299" || two.CheckResults != [checkResults]uint64{CheckFailed: 1} {
			t.Errorf("a host that is unwell: %+v", two)
		}
		if since := two.CheckSince.Sub(began); since <= 0 || since > 100*time.Millisecond {
			t.Errorf("the verdict came after %v", since)
		}
		n.feel(2, well)
		time.Sleep(5 * time.Second)
		if two = status(t, s, "10.0.0.2:80"); two.CheckError != "" || two.CheckResults[CheckPassed] != 1 || two.Check != health.Unhealthy {
			t.Errorf("a host that has passed once: %+v", two)
		}
		apply(t, s, testCluster(), endpoints(1, 1))
		if one = status(t, s, "10.0.0.1:80"); one.Checked || one.Check != health.Unknown || !one.Healthy || one.CheckError != "" || !one.CheckSince.IsZero() {
			t.Errorf("no longer checked: %+v", one)
		}
	})
}

func TestChecksComeInTheirInterval(t *testing.T) {
	inTown(t, Config{}, func(t *testing.T, n *town, s *Set) {
		apply(t, s, checkedCluster(), endpoints(1))
		time.Sleep(200 * time.Second)
		times := n.times(1)
		if len(times) < 36 || len(times) > 45 {
			t.Fatalf("%d checks in 200 s", len(times))
		}
		gaps := map[time.Duration]bool{}
		for i := 1; i < len(times); i++ {
			gap := times[i].Sub(times[i-1])
			if gap < 4500*time.Millisecond || gap > 5500*time.Millisecond {
				t.Errorf("%v between two checks", gap)
			}
			gaps[gap] = true
		}
		if len(gaps) < 2 {
			t.Error("no jitter")
		}
	})
}

// TestChecksThatTakeLongDoNotPileUp: with a timeout above the interval, the next check waits.
func TestChecksThatTakeLongDoNotPileUp(t *testing.T) {
	inTown(t, Config{}, func(t *testing.T, n *town, s *Set) {
		n.feel(1, nowhere)
		apply(t, s, checkedCluster(func(c *model.Cluster) { c.HealthCheck.Interval, c.HealthCheck.Timeout = time.Second, 10*time.Second }), endpoints(1))
		time.Sleep(35 * time.Second)
		if got := len(n.times(1)); got != 4 || n.atOnce() != 1 {
			t.Errorf("%d checks, %d at once", got, n.atOnce())
		}
	})
}

func TestNewcomersWaitForTheirFirstCheck(t *testing.T) {
	inTown(t, Config{}, func(t *testing.T, n *town, s *Set) {
		apply(t, s, checkedCluster(), endpoints(1, 1))
		time.Sleep(time.Second)
		n.feel(3, paused)
		n.feel(4, slowMood)
		apply(t, s, checkedCluster(func(c *model.Cluster) { c.Balancing.PanicThreshold = 1 }), endpoints(1, 1, 1, 1))
		wantVerdicts(t, "at once", s, "HH--")
		wantPicked(t, "at once, and nobody panics because of them", s, "12")
		time.Sleep(200 * time.Millisecond)
		wantPicked(t, "while the check is under way", s, "12")
		time.Sleep(200 * time.Millisecond)
		wantVerdicts(t, "slow but well", s, "HH-H")
		wantPicked(t, "slow but well", s, "124")
		time.Sleep(time.Second)
		wantVerdicts(t, "paused", s, "HHUH")

		n.feel(1, nowhere)
		n.feel(2, nowhere)
		n.feel(4, nowhere)
		time.Sleep(16 * time.Second)
		n.feel(5, nowhere)
		apply(t, s, checkedCluster(), endpoints(1, 1, 1, 1, 1))
		wantVerdicts(t, "a newcomer while all are unwell", s, "UUUU?")
		wantPicked(t, "a newcomer while all are unwell", s, "5")
	})
}

// TestNewcomersGetNoSessionsEither: a panic lets in who is unwell, not who is unknown.
func TestNewcomersGetNoSessionsEither(t *testing.T) {
	inTown(t, Config{}, func(t *testing.T, n *town, s *Set) {
		panicky := func(c *model.Cluster) { c.Balancing.PanicThreshold = 0.9 }
		n.feel(2, gone)
		apply(t, s, checkedCluster(panicky), endpoints(1, 1))
		time.Sleep(time.Second)
		apply(t, s, checkedCluster(panicky), endpoints(1, 1, 1))
		wantVerdicts(t, "beside one of each", s, "HU-")
		wantPicked(t, "in panic", s, "12")
		if usable := s.Cluster("c").picker.Load().usable; len(usable) != 2 {
			t.Errorf("sessions may go to %d hosts", len(usable))
		}
	})
}

// TestNewcomersAreLetInWhenNobodyElseIsLeft: who waits, waits no longer than there is another.
func TestNewcomersAreLetInWhenNobodyElseIsLeft(t *testing.T) {
	inTown(t, Config{}, func(t *testing.T, n *town, s *Set) {
		apply(t, s, checkedCluster(), endpoints(1))
		time.Sleep(time.Second)
		n.feel(2, nowhere)
		apply(t, s, checkedCluster(), endpoints(1, 1))
		wantVerdicts(t, "beside the first", s, "H-")
		apply(t, s, checkedCluster(), endpoints(0, 1))
		wantVerdicts(t, "the first has no weight", s, "H?")
		wantPicked(t, "the first has no weight", s, "2")
	})
}

func TestHostsStartSlowlyAfterTheirFirstCheck(t *testing.T) {
	slow := func(c *model.Cluster) { c.Balancing.SlowStart = 10 * time.Second }
	inTown(t, Config{}, func(t *testing.T, n *town, s *Set) {
		apply(t, s, checkedCluster(slow), endpoints(1, 1))
		time.Sleep(time.Second)
		if h := status(t, s, "10.0.0.1:80"); h.Warmth != 1 {
			t.Errorf("a host that was there from the beginning is at %v", h.Warmth)
		}
		n.feel(3, unwell)
		apply(t, s, checkedCluster(slow), endpoints(1, 1, 1))
		time.Sleep(time.Second)
		n.feel(3, well)
		time.Sleep(6 * time.Second) // one success is one too few
		wantVerdicts(t, "after one success", s, "HHU")
		for !status(t, s, "10.0.0.3:80").Healthy {
			time.Sleep(10 * time.Millisecond)
		}
		if h := status(t, s, "10.0.0.3:80"); h.Warmth != 0.1 {
			t.Errorf("a host that has just passed is at %v", h.Warmth)
		}
		time.Sleep(11 * time.Second)
		if h := status(t, s, "10.0.0.3:80"); h.Warmth != 1 {
			t.Errorf("later it is at %v", h.Warmth)
		}
	})
}

func TestPanicIgnoresChecks(t *testing.T) {
	inTown(t, Config{}, func(t *testing.T, n *town, s *Set) {
		for i := range 4 {
			n.feel(i+1, gone)
		}
		half := func(c *model.Cluster) { c.Balancing.PanicThreshold = 0.5 }
		never := func(c *model.Cluster) { c.Balancing.PanicThreshold = 0 }
		n.feel(1, well)
		apply(t, s, checkedCluster(half), endpoints(1, 1, 1, 1))
		time.Sleep(time.Second)
		wantVerdicts(t, "one of four", s, "HUUU")
		wantPicked(t, "one of four", s, "1234")
		apply(t, s, checkedCluster(never), endpoints(1, 1, 1, 1))
		wantPicked(t, "panic is forbidden", s, "1")
		n.feel(1, gone)
		time.Sleep(20 * time.Second)
		if h, err := s.Cluster("c").Pick(Request{}); !errors.Is(err, ErrNoHost) {
			t.Errorf("none of four: %v, %v", h, err)
		}
	})
}

func TestVerdictsSurviveEdits(t *testing.T) {
	inTown(t, Config{}, func(t *testing.T, n *town, s *Set) {
		n.feel(2, gone)
		apply(t, s, checkedCluster(), endpoints(1, 1))
		time.Sleep(time.Second)
		asked := len(n.times(2))
		apply(t, s, checkedCluster(func(c *model.Cluster) { c.Balancing.Algorithm = model.PeakEWMA }), endpoints(3, 1))
		wantVerdicts(t, "another algorithm and weight", s, "HU")
		time.Sleep(3 * time.Second)
		if got := len(n.times(2)); got != asked {
			t.Errorf("%d checks because of an edit that is none of theirs", got-asked)
		}
		apply(t, s, checkedCluster(func(c *model.Cluster) { c.HealthCheck.Path = "/ready" }), endpoints(3, 1))
		wantVerdicts(t, "another path", s, "HU")
		time.Sleep(100 * time.Millisecond)
		if got := len(n.times(2)); got != asked+1 {
			t.Errorf("%d checks at once for another path", got-asked)
		}
		apply(t, s, checkedCluster(func(c *model.Cluster) { c.HealthCheck = nil }), endpoints(3, 1))
		wantPicked(t, "no check", s, "12")
		before := len(n.times(1))
		time.Sleep(time.Minute)
		if got := len(n.times(1)); got != before {
			t.Errorf("%d checks of a cluster without", got-before)
		}
		apply(t, s, checkedCluster(), endpoints(3, 1))
		wantPicked(t, "a check again", s, "12")
		time.Sleep(time.Second)
		wantVerdicts(t, "a check again", s, "HU")
	})
}

func TestHostsThatGoAreNotChecked(t *testing.T) {
	inTown(t, Config{}, func(t *testing.T, n *town, s *Set) {
		n.feel(2, nowhere)
		apply(t, s, checkedCluster(), endpoints(1, 1))
		time.Sleep(100 * time.Millisecond) // its check is under way
		s.Cluster("c").hosts[address("10.0.0.2:80")].Begin()
		apply(t, s, checkedCluster(), endpoints(1))
		time.Sleep(time.Minute)
		if got := len(n.times(2)); got != 1 {
			t.Errorf("%d checks of a host that drains", got)
		}
		if h := status(t, s, "10.0.0.2:80"); !h.Draining || h.Check != health.Unknown {
			t.Errorf("what a check found out of a host that had gone: %+v", h)
		}
		n.feel(2, gone)
		apply(t, s, checkedCluster(), endpoints(1, 1))
		wantVerdicts(t, "back again, and unknown", s, "H-")
		time.Sleep(time.Second)
		wantVerdicts(t, "back again", s, "HU")
		n.feel(2, well)
		time.Sleep(12 * time.Second)
		wantVerdicts(t, "well again", s, "HH")
		s.Cluster("c").hosts[address("10.0.0.2:80")].Begin()
		apply(t, s, checkedCluster(), endpoints(1))
		apply(t, s, checkedCluster(), endpoints(1, 1))
		wantVerdicts(t, "who has gone has all to prove again", s, "H-")
		n.feel(2, gone)
		time.Sleep(time.Second)

		apply(t, s, nil, nil)
		one := len(n.times(1))
		time.Sleep(time.Minute)
		if got := len(n.times(1)); got != one || len(s.checking.queue) != 0 {
			t.Errorf("%d checks of a cluster that is gone, %d are due", got-one, len(s.checking.queue))
		}
		apply(t, s, checkedCluster(), endpoints(1, 1))
		time.Sleep(time.Second)
		wantVerdicts(t, "the cluster is back", s, "HU")
	})
}

// crowd is a cluster of so many hosts.
func crowd(size int) *model.EndpointSet {
	e := &model.EndpointSet{Cluster: "c"}
	for i := range size {
		e.Endpoints = append(e.Endpoints, model.Endpoint{Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80), Weight: 1})
	}
	e.Hash = model.HashOf(e)
	return e
}

func TestManyHostsAreCheckedFewAtATime(t *testing.T) {
	m := telemetry.NewMetrics(1)
	inTown(t, Config{Metrics: m}, func(t *testing.T, n *town, s *Set) {
		e := crowd(1500)
		n.mu.Lock()
		for _, at := range e.Endpoints {
			n.moods[at.Address] = nowhere
		}
		n.mu.Unlock()
		apply(t, s, checkedCluster(), e)
		time.Sleep(6 * time.Second)
		for _, h := range s.Hosts() {
			if h.Check != health.Unhealthy {
				t.Fatalf("not checked: %+v", h)
			}
		}
		if n.atOnce() != maxChecking {
			t.Errorf("%d checks at once, want %d", n.atOnce(), maxChecking)
		}
		if m.LateChecks.Load() == 0 {
			t.Error("no check counts as late")
		}
	})
}

func TestFirstChecksAreSpread(t *testing.T) {
	m := telemetry.NewMetrics(1)
	inTown(t, Config{Metrics: m}, func(t *testing.T, n *town, s *Set) {
		apply(t, s, checkedCluster(), crowd(500))
		time.Sleep(200 * time.Millisecond)
		if got := n.known(); got < 150 || got > 250 {
			t.Errorf("%d hosts have been asked within 200 ms", got)
		}
		time.Sleep(time.Second)
		if got := n.known(); got != 500 {
			t.Errorf("%d hosts have been asked", got)
		}
		if m.LateChecks.Load() != 0 {
			t.Errorf("%d checks were late", m.LateChecks.Load())
		}
	})
}

// TestMoreHostsThanFitIntoAnInterval are spread over all of it, again and again.
func TestMoreHostsThanFitIntoAnInterval(t *testing.T) {
	inTown(t, Config{}, func(t *testing.T, n *town, s *Set) {
		apply(t, s, checkedCluster(func(c *model.Cluster) { c.HealthCheck.Interval = 100 * time.Millisecond }), crowd(450))
		time.Sleep(140 * time.Millisecond)
		n.mu.Lock()
		defer n.mu.Unlock()
		if got := len(n.asked); got != 450 {
			t.Errorf("%d hosts have been asked", got)
		}
		began := map[int64]int{}
		for at := range n.asked {
			began[n.asked[at][0].UnixMilli()/10]++
		}
		for _, checks := range began {
			if checks > 100 {
				t.Errorf("%d hosts were asked within 10 ms", checks)
			}
		}
	})
}

// TestVerdictsSettleTogether: many hosts that fail at once cost few pickers.
func TestVerdictsSettleTogether(t *testing.T) {
	inTown(t, Config{}, func(t *testing.T, n *town, s *Set) {
		apply(t, s, checkedCluster(), crowd(200))
		time.Sleep(3 * time.Second)
		var pickers int
		last := s.Cluster("c").picker.Load()
		for i, h := range s.Cluster("c").hosts {
			if i.Addr().As4()[3]%2 == 0 {
				continue
			}
			s.mu.Lock()
			h.check.round++ // its own checks are nobody's now
			h.checked(false, errors.New("a"))
			h.checked(false, errors.New("a"))
			h.checked(false, errors.New("a"))
			s.mu.Unlock()
		}
		s.checking.rouse()
		for range 40 {
			time.Sleep(500 * time.Microsecond)
			if p := s.Cluster("c").picker.Load(); p != last {
				last = p
				pickers++
			}
		}
		if pickers != 1 || len(s.Cluster("c").Eligible(2000)) != 100 {
			t.Errorf("%d pickers for 100 verdicts, %d hosts left", pickers, len(s.Cluster("c").Eligible(2000)))
		}
	})
}

func TestPickersStayWhereNothingChanges(t *testing.T) {
	inTown(t, Config{}, func(t *testing.T, _ *town, s *Set) {
		apply(t, s, checkedCluster(), endpoints(1, 1))
		before := s.Cluster("c").picker.Load()
		time.Sleep(time.Minute)
		wantVerdicts(t, "after a minute", s, "HH")
		if s.Cluster("c").picker.Load() != before {
			t.Error("a new picker for hosts that were taken to be healthy, and are")
		}
	})
}

func TestTurnsAreLogged(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	inTown(t, Config{Log: log}, func(t *testing.T, n *town, s *Set) {
		n.feel(2, unwell)
		apply(t, s, checkedCluster(), endpoints(1, 1))
		time.Sleep(time.Second)
		n.feel(2, well)
		time.Sleep(20 * time.Second)
	})
	want := "level=WARN msg=\"host is unhealthy\" cluster=c host=10.0.0.2:80 reason=\"status 503, expected 200-299\"\n" +
		"level=INFO msg=\"host is healthy again\" cluster=c host=10.0.0.2:80\n"
	if text.String() != want {
		t.Errorf("got %s", text.String())
	}
}

// TestOurOwnWantIsNoHostsFault: without descriptors nothing is found out.
func TestOurOwnWantIsNoHostsFault(t *testing.T) {
	for _, want := range []error{syscall.EMFILE, syscall.EADDRNOTAVAIL, syscall.ECONNREFUSED} {
		synctest.Test(t, func(t *testing.T) {
			s := running(t, Config{Dial: func(context.Context, netip.AddrPort) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("socket", want)}
			}})
			apply(t, s, checkedCluster(), endpoints(1))
			time.Sleep(time.Minute)
			verdict := health.Unknown
			if errors.Is(want, syscall.ECONNREFUSED) {
				verdict = health.Unhealthy
			}
			if h := status(t, s, "10.0.0.1:80"); h.Check != verdict || h.CheckResults[CheckFailed] < 10 || !strings.Contains(h.CheckError, want.Error()) {
				t.Errorf("%v: %+v", want, h)
			}
		})
	}
}

func TestADefectInACheckIsContained(t *testing.T) {
	var text bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		s := running(t, Config{
			Log:  slog.New(slog.NewTextHandler(&text, nil)),
			Dial: func(context.Context, netip.AddrPort) (net.Conn, error) { panic("a defect") },
		})
		apply(t, s, checkedCluster(), endpoints(1))
		time.Sleep(time.Second)
		if h := status(t, s, "10.0.0.1:80"); h.CheckError != "the check itself failed; see the log" || h.Check != health.Unhealthy {
			t.Errorf("%+v", h)
		}
	})
	if !strings.Contains(text.String(), "a defect") {
		t.Errorf("the log says %q", text.String())
	}
}

// TestEveryHostIsInItsPlace does things at random: every host that is to be checked is either
// in the queue or being checked, once, and the queue is in order.
func TestEveryHostIsInItsPlace(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var fault any // which is how rapid ends a run
		synctest.Test(t, func(*testing.T) {
			defer func() { fault = recover() }()
			everyHostIsInItsPlace(r)
		})
		if fault != nil {
			panic(fault)
		}
	})
}

func everyHostIsInItsPlace(t *rapid.T) {
	n := newTown()
	s := New(Config{Dial: n.dial})
	ctx, cancel := context.WithCancel(context.Background()) // rapid's own is not of the bubble
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Run(ctx)
	}()
	defer func() {
		cancel()
		<-done
		n.hosts.Wait()
	}()
	t.Repeat(map[string]func(*rapid.T){
		"apply": func(t *rapid.T) {
			weights := make([]uint32, rapid.IntRange(0, 5).Draw(t, "hosts"))
			for i := range weights {
				weights[i] = uint32(rapid.IntRange(0, 2).Draw(t, "weight"))
			}
			c := checkedCluster(func(c *model.Cluster) {
				c.HealthCheck.Interval = time.Duration(rapid.IntRange(1, 3).Draw(t, "interval")) * time.Second
				if rapid.IntRange(0, 4).Draw(t, "checked") == 0 {
					c.HealthCheck = nil
				}
			})
			if rapid.IntRange(0, 9).Draw(t, "cluster") == 0 {
				c = nil
			}
			apply(t, s, c, endpoints(weights...))
		},
		"mood": func(t *rapid.T) {
			n.feel(rapid.IntRange(1, 5).Draw(t, "host"), mood(rapid.IntRange(0, int(slowMood)).Draw(t, "mood")))
		},
		"wait": func(t *rapid.T) {
			time.Sleep(time.Duration(rapid.IntRange(0, 4000).Draw(t, "ms")) * time.Millisecond)
			synctest.Wait()
		},
		"": func(t *rapid.T) { inPlace(t, s) },
	})
}

func inPlace(t *rapid.T, s *Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := &s.checking
	for i, h := range q.queue {
		if h.check.place != i+1 || h.check.running || i > 0 && h.check.due < q.queue[(i-1)/2].check.due {
			t.Fatalf("%v at %d: %+v", h.address, i, h.check)
		}
	}
	for _, c := range s.clusters {
		for _, h := range c.hosts {
			wanted := c.healthCheck() != nil && !h.draining.Load()
			if in := h.check.place != 0; (in || h.check.running) != wanted || in && h.check.running {
				t.Fatalf("%v is to be checked: %v; %+v", h.address, wanted, h.check)
			}
			if !wanted && c.healthCheck() == nil && (h.check.verdict != health.Unknown || h.check.held) {
				t.Fatalf("%v is not checked, and %+v", h.address, h.check)
			}
		}
	}
	c := s.clusters["c"]
	if c == nil || c.retired || c.picker.Load() == nil {
		return
	}
	for _, g := range c.picker.Load().groups {
		for _, h := range g.hosts {
			if h.check.held {
				t.Fatalf("%v is held back, and gets requests", h.address)
			}
		}
	}
}
