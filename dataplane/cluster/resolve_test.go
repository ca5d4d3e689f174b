package cluster

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// zone answers for names.
type zone struct {
	mu      sync.Mutex
	answers map[string][]string
	err     error
	asked   []time.Time
}

func (z *zone) resolve(_ context.Context, host string) ([]netip.Addr, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked = append(z.asked, time.Now())
	if z.err != nil {
		return nil, z.err
	}
	var list []netip.Addr
	for _, a := range z.answers[host] {
		list = append(list, netip.MustParseAddr(a))
	}
	return list, nil
}

func (z *zone) set(err error, name string, addresses ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.err = err
	z.answers = map[string][]string{name: addresses}
}

// times returns when it was asked.
func (z *zone) times() []time.Time {
	z.mu.Lock()
	defer z.mu.Unlock()
	return slices.Clone(z.asked)
}

func named(name string) *model.Cluster {
	return testCluster(func(c *model.Cluster) { c.DNS = &model.DNSName{Hostname: name, Port: 8080} })
}

func addresses(s *Set) string {
	var list []string
	for _, h := range s.Hosts() {
		if !h.Draining {
			list = append(list, h.Address.String())
		}
	}
	return strings.Join(list, " ")
}

// running runs a set in a bubble and ends it with the test.
func running(t *testing.T, config Config) *Set {
	t.Helper()
	s := New(config)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return s
}

func TestNamesAreResolvedAtOnceAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{}
		z.set(nil, "a.test", "192.0.2.2", "192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1")
		n := &network{}
		s := running(t, Config{Dial: n.dial, Resolve: z.resolve})
		apply(t, s, named("a.test"), nil)
		synctest.Wait()
		if got := addresses(s); got != "192.0.2.1:8080 192.0.2.2:8080 [2001:db8::1]:8080" {
			t.Fatalf("at once: %s", got)
		}
		h := pick(t, s.Cluster("c"))
		c, _ := acquire(t, h, 0)
		h.Release(c, 0, transport.Now())

		z.set(nil, "a.test", h.Address().Addr().String(), "192.0.2.9")
		time.Sleep(35 * time.Second)
		if got := addresses(s); got != h.Address().String()+" 192.0.2.9:8080" && got != "192.0.2.9:8080 "+h.Address().String() {
			t.Errorf("later: %s", got)
		}
		if h.idle.Load() != 1 {
			t.Error("the host that stayed lost its pool")
		}
		if got := s.Names(); len(got) != 1 || got[0].Cluster != "c" || got[0].Hostname != "a.test" || got[0].Addresses != 2 || got[0].Error != "" || got[0].Resolved.IsZero() {
			t.Errorf("status %+v", got)
		}
		time.Sleep(10 * time.Minute)
		asked := z.times()
		for i := 1; i < len(asked); i++ {
			if gap := asked[i].Sub(asked[i-1]); gap < 27*time.Second || gap > 33*time.Second+sweepEvery {
				t.Errorf("asked again after %v", gap)
			}
		}
		if len(asked) < 18 {
			t.Errorf("asked only %d times", len(asked))
		}
	})
}

func TestFailuresKeepTheLastAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{}
		z.set(errors.New("server failure"), "a.test")
		s := running(t, Config{Resolve: z.resolve})
		apply(t, s, named("a.test"), nil)
		synctest.Wait()
		if _, err := s.Cluster("c").Pick(Request{}); !errors.Is(err, ErrNoHost) {
			t.Errorf("got %v", err)
		}
		if got := s.Names(); got[0].Error != "server failure" || !got[0].Resolved.IsZero() {
			t.Errorf("status %+v", got)
		}
		z.set(nil, "a.test", "192.0.2.1")
		time.Sleep(retryEvery + 2*sweepEvery) // before the first answer it is asked more often
		if got := addresses(s); got != "192.0.2.1:8080" {
			t.Fatalf("got %s", got)
		}
		for _, err := range []error{errors.New("timeout"), nil} { // an empty answer is no answer
			z.set(err, "a.test")
			time.Sleep(2 * time.Minute)
			if got := addresses(s); got != "192.0.2.1:8080" {
				t.Errorf("after %v: %q", err, got)
			}
			if got := s.Names(); got[0].Error == "" || got[0].Addresses != 1 {
				t.Errorf("status %+v", got)
			}
		}
	})
}

func TestChangedNamesUseNoOldAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := &zone{}
		z.set(nil, "a.test", "192.0.2.1")
		s := running(t, Config{Resolve: func(ctx context.Context, host string) ([]netip.Addr, error) {
			if host == "b.test" {
				time.Sleep(time.Second) // or it may have answered before anybody looks
			}
			return z.resolve(ctx, host)
		}})
		apply(t, s, named("a.test"), nil)
		synctest.Wait()

		port := named("a.test")
		port.DNS.Port, port.Hash = 9090, "port"
		apply(t, s, port, nil)
		if got := addresses(s); got != "192.0.2.1:9090" {
			t.Errorf("another port: %s", got)
		}
		z.set(errors.New("no such host"), "b.test")
		apply(t, s, named("b.test"), nil)
		if got := addresses(s); got != "192.0.2.1:9090" {
			t.Errorf("another name, not answered for yet: %s", got)
		}
		time.Sleep(2 * time.Second)
		if got := addresses(s); got != "" {
			t.Errorf("another name, which has no address: %s", got)
		}
		apply(t, s, testCluster(), endpoints(1))
		synctest.Wait()
		if got := addresses(s); got != "10.0.0.1:80" || len(s.Names()) != 0 {
			t.Errorf("endpoints instead: %s, %v", got, s.Names())
		}

		// Nothing is dropped while a name is asked for, whatever else happens meanwhile.
		z.set(nil, "a.test", "192.0.2.1")
		apply(t, s, named("a.test"), nil)
		pick(t, s.Cluster("c"))
		setHealthy(s, address("10.0.0.1:80"), false)
		setHealthy(s, address("10.0.0.1:80"), true)
		random := named("a.test")
		random.Balancing.Algorithm, random.Hash = model.Random, "random"
		apply(t, s, random, nil)
		pick(t, s.Cluster("c"))
		synctest.Wait()
		if got := addresses(s); got != "192.0.2.1:8080" {
			t.Errorf("a name instead: %s", got)
		}
	})
}

func TestLateAnswersForAnotherNameAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(ctx context.Context, host string) ([]netip.Addr, error) {
			if host == "a.test" {
				time.Sleep(time.Second)
				return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		s := running(t, Config{Resolve: slow})
		apply(t, s, named("a.test"), nil)
		synctest.Wait()
		apply(t, s, named("b.test"), nil)
		time.Sleep(2 * time.Second)
		if got := addresses(s); got != "" {
			t.Errorf("got %s", got)
		}
	})
}

func TestResolutionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most, long := 0, 0, []time.Duration{}
		slow := func(ctx context.Context, _ string) ([]netip.Addr, error) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			start := time.Now()
			<-ctx.Done()
			mu.Lock()
			defer mu.Unlock()
			now--
			long = append(long, time.Since(start))
			return nil, ctx.Err()
		}
		s := running(t, Config{Resolve: slow})
		var clusters []*model.Cluster
		for i := range 3 * maxResolving {
			c := named("a.test")
			c.Name = strings.Repeat("c", i+1)
			clusters = append(clusters, c)
		}
		if err := s.Apply(clusters, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3*resolveTimeout + time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		if most != maxResolving || len(long) < 3*maxResolving || slices.Max(long) > resolveTimeout {
			t.Errorf("%d at a time, %d done, the longest %v", most, len(long), slices.Max(long))
		}
	})
}

func TestNamesWithoutResolver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t, Config{})
		apply(t, s, named("a.test"), nil)
		synctest.Wait()
		if got := s.Names(); len(got) != 1 || got[0].Error != "no resolver" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestWarmWaitsForFirstAnswersWithinItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		n := &network{}
		s := running(t, Config{Dial: n.dial, Resolve: func(ctx context.Context, host string) ([]netip.Addr, error) {
			select {
			case <-release:
				return []netip.Addr{netip.MustParseAddr("10.0.0.1")}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}})
		apply(t, s, named("up.internal"), nil)
		began := time.Now()
		s.Warm(time.Second)
		if took := time.Since(began); took != time.Second {
			t.Errorf("a silent name server held Warm for %v, want its limit", took)
		}
		time.AfterFunc(time.Millisecond, func() { close(release) })
		s.Warm(time.Second)
		if took := time.Since(began); took != time.Second+time.Millisecond || addresses(s) == "" {
			t.Errorf("after %v the addresses are %q", took, addresses(s))
		}
		s.Warm(time.Second)
	})
}
