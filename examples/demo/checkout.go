package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	buyers    = 2000 // customers, each with a cookie
	purchases = 80   // requests a second
	goodFor   = 30 * time.Second
	forgotten = 5 * time.Second // without customers v2 is well again
)

// checkout is a service of two versions, the second of which begins to fail soon after it has its
// first customers.
type checkout struct {
	client *http.Client
	url    string
	admin  string
	out    *screen
	mended *atomic.Bool // v2 fails no more

	mu         sync.Mutex
	since      time.Time // v2's first customer
	last       time.Time // and its last
	all, newer int       // answers since the last report, and those of v2
	seen       int       // failures of v2 that customers saw since it began to fail
	failed     time.Time // the first of them
}

func newCheckout(url, admin string, out *screen, mended *atomic.Bool) *checkout {
	return &checkout{url: url, admin: admin, out: out, mended: mended, client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: callers}}}
}

// open serves both versions.
func (c *checkout) open(p ports) (stop func() error, err error) {
	v1, err := listen("checkout v1", local(p.checkout), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { sold(w, "v1") }))
	if err != nil {
		return nil, err
	}
	v2, err := listen("checkout v2", local(p.checkout+1), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if c.fails(time.Now()) && rand.N(3) == 0 {
			w.Header().Set("X-App-Version", "v2")
			http.Error(w, "cannot check out", http.StatusInternalServerError)
			return
		}
		sold(w, "v2")
	}))
	if err != nil {
		return nil, errors.Join(err, v1())
	}
	return func() error { return errors.Join(v1(), v2()) }, nil
}

func sold(w http.ResponseWriter, version string) {
	w.Header().Set("X-App-Version", version)
	_, _ = io.WriteString(w, "thank you\n") // the client is gone: nobody to tell
}

// fails reports whether v2 has had customers for long enough to fail a third of them.
func (c *checkout) fails(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.last) > forgotten {
		c.since, c.seen = now, 0
	}
	c.last = now
	return now.Sub(c.since) > goodFor && !c.mended.Load()
}

// sell has customers come until ctx ends.
func (c *checkout) sell(ctx context.Context) {
	tick := time.NewTicker(time.Second / purchases)
	defer tick.Stop()
	places := make(chan struct{}, callers)
	var all sync.WaitGroup
	defer all.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		select {
		case places <- struct{}{}:
		default: // enough wait already
			continue
		}
		all.Go(func() {
			defer func() { <-places }()
			c.buy()
		})
	}
}

func (c *checkout) buy() {
	req, err := http.NewRequest(http.MethodGet, c.url, nil)
	if err != nil {
		panic(err) // the address is ours
	}
	req.AddCookie(&http.Cookie{Name: "uid", Value: fmt.Sprintf("customer-%d", rand.N(buyers))})
	resp, err := c.client.Do(req)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body) // only the head counts
	_ = resp.Body.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all++
	if resp.Header.Get("X-App-Version") != "v2" {
		return
	}
	c.newer++
	if resp.StatusCode != http.StatusInternalServerError {
		return
	}
	if c.seen++; c.seen == 1 {
		c.failed = time.Now()
	}
}

// report says how many customers v2 has, and once that it was taken back.
func (c *checkout) report() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := fmt.Sprintf("checkout v2 %2.0f %%", share(c.newer, c.all))
	if c.seen > 0 && time.Since(c.last) > forgotten/2 {
		c.out.line(fmt.Sprintf("\ncheckout: v2 began to fail, and Weir took it back %d ms after the first failure; %d customers saw one.\n`bin/weir rollout status checkout --admin %s` has the evidence, docs/tutorial.md what to do now.",
			c.last.Sub(c.failed).Milliseconds(), c.seen, c.admin))
		c.seen = 0
	}
	c.all, c.newer = 0, 0
	return text
}
