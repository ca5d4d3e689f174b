package rollout

import (
	"context"
	"maps"
	"slices"
	"time"

	"weir.dev/weir/controlplane/state"
	"weir.dev/weir/model"
)

// Run decides until ctx ends. It gives the store back then, which is the keeper's to close.
func (l *Loop) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	l.mu.Lock()
	l.asking = ctx
	l.mu.Unlock()
	defer func() {
		cancel()
		l.asked.Wait()
		l.mu.Lock()
		l.store, l.asking, l.begun = nil, nil, false
		l.mu.Unlock()
	}()
	look, retry := time.NewTicker(lookEvery), time.NewTicker(retryEvery)
	defer look.Stop()
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wanted:
			l.await(ctx)
		case <-retry.C:
			l.retry()
		case a := <-l.results:
			l.mu.Lock()
			if l.rollouts[a.name] != nil {
				l.step(a.name, Event{Round: a.result})
				_ = l.settle() // an error is shown, and they are asked again
			}
			l.mu.Unlock()
		case <-l.cfg.Trips:
			l.look()
		case <-look.C:
			l.look()
		}
	}
}

// await waits for the store that another process holds.
func (l *Loop) await(ctx context.Context) {
	s, err := l.cfg.Keeper.Wait(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.store == nil && ctx.Err() == nil {
		l.take(func() (*state.Store, error) { return s, err })
		l.tune(nil)
	}
}

// retry tries again what could not be done.
func (l *Loop) retry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.act()
}

// look tells each Rollout what was seen, and that time has passed.
func (l *Loop) look() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.store == nil {
		return
	}
	l.land()
	for _, o := range l.observe() {
		if r := l.rollouts[o.Release]; r != nil && (r.Phase.running() || r.Phase == Succeeded && o.Trip != nil) {
			l.step(o.Release, Event{Observation: &o})
		}
	}
	ails := l.problem != ""
	for _, name := range slices.Sorted(maps.Keys(l.rollouts)) {
		r := l.rollouts[name]
		l.thaw(r)
		if _, waits := l.unsaved[name]; waits || r.Phase.running() || r.Phase == Waiting {
			l.step(name, Event{})
			l.turns[name].save = l.turns[name].save || ails // to see whether the disk is well again
			ails = false
		}
	}
	_ = l.settle() // an error is shown
}

func (l *Loop) observe() []model.ReleaseObservation {
	for _, r := range l.rollouts {
		if r.Phase.running() || r.Phase == Succeeded {
			return l.cfg.Observe()
		}
	}
	return nil
}

// thaw tells a Rollout whether it is frozen, if that has changed.
func (l *Loop) thaw(r *Rollout) {
	if l.cfg.Objectives == nil || r.Phase == Gone {
		return
	}
	var f Freeze
	if owner, reason, frozen := l.cfg.Objectives.Frozen(r.Name); frozen {
		f = Freeze{owner, reason}
	}
	was := Freeze{}
	if r.freeze != nil {
		was = *r.freeze
	}
	if was != f {
		l.step(r.Name, Event{Freeze: &f})
	}
}

// ask has the gates of a round asked.
func (l *Loop) ask(name string, round *Round) {
	ctx := l.asking
	if ctx == nil { // it is asked again
		return
	}
	l.asked.Go(func() {
		result := &RoundResult{Run: round.Run, Generation: round.Generation, Number: round.Number, Results: l.gates.ask(ctx, round)}
		select {
		case l.results <- answered{name, result}:
		case <-ctx.Done():
		}
	})
}
