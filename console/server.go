package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

// Bounds of the admin server.
const (
	maxConnections = 256
	maxHead        = 32 << 10
	stopWithin     = 5 * time.Second
	arriveWithin   = 500 * time.Millisecond // requests on connections that are accepted already
)

// Serve answers a listener's connections with Admin's or Probe's handler until ctx ends,
// then lets requests finish for five seconds. It closes the listener. Its error is nil
// when ctx ended it.
func (c *Console) Serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    maxHead,
		ErrorLog:          slog.NewLogLogger(c.cfg.Log.Handler(), slog.LevelDebug),
	}
	var open sync.WaitGroup // connections
	server.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Done()
		}
	}
	done := make(chan error, 1)
	limited := netutil.LimitListener(ln, maxConnections)
	go func() { done <- server.Serve(limited) }()
	select {
	case err := <-done:
		return fmt.Errorf("admin server: %w", err)
	case <-ctx.Done():
	}
	err := limited.Close()
	if served := <-done; !errors.Is(served, net.ErrClosed) {
		err = errors.Join(err, served)
	}
	server.SetKeepAlivesEnabled(false)
	await(&open, arriveWithin) // Shutdown leaves unanswered what has not arrived
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	shut := server.Shutdown(stop)
	if errors.Is(shut, context.DeadlineExceeded) {
		shut = server.Close() // whoever has not finished by now is cut off
	}
	if err = errors.Join(err, shut); err != nil {
		return fmt.Errorf("admin server: %w", err)
	}
	return nil
}

// await waits for a group, for some time at most.
func await(group *sync.WaitGroup, most time.Duration) {
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}
