package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
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
		if f.name == "admin" {
			a.announceAdmin(f.listener.Addr().String())
		}
		parts.run("admin", func() error {
			if a.cfg.Handover != nil { // until then the predecessor answers
				select {
				case <-a.serving:
				case <-adminCtx.Done():
					return f.listener.Close()
				}
			}
			return a.console.Serve(adminCtx, f.listener, f.handler)
		})
	}
	a.admin.Store(&addresses)
	if len(faces) > 0 {
		parts.run("record", func() error { a.console.Record(adminCtx); return nil })
	}

	engineCtx, stopEngines := context.WithCancel(base)
	defer stopEngines()
	parts.run("guard", func() error { a.guard.run(engineCtx); return nil })
	for _, e := range a.engines {
		parts.run("engine", func() error { return e.Run(engineCtx) })
	}

	if h := a.cfg.Handover; h != nil && h.quic != nil {
		parts.run("predecessor", func() error { a.awaitPredecessor(engineCtx, h.quic); return nil })
	}

	control := &controlSide{app: a, parts: parts, base: base}
	control.start()

	err = a.wait(ctx, control)
	succeeded := errors.Is(err, errSucceeded)
	if succeeded {
		err = nil
		a.proxy.Succeed()
		stopAdmin() // the new process answers there, and nobody is to hear that this one drains
		parts.await("admin")
	}
	a.Drain()
	a.endDrills()
	a.metrics.SetReady(false)
	control.stop()
	a.proxy.Drain()
	if err == nil && !succeeded {
		a.notify(daemon.SdNotifyStopping)
		a.log.LogAttrs(ctx, slog.LevelInfo, "draining", slog.Duration("delay", a.cfg.DrainDelay), slog.Duration("timeout", a.cfg.DrainTimeout))
		parts.pause(a.cfg.DrainDelay)
	}
	stopEngines()
	parts.await("engine")
	stopAdmin()
	return errors.Join(err, parts.end(), a.keeper.Close(), a.closeLog(base))
}

// controlSide is what reads and decides: it can be stopped and started again.
type controlSide struct {
	app   *App
	parts *parts
	base  context.Context
	stop  context.CancelFunc
}

func (c *controlSide) start() {
	var ctx context.Context
	ctx, c.stop = context.WithCancel(c.base)
	c.app.restoreStops()
	c.app.rollouts.Begin()
	c.parts.run("rollouts", func() error { c.app.rollouts.Run(ctx); return nil })
	c.parts.run("series", func() error { return c.app.runSeries(ctx) })
	c.parts.run("faults", func() error { c.app.heedObjectives(ctx); return nil })
	c.parts.run("objectives", func() error { return c.app.objectives.Run(ctx) })
	c.parts.run("source", func() error { return c.app.source.Run(ctx, c.app.deliver) })
	c.parts.run("tend", func() error { c.app.pipeline.tend(ctx); return nil })
}

// end stops it and returns when it has written all that it keeps.
func (c *controlSide) end() {
	c.stop()
	c.parts.await("source")
	c.parts.await("tend")
	c.parts.await("rollouts")
	c.parts.await("faults")
	c.parts.await("objectives")
	c.parts.await("series")
	if err := c.app.keeper.Close(); err != nil {
		c.app.log.LogAttrs(c.base, slog.LevelError, "close the state", slog.Any("error", err))
	}
}

// errSucceeded ends Run because a new process has this one's place.
var errSucceeded = errors.New("a new process serves")

// wait returns when the end is wished for (nil), a new process serves (errSucceeded) or a
// part's error forces the end.
func (a *App) wait(ctx context.Context, control *controlSide) error {
	beginning := a.Ready()
	var upgrade <-chan struct{} // not before this process serves
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.drain:
			return nil
		case err := <-control.parts.failed:
			return err
		case <-upgrade:
			if a.tryUpgrade(ctx, control) {
				return errSucceeded
			}
		case <-beginning:
			beginning, upgrade = nil, a.upgrade
			// With nothing listening that should, there is nothing to serve and nobody to ask.
			if now := a.pipeline.now.Load(); now.problem != nil {
				if len(a.proxy.Addresses()) == 0 {
					return now.problem
				}
				a.pipeline.logProblem(now)
			}
			a.begun(ctx)
		}
	}
}

// begun tells everybody that this process serves.
func (a *App) begun(ctx context.Context) {
	a.metrics.SetReady(true)
	close(a.serving)
	if a.cfg.Handover != nil {
		if err := a.sockets.closeUnclaimed(); err != nil {
			a.log.LogAttrs(ctx, slog.LevelWarn, "close sockets that nobody wants any more", slog.Any("error", err))
		}
		a.cfg.Handover.announce()
	}
	close(a.begin)
	if a.cfg.Handover == nil || a.cfg.Handover.quic == nil {
		close(a.beginQUIC)
	}
	a.notify(daemon.SdNotifyReady)
}

// notify tells a service manager that listens (systemd) what happened.
func (a *App) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		a.log.LogAttrs(context.Background(), slog.LevelWarn, "the service manager cannot be told", slog.String("state", state), slog.Any("error", err))
	}
}

// tryUpgrade gives this process's place to a new one and reports whether that serves. If not,
// this process goes on.
func (a *App) tryUpgrade(ctx context.Context, control *controlSide) bool {
	err := a.upgradable()
	if err == nil {
		control.end()
		if err = a.succeed(ctx, control.parts); err == nil {
			return true
		}
		control.start() // at its end, too: what ends it expects it to run
	}
	a.upgrading.Store(false)
	if errors.Is(err, errEnding) {
		a.log.LogAttrs(ctx, slog.LevelWarn, "no upgrade", slog.Any("error", err))
	} else {
		a.log.LogAttrs(ctx, slog.LevelError, "no upgrade; this process goes on", slog.Any("error", err))
	}
	return false
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
