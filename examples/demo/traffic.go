package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// callers bounds the requests in flight.
const callers = 16

// paths are asked for in turn.
var paths = []string{"/get", "/uuid", "/bytes/2048", "/anything/cart", "/headers", "/delay/0.02"}

// traffic asks at a steady rate and counts the answers.
type traffic struct {
	base   string
	rate   int
	client *http.Client

	mu     sync.Mutex
	counts counts // since the last report
	total  counts
}

// counts are answers by version, and what failed.
type counts struct {
	v1, v2, failed int
	first          string // the first failure
}

func newTraffic(base string, rate int) *traffic {
	return &traffic{
		base: base, rate: rate,
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: callers}},
	}
}

// run asks until ctx ends, reports every two seconds, with what more says, and leaves no request
// behind.
func (t *traffic) run(ctx context.Context, out *screen, more func(time.Duration) string) {
	tick := time.NewTicker(time.Second / time.Duration(t.rate))
	defer tick.Stop()
	report := time.NewTicker(2 * time.Second)
	defer report.Stop()
	work := make(chan string)
	var pool sync.WaitGroup
	for range callers {
		pool.Go(func() {
			for path := range work {
				t.ask(path)
			}
		})
	}
	last := time.Now()
	for n := 0; ctx.Err() == nil; {
		select {
		case <-ctx.Done():
		case <-tick.C:
			select {
			case work <- paths[n%len(paths)]:
				n++
			default: // every caller waits: the rate gives way, not the memory
			}
		case now := <-report.C:
			out.status(t.report(now.Sub(last)) + "   " + more(now.Sub(last)))
			last = now
		}
	}
	close(work)
	pool.Wait()
	t.client.CloseIdleConnections()
	t.report(time.Second)
	out.line(fmt.Sprintf("\n%d answers: v1 %d, v2 %d; %d failed", t.total.v1+t.total.v2, t.total.v1, t.total.v2, t.total.failed))
}

func (t *traffic) ask(path string) {
	resp, err := t.client.Get(t.base + path)
	version := ""
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close() // everything was read
		version = resp.Header.Get("X-App-Version")
		if err == nil && (resp.StatusCode != http.StatusOK || version == "") {
			err = fmt.Errorf("GET %s: %s %s", path, resp.Status, resp.Header.Get("X-Weir-Flag"))
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err != nil:
		t.counts.failed++
		if t.counts.first == "" {
			t.counts.first = err.Error()
		}
	case version == "v2":
		t.counts.v2++
	default:
		t.counts.v1++
	}
}

// report describes the answers since the last one.
func (t *traffic) report(since time.Duration) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.counts
	t.counts = counts{}
	t.total.v1 += c.v1
	t.total.v2 += c.v2
	t.total.failed += c.failed
	all := c.v1 + c.v2
	line := fmt.Sprintf("%5.0f answers/s   v1 %3.0f %%   v2 %3.0f %%   failed %d",
		float64(all)/since.Seconds(), share(c.v1, all), share(c.v2, all), t.total.failed)
	if c.first != "" {
		line += "   (" + c.first + ")"
	}
	return line
}

func share(part, all int) float64 {
	if all == 0 {
		return 0
	}
	return 100 * float64(part) / float64(all)
}

// screen writes lines, and on a terminal keeps a status line below them.
type screen struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
}

func newScreen(out io.Writer) *screen {
	f, ok := out.(*os.File)
	if ok {
		info, err := f.Stat()
		ok = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return &screen{out: out, terminal: ok}
}

func (s *screen) line(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.terminal {
		text = "\r\x1b[K" + text
	}
	fmt.Fprintln(s.out, text)
}

func (s *screen) status(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.terminal {
		fmt.Fprint(s.out, "\r\x1b[K"+strings.TrimRight(text, "\n"))
		return
	}
	fmt.Fprintln(s.out, text)
}
