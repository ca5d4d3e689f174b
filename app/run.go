package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"
)

// Run serves until ctx ends or Drain is called, then drains and stops every part. Readiness
// fails first, so that load balancers look elsewhere; answers close their connections;
// DrainDelay later listening stops; DrainTimeout later what is still open is cut. The
// admin API answers until the end. Run returns when no goroutine of its own is left.
func (a *App) Run(ctx context.Context) error {
	faces, err := a.openAdmin(ctx, a.console)
	if err != nil {
		return err
	}
	base := context.WithoutCancel(ctx)
	parts := newParts()

	adminCtx, stopAdmin := context.WithCancel(base)
	defer stopAdmin()
	addresses := make([]netip.AddrPort, 0, len(faces))
	for _, f := range faces {
		if at, err := netip.ParseAddrPort(f.listener.Addr().String()); err == nil {
			addresses = append(addresses, at)
		}
		a.log.LogAttrs(ctx, slog.LevelInfo, "listening", slog.String("for", f.name), slog.String("address", f.listener.Addr().String()))
		if f.name == "admin" && a.cfg.Greet != nil && a.token != "" {
			fmt.Fprintf(a.cfg.Greet, "Open http://%s/#token=%s\n", f.listener.Addr(), a.token)
		}
		parts.run("admin", func() error { return a.console.Serve(adminCtx, f.listener, f.handler) })
	}
	a.admin.Store(&addresses)

	engineCtx, stopEngines := context.WithCancel(base)
	defer stopEngines()
	for _, e := range a.engines {
		parts.run("engine", func() error { return e.Run(engineCtx) })
	}

	sourceCtx, stopSource := context.WithCancel(base)
	defer stopSource()
	parts.run("source", func() error { return a.source.Run(sourceCtx, a.pipeline.deliver) })
	parts.run("retry", func() error { a.pipeline.retry(sourceCtx); return nil })

	err = a.wait(ctx, parts)
	a.Drain()
	a.metrics.SetReady(false)
	stopSource()
	a.proxy.Drain()
	if err == nil {
		a.log.LogAttrs(ctx, slog.LevelInfo, "draining", slog.Duration("delay", a.cfg.DrainDelay), slog.Duration("timeout", a.cfg.DrainTimeout))
		parts.pause(a.cfg.DrainDelay)
	}
	stopEngines()
	parts.await("engine")
	stopAdmin()
	return errors.Join(err, parts.end(), a.closeLog(base))
}

// wait returns when the end is wished for (nil) or forced by a part's error.
func (a *App) wait(ctx context.Context, parts *parts) error {
	beginning := a.Ready()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.drain:
			return nil
		case err := <-parts.failed:
			return err
		case <-beginning:
			beginning = nil
			// With nothing listening that should, there is nothing to serve and nobody to ask.
			if now := a.pipeline.now.Load(); now.problem != nil {
				if len(a.proxy.Addresses()) == 0 {
					return now.problem
				}
				a.pipeline.logProblem(now)
			}
			a.metrics.SetReady(true)
		}
	}
}

// closeLog writes what the access log still holds. A reader that no longer reads does not
// keep the program.
func (a *App) closeLog(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := a.accessLog.Close(ctx); err != nil {
		return fmt.Errorf("access log: %w", err)
	}
	return nil
}
