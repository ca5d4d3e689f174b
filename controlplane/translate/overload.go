package translate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// overloadSide is the request side's part on overload.
type overloadSide struct {
	concurrency  *setting[concurrency]
	priority     *setting[[]model.Priority]
	queueSize    *setting[int]
	queueTimeout *setting[time.Duration]
	queueOrder   *setting[v1alpha1.QueueOrder]
	fairBy       *setting[[]model.Key]
	acceptRatio  *setting[float64]
	window       *setting[time.Duration]
	degrade      *setting[[]model.Degrade]
	mode         *setting[model.Mode]
}

// concurrency is a bound on requests at once, and where they are counted.
type concurrency struct {
	limit    int
	adaptive bool
	min, max int    // of an adaptive one
	scope    string // known once the policy is looked up at a target
}

// queueOrders are the orders of queues: whether the youngest comes first.
var queueOrders = map[v1alpha1.QueueOrder]bool{"LIFO": true, "FIFO": false}

// readOverload reads what a policy has done when there is too much.
func (r *policyReader) readOverload(l *v1alpha1.Overload) {
	const path = "overload."
	v := &r.into.request.overload
	if l.Concurrency != nil {
		v.concurrency = set(r, path+"concurrency", sideRequest, r.readConcurrency(l.Concurrency))
	}
	if l.Priority != nil {
		v.priority = set(r, path+"priority", sideRequest, r.readPriorities(l.Priority))
	}
	if q := l.Queue; q != nil {
		v.queueSize = r.number(path+"queue.size", sideRequest, q.Size)
		v.queueTimeout = r.duration(path+"queue.timeout", sideRequest, q.Timeout)
		if q.Order != nil {
			v.queueOrder = set(r, path+"queue.order", sideRequest, *q.Order)
		}
		if q.FairBy != nil {
			v.fairBy = set(r, path+"queue.fairBy", sideRequest, r.readKeys(path+"queue.fairBy", q.FairBy))
		}
	}
	if t := l.Throttle; t != nil {
		if t.AcceptRatio != nil {
			v.acceptRatio = set(r, path+"throttle.acceptRatio", sideRequest, r.loadFactor(path+"throttle.acceptRatio", *t.AcceptRatio))
		}
		v.window = r.duration(path+"throttle.window", sideRequest, t.Window)
	}
	if l.Degrade != nil {
		v.degrade = set(r, path+"degrade", sideRequest, r.readSteps(l.Degrade))
	}
	v.mode = r.mode(path+"mode", sideRequest, l.Mode)
}

func (r *policyReader) readConcurrency(c *v1alpha1.Concurrency) concurrency {
	if c.Adaptive == nil {
		return concurrency{limit: int(deref(c.Limit, 0))}
	}
	least, most := c.Adaptive.Min, c.Adaptive.Max
	return concurrency{
		adaptive: true,
		min:      int(deref(least, min(defaultAdaptiveMin, deref(most, defaultAdaptiveMax)))),
		max:      int(deref(most, max(defaultAdaptiveMax, deref(least, 0)))),
	}
}

func (r *policyReader) readPriorities(list []v1alpha1.Priority) []model.Priority {
	priorities := make([]model.Priority, len(list))
	for i, p := range list {
		priorities[i].Class = r.class(fmt.Sprintf("overload.priority[%d].class", i), p.Class)
		priorities[i].When = deref(p.When, "")
	}
	return priorities
}

func (r *policyReader) class(path string, name v1alpha1.Class) model.Class {
	class, ok := model.ParseClass(string(name))
	if !ok {
		r.error(RuleInvalidValue, path, "%q is not CriticalPlus, Critical, SheddablePlus or Sheddable", name)
	}
	return class
}

// readSteps reads the steps of degradation, which are in the order in which they are reached.
func (r *policyReader) readSteps(list []v1alpha1.Degrade) []model.Degrade {
	steps := make([]model.Degrade, len(list))
	for i, d := range list {
		path := fmt.Sprintf("overload.degrade[%d].", i)
		s := &steps[i]
		s.At = r.percentage(path+"at", d.At)
		if d.Shed != nil {
			s.Shed = r.class(path+"shed", *d.Shed)
		}
		s.NoRetries = deref(d.NoRetries, false)
		if t := d.Timeouts; t != nil {
			s.Timeouts = &model.Timeouts{}
			if request := r.duration(path+"timeouts.request", sideRequest, t.Request); request != nil {
				s.Timeouts.Request = request.value
			}
			if perTry := r.duration(path+"timeouts.perTry", sideRequest, t.PerTry); perTry != nil {
				s.Timeouts.PerTry = perTry.value
			}
		}
		if d.ServeStale != nil {
			s.ServeStale = r.duration(path+"serveStale.maxAge", sideRequest, &d.ServeStale.MaxAge).value
		}
		if a := d.Answer; a != nil {
			s.Answer = &model.FixedAnswer{Status: int(a.Status), Body: deref(a.Body, "")}
			for _, h := range a.Headers {
				s.Answer.Headers = append(s.Answer.Headers, model.Header{Name: strings.ToLower(string(h.Name)), Value: h.Value})
			}
		}
	}
	slices.SortStableFunc(steps, func(a, b model.Degrade) int { return cmp.Compare(a.At, b.At) })
	return steps
}

// at returns a request side as it is at a target of its policy: requests are counted there.
func (r requestSide) at(object resource.Key, section string) requestSide {
	if c := r.overload.concurrency; c != nil {
		counted := *c
		counted.value.scope = object.Kind + "/" + pathName(object)
		if object.Namespace == "" {
			counted.value.scope = object.Kind + "/" + object.Name
		}
		if section != "" {
			counted.value.scope += "/" + section
		}
		r.overload.concurrency = &counted
	}
	return r
}

// under returns s with what nobody set taken from a level above. Queue and mode are those of
// the policy that sets the concurrency, so that all who share a limit wait in one queue.
func (s overloadSide) under(above overloadSide) overloadSide {
	switch {
	case s.concurrency != nil:
		above = above.alone()
	case above.concurrency != nil:
		s = s.alone()
	}
	return s.over(above)
}

// alone returns s without queue and mode.
func (s overloadSide) alone() overloadSide {
	s.queueSize, s.queueTimeout, s.queueOrder, s.fairBy, s.mode = nil, nil, nil, nil, nil
	return s
}

// over returns s with what nobody set taken from another.
func (s overloadSide) over(other overloadSide) overloadSide {
	return overloadSide{
		concurrency:  cmp.Or(s.concurrency, other.concurrency),
		priority:     cmp.Or(s.priority, other.priority),
		queueSize:    cmp.Or(s.queueSize, other.queueSize),
		queueTimeout: cmp.Or(s.queueTimeout, other.queueTimeout),
		queueOrder:   cmp.Or(s.queueOrder, other.queueOrder),
		fairBy:       cmp.Or(s.fairBy, other.fairBy),
		acceptRatio:  cmp.Or(s.acceptRatio, other.acceptRatio),
		window:       cmp.Or(s.window, other.window),
		degrade:      cmp.Or(s.degrade, other.degrade),
		mode:         cmp.Or(s.mode, other.mode),
	}
}

// fixes returns what holds where s is an override of what is below. A queue or mode that is
// another one at this gateway makes another scope, for all of one share theirs.
func (s overloadSide) fixes(below overloadSide, gateway resource.Key) overloadSide {
	if s.concurrency != nil {
		return s.over(below.alone())
	}
	if below.concurrency != nil && s.alone() != s {
		counted := *below.concurrency
		counted.value.scope += "@" + pathName(gateway)
		below.concurrency = &counted
	}
	return s.over(below)
}

// counted tells whether the requests of a scope are.
func (s overloadSide) counted() bool {
	return s.concurrency != nil && (s.concurrency.value.adaptive || s.concurrency.value.limit > 0)
}

// fillOverload says what a route does when there is too much, and who said so; nothing where
// nobody said anything.
func fillOverload(r *model.Route, s overloadSide) {
	const path = "overload."
	o := &r.Origins
	out := model.Overload{
		Priorities: effective(s.priority, nil, path+"priority", o),
		Throttle:   s.throttle(o),
	}
	if s.counted() {
		c := effective(s.concurrency, concurrency{}, path+"concurrency", o)
		out.Scope, out.Limit = c.scope, c.limit
		if c.adaptive {
			out.Adaptive = &model.Adaptive{Min: c.min, Max: c.max}
		}
		out.Queue = s.queue(o)
		out.Degrade = effective(s.degrade, nil, path+"degrade", o)
	}
	if out.Scope == "" && len(out.Priorities) == 0 && out.Throttle == nil {
		return
	}
	out.Mode = effective(s.mode, model.ModeEnforce, path+"mode", o)
	r.Overload = &out
}

// queue returns where requests wait, nil for nowhere.
func (s overloadSide) queue(o *model.Origins) *model.Queue {
	const path = "overload.queue."
	if s.queueSize == nil && s.queueTimeout == nil && s.queueOrder == nil && s.fairBy == nil {
		return nil
	}
	size := effective(s.queueSize, defaultQueueSize, path+"size", o)
	if size == 0 {
		return nil
	}
	return &model.Queue{
		Size:    size,
		Timeout: effective(s.queueTimeout, defaultQueueTimeout, path+"timeout", o),
		LIFO:    queueOrders[effective(s.queueOrder, defaultQueueOrder, path+"order", o)],
		FairBy:  effective(s.fairBy, nil, path+"fairBy", o),
	}
}

// throttle returns how requests are refused before they are sent, nil for not at all.
func (s overloadSide) throttle(o *model.Origins) *model.Throttle {
	const path = "overload.throttle."
	if s.acceptRatio == nil && s.window == nil {
		return nil
	}
	ratio := effective(s.acceptRatio, defaultAcceptRatio, path+"acceptRatio", o)
	if ratio == 0 {
		return nil
	}
	return &model.Throttle{AcceptRatio: ratio, Window: effective(s.window, defaultThrottleWindow, path+"window", o)}
}
