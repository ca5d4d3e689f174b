// Package simulate plays a scenario against a snapshot: callers, proxies and services with
// virtual time, where the proxy balances, ejects, breaks, limits, retries and sheds by the same
// packages of traffic as the data plane. It sends nothing and knows no files; what of the data
// plane is not policy (bytes, TLS, protocols) has no cost in it.
package simulate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"weir.dev/weir/controlplane/explain"
	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/breaker"
	"weir.dev/weir/traffic/overload"
)

// Bounds of a run: of what is under way at a time, and of what happens in all.
const (
	maxUnderWay   = 1_000_000
	maxHappenings = 300_000_000
)

// What holds where a scenario says nothing.
const (
	defaultStep      = time.Second
	defaultRoundTrip = 500 * time.Microsecond
)

// Input is what a run needs.
type Input struct {
	Snapshot *model.Snapshot
	Scenario *resource.Object // whose Value is a *resource.Scenario
	// Progress, if set, is told after each step how much of the run is done.
	Progress func(done, whole time.Duration)
}

// simulation is one run.
type simulation struct {
	clock
	random    *rand.Rand
	roundTrip time.Duration
	step      time.Duration
	duration  time.Duration
	most      int // requests that may be under way

	services []*service
	clusters []*cluster
	callers  []*caller
	events   []*event
	scopes   map[string]*overload.Gate // by Overload.Scope

	underWay int // requests
	counts   counts
	possible float64 // wishes that could have been granted in the step, at best
	measured moment  // up to which possible counts
	steps    []Step
	latency  []*callerCounts // by step, for limits
}

// event is one of the scenario, found in the snapshot.
type event struct {
	spec      *resource.ScenarioEvent
	at, until moment
	service   *service // nil: of callers
	hosts     int      // of the service, the first ones
}

// Run plays a scenario. The diagnostics say what is wrong with it beyond its form; then there is no
// report. The error says why a run was not finished.
func Run(ctx context.Context, in Input) (*Report, []resource.Diagnostic, error) {
	s, found, err := prepare(in)
	if s == nil {
		return nil, found, err
	}
	if err := s.run(ctx, in.Progress); err != nil {
		return nil, nil, err
	}
	r := s.report(in.Scenario)
	r.judge(s, in.Scenario)
	return r, nil, nil
}

// prepare makes everything ready to begin; nil: there is something wrong.
func prepare(in Input) (*simulation, []resource.Diagnostic, error) {
	object, ok := in.Scenario.Value.(*resource.Scenario)
	if !ok {
		return nil, nil, errors.New("not a Scenario")
	}
	spec := &object.Spec
	s := &simulation{
		random:    rand.New(rand.NewPCG(uint64(spec.Seed), 0x57656972)),
		roundTrip: orElse(spec.RoundTrip.Duration(), defaultRoundTrip),
		step:      orElse(spec.Step.Duration(), defaultStep),
		duration:  spec.Duration.Duration(),
		most:      maxUnderWay,
		scopes:    map[string]*overload.Gate{},
	}
	s.now, s.measured = epoch, epoch
	p := planner{s: s, object: in.Scenario, spec: spec, snapshot: in.Snapshot, explainer: explain.New(in.Snapshot)}
	p.plan()
	if len(p.found) > 0 {
		resource.SortDiagnostics(p.found)
		return nil, p.found, nil
	}
	return s, nil, nil
}

func orElse(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// oneWay is how long a message takes.
func (s *simulation) oneWay() time.Duration { return s.roundTrip / 2 }

// run has everything happen, step by step.
func (s *simulation) run(ctx context.Context, progress func(done, whole time.Duration)) error {
	for _, e := range s.events {
		s.at(e.at, func() { s.turn(e) })
		if e.until != never {
			s.at(e.until, func() { s.turn(e) })
		}
	}
	for _, c := range s.callers {
		c.begin()
	}
	end := epoch.add(s.duration)
	for from := epoch; from < end; {
		until := min(from.add(s.step), end)
		if err := s.play(ctx, until); err != nil {
			return fmt.Errorf("at %s: %w", s.now.sub(epoch).Round(time.Millisecond), err)
		}
		s.measure()
		s.close(from, until)
		from = until
		if progress != nil {
			progress(until.sub(epoch), s.duration)
		}
	}
	return nil
}

// play has everything happen until a moment.
func (s *simulation) play(ctx context.Context, until moment) error {
	for s.next(until) {
		if s.done%4096 != 0 {
			continue
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case s.underWay > s.most:
			return fmt.Errorf("more than %d requests are under way: give callers a timeout, or services a shorter queue", s.most)
		case s.done > maxHappenings:
			return fmt.Errorf("more than %d things have happened: write a shorter duration or less load", maxHappenings)
		}
	}
	return nil
}

// turn puts the events of this moment into effect: one of them begins or ends.
func (s *simulation) turn(e *event) {
	s.measure()
	if e.service == nil {
		for _, c := range s.callers {
			if e.spec.Caller != "" && e.spec.Caller != c.spec.Name {
				continue
			}
			times := 1.0
			for _, o := range s.events {
				if o.service == nil && o.holds(s.now) && (o.spec.Caller == "" || o.spec.Caller == c.spec.Name) {
					times *= o.spec.Surge.Of(1)
				}
			}
			c.surges(times)
		}
		return
	}
	for i, v := range e.service.servers[:e.hosts] {
		c := condition{slow: 1}
		for _, o := range s.events {
			if o.service == e.service && i < o.hosts && o.holds(s.now) {
				c.add(o.spec)
			}
		}
		v.become(c)
	}
}

// holds reports whether the event is going on.
func (e *event) holds(now moment) bool { return e.at <= now && now < e.until }

// add adds what an event does. Of several slow-downs all count, of several shares of errors
// the greatest.
func (c *condition) add(e *resource.ScenarioEvent) {
	c.down = c.down || e.Outage
	c.hung = c.hung || e.Hang
	c.slow *= e.SlowDown.Of(1)
	if share := e.Errors.Of(0); share > c.errors {
		c.errors, c.fast = share, e.Fast
	}
}

// hostAddress is the address of a host that the resources do not have.
func hostAddress(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i % 256)}), uint16(8000+i/256))
}

// measure adds what could have succeeded since it was last asked.
func (s *simulation) measure() {
	s.possible += s.ideal() * s.now.sub(s.measured).Seconds()
	s.measured = s.now
}

// ideal returns how many wishes a second could be granted as things are: all that callers have,
// were nothing queued, or where a service cannot do so much, its capacity's part of them.
func (s *simulation) ideal() float64 {
	demand := make([]float64, len(s.services))
	offered := make([]float64, len(s.callers))
	visits := make([][]float64, len(s.callers))
	for i, c := range s.callers {
		visits[i] = make([]float64, len(s.services))
		took := visit(c.call, 1, visits[i]) + s.roundTrip.Seconds()
		if offered[i] = c.rate * c.surge; c.rate == 0 {
			offered[i] = float64(c.wanted()) / (c.think.Seconds() + took)
		}
		for v := range demand {
			demand[v] += offered[i] * visits[i][v]
		}
	}
	sum := 0.0
	for i := range s.callers {
		granted := 1.0
		for v, service := range s.services {
			if visits[i][v] > 0 {
				granted = min(granted, service.capacity()/demand[v])
			}
		}
		sum += offered[i] * granted
	}
	return sum
}

// visit adds how often a call leads to each service, and returns how many seconds it takes
// when nothing waits.
func visit(c *call, times float64, visits []float64) float64 {
	took := 0.0
	for _, a := range c.route.arms {
		if a.cluster == nil {
			continue
		}
		v, share := a.cluster.service, float64(a.weight)/float64(c.route.weights)
		visits[v.index] += times * share
		own := v.time.mean.Seconds() + v.s.roundTrip.Seconds()
		for _, next := range v.calls {
			own += next.share * (visit(next, times*share*next.share, visits) + v.s.roundTrip.Seconds())
		}
		took += share * own
	}
	return took
}

// counts are of the proxy, by step.
type counts struct{ flags [model.FlagCount]uint64 }

func (c *counts) flag(f model.Flag) {
	if f != model.FlagNone {
		c.flags[f]++
	}
}

// close ends a step: what was counted in it becomes a row.
func (s *simulation) close(from, until moment) {
	step := Step{At: from.sub(epoch).Seconds(), For: until.sub(from).Seconds(), Possible: s.possible}
	all := &callerCounts{}
	for _, c := range s.callers {
		all.add(&c.counts)
		c.total.add(&c.counts)
		c.counts = callerCounts{}
	}
	step.Asked, step.Ended, step.Succeeded, step.TimedOut = all.asked, all.ended, all.succeeded, all.timedOut
	step.P50, step.P99 = milliseconds(all.latency.Quantile(0.5)), milliseconds(all.latency.Quantile(0.99))
	step.UnderWay = s.underWay
	for f, n := range s.counts.flags {
		if n > 0 {
			if step.Flags == nil {
				step.Flags = map[string]uint64{}
			}
			step.Flags[model.Flag(f).String()] = n
		}
	}
	for _, v := range s.services {
		step.Services = append(step.Services, v.close(until.sub(from)))
	}
	s.counts, s.possible = counts{}, 0
	s.steps, s.latency = append(s.steps, step), append(s.latency, all)
}

// close makes the row of a service.
func (v *service) close(lasts time.Duration) ServiceStep {
	k := &v.counts
	for _, server := range v.servers {
		for _, j := range server.working { // up to now, and from now on in the next step
			k.busy += v.s.now.sub(j.begun)
			j.begun = v.s.now
		}
	}
	row := ServiceStep{
		Name: v.name, Tries: k.tries, Needed: k.needed, Retries: k.retries, Answers: k.done, Wasted: k.wasted,
		Refused: k.refused, Overflown: k.overflown, Waiting: v.waiting(),
		Busy: k.busy.Seconds() / (lasts.Seconds() * float64(len(v.servers)*v.concurrency)),
	}
	worst := breaker.Closed
	for _, c := range v.s.clusters {
		if c.service != v {
			continue
		}
		row.Ejected = max(row.Ejected, c.ejected())
		if c.trips() {
			worst = max(worst, c.trip.Status(int64(v.s.now)).State)
			row.Breaker = worst.String()
		}
	}
	v.total.add(k)
	v.counts = serviceCounts{}
	return row
}

// trips reports whether the cluster's breaker may.
func (c *cluster) trips() bool {
	return c.spec.Breaker.Trip != nil && c.spec.Breaker.Mode != model.ModeDisabled
}

// prepare learns what a route needs of the cluster.
func (c *cluster) prepare(r *model.Route) {
	if r.Retry != nil && r.Retry.Hedge != nil && r.Retry.Hedge.Quantile > 0 && c.latency == nil {
		c.latency = newRecent()
	}
	if o := r.Overload; o != nil && o.Throttle != nil && o.Mode != model.ModeDisabled && c.throttle == nil {
		c.throttle = overload.NewThrottle(o.Throttle.Window)
	}
}
