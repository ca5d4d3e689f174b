package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// mood is how the shop behaves, and checkout's v2.
type mood struct {
	name, does string
	slow       int  // hosts that take seconds
	failing    int  // hosts that answer 503
	surge      bool // of customers
	mended     bool // checkout's v2, for good
}

// moods are what they can be told to be. The first is how they begin.
var moods = []mood{
	{name: "heal", does: "all is well again"},
	{name: "slow", does: "one of three hosts takes a second: it is ejected", slow: 1},
	{name: "fail", does: "one of three hosts answers 503: retries hide it, then it is ejected", failing: 1},
	{name: "down", does: "all answer 503: the breaker opens before retries can make it worse", failing: 3},
	{name: "surge", does: "ten times the customers: the limit holds, batch work is shed first", surge: true},
	{name: "mend", does: "all is well again, and checkout's v2 fails no more: docs/tutorial.md", mended: true},
}

const (
	shopHosts = 3
	atOnce    = 4 // requests that a host works on; the rest wait
	usualWork = 40 * time.Millisecond
	slowWork  = time.Second

	customers = 40  // requests a second
	crowd     = 400 // while they surge
	mostOpen  = 200 // requests at once
)

// shop is a service of three hosts, and its customers.
type shop struct {
	mood   atomic.Pointer[mood]
	mended atomic.Bool // checkout's v2
	client *http.Client
	url    string

	mu                 sync.Mutex
	ok, refused, wrong int // since the last report
}

func newShop(url string) *shop {
	s := &shop{url: url, client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: mostOpen}}}
	s.mood.Store(&moods[0])
	return s
}

// open serves the hosts and the switch.
func (s *shop) open(p ports) (stop func() error, err error) {
	var stops []func() error
	stop = func() error {
		var err error
		for _, f := range stops {
			err = errors.Join(err, f())
		}
		return err
	}
	for n := range shopHosts {
		end, upErr := listen(fmt.Sprintf("shop's host %d", n+1), local(p.shop+n), s.host(n))
		if upErr != nil {
			return nil, errors.Join(upErr, stop())
		}
		stops = append(stops, end)
	}
	end, err := listen("the shop's switch", local(p.shop+shopHosts), http.HandlerFunc(s.turn))
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	stops = append(stops, end)
	return stop, nil
}

// host is the n-th host: it does so much at once, and the rest waits.
func (s *shop) host(n int) http.Handler {
	places := make(chan struct{}, atOnce)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := s.mood.Load()
		if n < now.failing {
			http.Error(w, "out of order", http.StatusServiceUnavailable)
			return
		}
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		case <-r.Context().Done():
			return
		}
		work := usualWork
		if n < now.slow {
			work = slowWork
		}
		wait := time.NewTimer(work/2 + rand.N(work))
		defer wait.Stop()
		select {
		case <-wait.C:
			_, _ = io.WriteString(w, "sold\n") // the client is gone: nobody to tell
		case <-r.Context().Done():
		}
	})
}

// turn changes the mood to the one that the path names.
func (s *shop) turn(w http.ResponseWriter, r *http.Request) {
	for i := range moods {
		if r.URL.Path == "/"+moods[i].name {
			s.mood.Store(&moods[i])
			if moods[i].mended {
				s.mended.Store(true)
			}
			fmt.Fprintf(w, "%s: %s\n", moods[i].name, moods[i].does)
			return
		}
	}
	http.Error(w, "ask for one of:\n"+s.help("/"), http.StatusNotFound)
}

// help lists the moods, each behind a prefix.
func (s *shop) help(prefix string) string {
	text := ""
	for _, m := range moods[1:] {
		text += fmt.Sprintf("  %s%-7s# %s\n", prefix, m.name, m.does)
	}
	return text + fmt.Sprintf("  %s%-7s# %s\n", prefix, moods[0].name, moods[0].does)
}

// sell has customers come until ctx ends. Every fourth request is batch work, which can wait.
func (s *shop) sell(ctx context.Context) {
	const step = 25 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	places := make(chan struct{}, mostOpen)
	var all sync.WaitGroup
	defer all.Wait()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		rate := customers
		if s.mood.Load().surge {
			rate = crowd
		}
		for range int(time.Duration(rate) * step / time.Second) {
			select {
			case places <- struct{}{}:
			default: // enough wait already
				continue
			}
			n++
			batch := n%4 == 0
			all.Go(func() {
				defer func() { <-places }()
				s.buy(batch)
			})
		}
	}
}

func (s *shop) buy(batch bool) {
	req, err := http.NewRequest(http.MethodGet, s.url, nil)
	if err != nil {
		panic(err) // the address is ours
	}
	if batch {
		req.Header.Set("X-Batch", "1")
	}
	resp, err := s.client.Do(req)
	status, flag := 0, ""
	if err == nil {
		_, _ = io.Copy(io.Discard, resp.Body) // only the head counts
		_ = resp.Body.Close()
		status, flag = resp.StatusCode, resp.Header.Get("X-Weir-Flag")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case status == http.StatusOK:
		s.ok++
	case flag == "PO" || flag == "UO":
		s.refused++
	default:
		s.wrong++
	}
}

// report says what customers got since the last one.
func (s *shop) report(since time.Duration) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := fmt.Sprintf("shop %3.0f/s", float64(s.ok)/since.Seconds())
	if s.refused > 0 {
		text += fmt.Sprintf(", %.0f/s refused by Weir", float64(s.refused)/since.Seconds())
	}
	if s.wrong > 0 {
		text += fmt.Sprintf(", %.0f/s failed", float64(s.wrong)/since.Seconds())
	}
	s.ok, s.refused, s.wrong = 0, 0, 0
	return text
}

// listen serves a handler at an address.
func listen(what, address string, h http.Handler) (stop func() error, err error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		err := server.Shutdown(ctx)
		if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
			err = errors.Join(err, serveErr)
		}
		return err
	}, nil
}
