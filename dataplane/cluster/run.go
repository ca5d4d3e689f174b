package cluster

import (
	"context"
	"sync"
	"time"

	"weir.dev/weir/dataplane/transport"
)

// sweepEvery is how often idle connections and due names are looked at.
const sweepEvery = time.Second

// Run does what has to be done in the background until ctx ends: it closes connections
// that have been idle too long, forgets drained hosts, gives warming hosts their growing
// part, checks the health of hosts, ejects outliers, and resolves DNS names, new ones at once. A
// resolution that fails keeps the last answer. At the end it waits for its own goroutines and closes every idle connection;
// connections in use are closed when they are released. It is called once.
func (s *Set) Run(ctx context.Context) error {
	var resolving, checking sync.WaitGroup
	checking.Go(func() { s.checkHosts(ctx) })
	checking.Go(func() { s.judgeHosts(ctx) })
	slots := make(chan struct{}, maxResolving)
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	steps := time.NewTimer(sweepEvery)
	defer steps.Stop()
	for ctx.Err() == nil {
		for _, c := range s.due() {
			resolving.Go(func() { s.resolve(ctx, c, slots) })
		}
		steps.Reset(s.stepWarming())
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-steps.C:
		case <-ticker.C:
			s.tend()
		}
	}
	resolving.Wait()
	checking.Wait()
	s.end()
	return nil
}

// tend closes what has been idle too long or is too much, and forgets hosts that have drained.
func (s *Set) tend() {
	s.sweep(transport.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.order {
		c.thin()
	}
	for h := range s.draining {
		if h.drained() {
			delete(s.draining, h)
			delete(h.cluster.hosts, h.address)
			h.cluster.forget()
		}
	}
}

// end drains everything for good, and waits for the links that nobody uses.
func (s *Set) end() {
	s.drainAll()
	for _, l := range s.linked.unused() {
		<-l.client.Over()
	}
}

func (s *Set) drainAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for _, c := range s.clusters {
		for _, h := range c.hosts {
			h.drain()
		}
	}
}
