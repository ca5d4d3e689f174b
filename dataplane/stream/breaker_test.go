package stream

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir.dev/weir/model"
)

// refusedAt connects, and fails the test unless the connection is reset.
func refusedAt(t *testing.T, addr string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err == nil { // else the reset has come at once
		_ = c.SetDeadline(time.Now().Add(patience))
		_, err = c.Read(make([]byte, 1))
		_ = c.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
}

// TestBreakerBoundsConnections: a connection that is carried is a request and a connection to
// its cluster's breaker for as long as it lasts.
func TestBreakerBoundsConnections(t *testing.T) {
	for bound, b := range map[string]model.Breaker{
		"maxRequests":    {MaxRequests: 2},
		"maxConnections": {MaxConnections: 2},
	} {
		t.Run(bound, func(t *testing.T) {
			r := newRig(t, []string{host(t, echo), host(t, echo)}, func(_ *rig, s *model.Snapshot) {
				s.Clusters[0].Breaker = b
				s.Clusters[0].ConnectTimeout = 50 * time.Millisecond
			})
			first, second := r.connect(), r.connect()
			for _, c := range []net.Conn{first, second} {
				if got := say(t, c, "hello"); got != "hello" {
					t.Fatalf("got %q", got)
				}
			}
			refusedAt(t, r.addr)
			_, _ = first.Close(), second.Close()
			list := r.records()
			refused := 0
			for _, rec := range list {
				if rec.Flag == "UO" && strings.Contains(rec.Detail, bound) {
					refused++
				}
			}
			if len(list) != 3 || refused != 1 {
				t.Errorf("logged %+v", list)
			}
			stats, _ := r.metrics.StreamStats(name)
			if stats.Flags[model.FlagUO] != 1 {
				t.Errorf("counted %+v", stats)
			}
		})
	}
}

// TestBreakerTripsForConnections: hosts that cannot be reached open the breaker, and what it
// refuses is not tried.
func TestBreakerTripsForConnections(t *testing.T) {
	r := newRig(t, []string{dead(t)}, func(_ *rig, s *model.Snapshot) {
		s.Clusters[0].Breaker.Trip = &model.Trip{Failures: 0.5, Of: 6, OpenFor: time.Hour, Probes: 1}
	})
	for range 5 {
		refusedAt(t, r.addr)
	}
	flags := map[string]int{}
	for i, rec := range r.records() {
		flags[rec.Flag]++
		if (rec.Flag == "UO") != (len(rec.Attempts) == 0) {
			t.Errorf("connection %d: %+v", i, rec)
		}
	}
	if len(flags) != 2 || flags["UF"] != 3 || flags["UO"] != 2 {
		t.Errorf("flags %v", flags)
	}
}

// TestRetryBudgetForConnections: another host is tried as far as the cluster's budget lets it be.
func TestRetryBudgetForConnections(t *testing.T) {
	r := newRig(t, []string{dead(t), dead(t), dead(t)}, func(_ *rig, s *model.Snapshot) {
		s.Clusters[0].RetryBudget = &model.RetryBudget{Share: 0.5}
	})
	for range 8 {
		refusedAt(t, r.addr)
	}
	tries := 0
	for _, rec := range r.records() {
		if tries += len(rec.Attempts); rec.Flag != "UF" {
			t.Errorf("logged %+v", rec)
		}
	}
	if tries != 12 {
		t.Errorf("%d tries for 8 connections, want 12", tries)
	}
}

// TestNoRetryCostsNothing: where there is no other host to try, nothing is taken from the budget.
func TestNoRetryCostsNothing(t *testing.T) {
	r := newRig(t, []string{dead(t)}, func(_ *rig, s *model.Snapshot) {
		s.Clusters[0].RetryBudget = &model.RetryBudget{MinPerSecond: 10}
	})
	for range 4 {
		refusedAt(t, r.addr)
	}
	r.records()
	if b := r.clusters.Breakers(); len(b) != 1 || b[0].First != 4 || b[0].Retries != 0 {
		t.Errorf("%+v, want 4 first tries and no retry", b)
	}
}
