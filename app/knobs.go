package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"weir.dev/weir/controlplane/rollout"
	durable "weir.dev/weir/controlplane/state"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// knobs are the live changes beside the snapshot. Each of those who decide some of them sets their own;
// engines get all of them each time.
type knobs struct {
	engines []Engine
	mu      sync.Mutex
	now     model.Knobs
}

// setReleases has engines divide users otherwise.
func (k *knobs) setReleases(releases []model.ReleaseKnob, secret []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now.Releases, k.now.SampleSecret = releases, secret
	return k.tune()
}

// setFaults has engines stop these faults, and no others.
func (k *knobs) setFaults(stopped []string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now.StoppedFaults = stopped
	return k.tune()
}

func (k *knobs) tune() error {
	k.now.Version++
	now := k.now
	var errs []error
	for _, e := range k.engines {
		errs = append(errs, e.Tune(&now))
	}
	return errors.Join(errs...)
}

// buildRollouts builds what decides about releases, and what must survive a restart.
func (a *App) buildRollouts() {
	a.keeper = durable.NewKeeper(a.cfg.StateDir, a.log)
	a.knobs = &knobs{engines: a.engines}
	a.faults.tune = func() error { return a.knobs.setFaults(a.faults.stopped()) }
	a.faults.keep = a.keepStops
	a.rollouts = rollout.NewLoop(rollout.Config{
		Keeper: a.keeper, Tune: a.knobs.setReleases, Observe: a.proxy.Releases, Trips: a.proxy.Trips(),
		Client: a.newGateClient(), Log: a.log, Objectives: objectives{a.objectives}, Queries: a.series,
	})
	a.pipeline.planned = func(out translate.Output) {
		a.planObjectives(out)
		a.rollouts.Plan(out.Rollouts)
	}
}

// newGateClient is what asks gates. It goes wherever backends may be, and so never to the admin API; nor
// to where clouds tell their machines secrets.
func (a *App) newGateClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: a.dialName, MaxIdleConns: 16, MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true,
	}}
}

// dialName reaches a host by name and port.
func (a *App) dialName(ctx context.Context, network, address string) (net.Conn, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, network, service)
	if err != nil {
		return nil, err
	}
	var found []netip.Addr
	if ip, err := netip.ParseAddr(host); err == nil {
		found = []netip.Addr{ip}
	} else if found, err = a.cfg.Resolve(ctx, host); err != nil {
		return nil, err
	}
	err = errors.New("the name has no address")
	for _, ip := range found {
		if tellsSecrets(ip.Unmap()) {
			return nil, fmt.Errorf("dial %v: this is link-local, where clouds tell machines their secrets: no gate may ask there", ip.Unmap())
		}
		conn, problem := a.dial(ctx, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
		if problem == nil {
			return conn, nil
		}
		err = problem
	}
	return nil, err
}

// faultsBucket and stoppedKey are where the faults are kept that somebody has stopped.
const (
	faultsBucket = "faults"
	stoppedKey   = "stopped"
)

// keepStops makes stopped faults outlive the process.
func (a *App) keepStops(stops map[string]faultStop) error {
	s, err := a.keeper.Try()
	if err != nil {
		return err
	}
	var b durable.Batch
	b.Put(faultsBucket, stoppedKey, stops)
	return s.Commit(&b)
}

// restoreStops has engines stop the faults that were stopped before a restart.
func (a *App) restoreStops() {
	if !a.keeper.Kept() {
		return
	}
	var stops map[string]faultStop
	s, err := a.keeper.Try()
	if err == nil {
		_, err = s.Read(faultsBucket, stoppedKey, &stops)
	}
	if err != nil {
		a.log.LogAttrs(context.Background(), slog.LevelError, "faults that were stopped may act again", slog.Any("error", err))
		return
	}
	if err := a.faults.restore(stops); err != nil {
		a.log.LogAttrs(context.Background(), slog.LevelError, "knobs are not in effect as a whole", slog.Any("error", err))
	}
}

// Rollout does what somebody wants with a Rollout, by namespace/name. The error is rollout.ErrUnknown, a
// *rollout.Refusal, or says why it could not be written down.
func (a *App) Rollout(_ context.Context, name string, c rollout.Command) error {
	return a.rollouts.Command(name, c)
}

// Rollouts are all of them, by name.
func (w window) Rollouts() []rollout.Status { return w.rollouts.Statuses() }

// RolloutHistory is what has happened to one, the oldest first.
func (w window) RolloutHistory(name string) []rollout.Entry { return w.rollouts.History(name) }

// CommandRollout is App.Rollout.
func (w window) CommandRollout(ctx context.Context, name string, c rollout.Command) error {
	return w.Rollout(ctx, name, c)
}

// Observations are what the proxies of this process see.
func (w window) Observations() []model.ReleaseObservation { return w.proxy.Releases() }

// RolloutPatch is what to change in what is written so that it says what is live.
func (w window) RolloutPatch(name string) string {
	now := w.pipeline.now.Load()
	status, found := w.rollouts.Status(name)
	if now == nil || !found || status.Phase != rollout.Succeeded && status.Phase != rollout.Finished {
		return ""
	}
	return rollout.Patch(now.set, name)
}
