package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

const (
	// resolveEvery is the time between two resolutions of a name, give or take a tenth.
	resolveEvery = 30 * time.Second
	// retryEvery is the same until a name has resolved for the first time.
	retryEvery = 2 * time.Second
	// resolveTimeout bounds one resolution.
	resolveTimeout = 5 * time.Second
	// maxResolving bounds the resolutions at one time.
	maxResolving = 16
	// maxAddresses bounds the hosts of one name, as a Backend's endpoints are.
	maxAddresses = 1000
)

// resolution is the state of a cluster's DNS name, guarded by set.mu.
type resolution struct {
	name      model.DNSName     // no Hostname: none
	addresses []netip.Addr      // of the last answer, sorted
	resolved  time.Time         // when that was; zero: not yet
	err       error             // of the last attempt
	due       transport.Instant // 0: now
	running   bool
}

// NameStatus is a cluster's DNS name as people and programs see it.
type NameStatus struct {
	Cluster   string
	Hostname  string
	Addresses int       // in use, of the last good answer
	Resolved  time.Time // when that came; zero: not yet
	Error     string    // of the last attempt, empty if it succeeded
}

// follow takes over a changed name, nil for none. The addresses of the name before are used
// only until the new one has been asked for, see current.
func (c *Cluster) follow(name *model.DNSName) {
	r := &c.names
	if name == nil {
		*r = resolution{}
		delete(c.set.named, c)
		return
	}
	c.set.named[c] = struct{}{}
	if r.name.Hostname != name.Hostname {
		*r = resolution{}
	}
	r.name = *name
}

// awaited reports whether the name has been neither resolved nor failed to.
func (r *resolution) awaited() bool { return r.resolved.IsZero() && r.err == nil }

func (r *resolution) endpoints() []model.Endpoint {
	list := make([]model.Endpoint, len(r.addresses))
	for i, a := range r.addresses {
		list[i] = model.Endpoint{Address: netip.AddrPortFrom(a, r.name.Port), Weight: 1}
	}
	return list
}

// Names returns the status of every DNS name, by cluster.
func (s *Set) Names() []NameStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []NameStatus
	for c := range s.named {
		r := &c.names
		status := NameStatus{c.name, r.name.Hostname, len(r.addresses), r.resolved, ""}
		if r.err != nil {
			status.Error = r.err.Error()
		}
		list = append(list, status)
	}
	slices.SortFunc(list, func(a, b NameStatus) int { return cmp.Compare(a.Cluster, b.Cluster) })
	return list
}

// due returns the clusters whose names are to be resolved now, marked as running.
func (s *Set) due() []*Cluster {
	now := transport.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*Cluster
	for c := range s.named {
		if r := &c.names; !r.running && (r.due == 0 || now >= r.due) {
			r.running = true
			list = append(list, c)
		}
	}
	return list
}

// resolve asks for a cluster's name once, when one of the slots is free.
func (s *Set) resolve(ctx context.Context, c *Cluster, slots chan struct{}) {
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-ctx.Done():
		return
	}
	s.mu.Lock()
	hostname := c.names.name.Hostname
	s.mu.Unlock()
	addresses, err := s.lookUp(ctx, hostname)
	s.mu.Lock()
	defer s.mu.Unlock()
	c.answer(hostname, addresses, err)
	close(s.answered)
	s.answered = make(chan struct{})
}

// Warm waits until every name has been asked for once, so that a route can refer to a new
// cluster without a gap, but no longer than limit: a name server that is slow must not hold
// up what does not need it. Names are asked for while Run runs.
func (s *Set) Warm(limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		s.mu.Lock()
		cold := false
		for c := range s.named {
			cold = cold || c.names.awaited()
		}
		answered := s.answered
		s.mu.Unlock()
		if !cold {
			return
		}
		select {
		case <-answered:
		case <-timer.C:
			return
		}
	}
}

// lookUp returns a name's addresses, sorted, each once.
func (s *Set) lookUp(ctx context.Context, hostname string) ([]netip.Addr, error) {
	if s.config.Resolve == nil {
		return nil, errors.New("no resolver")
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	addresses, err := s.config.Resolve(ctx, hostname)
	if err != nil {
		return nil, err
	}
	if len(addresses) == 0 {
		return nil, fmt.Errorf("%s has no address", hostname)
	}
	list := make([]netip.Addr, len(addresses))
	for i, a := range addresses {
		list[i] = a.Unmap()
	}
	slices.SortFunc(list, netip.Addr.Compare)
	list = slices.Compact(list)
	return list[:min(len(list), maxAddresses)], nil
}

// answer takes the outcome of a resolution over, unless the cluster has meanwhile moved
// on to another name. It is called with set.mu held.
func (c *Cluster) answer(hostname string, addresses []netip.Addr, err error) {
	r := &c.names
	if r.name.Hostname != hostname || hostname == "" {
		return
	}
	r.running = false
	awaited := r.awaited()
	r.err = err
	every := resolveEvery
	if err == nil {
		r.resolved = time.Now()
		if !slices.Equal(addresses, r.addresses) {
			r.addresses = addresses
			r.err = c.reconcile(false)
		}
	} else if r.resolved.IsZero() {
		every = retryEvery
		if awaited {
			_ = c.reconcile(false) // without hosts of before; r.err says more than it could
		}
	}
	jitter := time.Duration(c.set.config.Random() % uint64(every/5))
	r.due = transport.Now().Add(every - every/10 + jitter)
}
