package simulate

import (
	"time"

	"weir.dev/weir/model"
)

// service is what stands behind a backend: hosts that all do the same.
type service struct {
	s              *simulation
	name           string
	index          int
	servers        []*server
	concurrency    int
	queue          int // requests that wait at one host
	time           serviceTime
	noticesLeaving bool
	propagates     bool
	calls          []*call
	counts         serviceCounts // of the step under way
	total          serviceCounts // of the run
}

// server is one host: so many requests are worked on at once, the others wait in its queue,
// the oldest first.
type server struct {
	service *service
	index   int

	down   bool
	hung   bool
	slow   float64 // how many times as long work takes
	errors float64 // share of answers that are errors
	fast   bool    // errors come at once

	working []*job
	queue   []*job
	head    int // of the queue; what is before it is gone
	waiting int // of the queue
}

// job is one request at a host.
type job struct {
	server *server
	try    *try // nil: nobody waits for the answer any more
	begun  moment
	ends   moment
	place  int // in server.working; -1 in the queue
	gone   bool
	fails  bool
	timer  *timer   // until its own work is done
	nested *request // the call that it waits for
	limit  *timer   // of that
	calls  int      // that are made

	root   *root
	site   *site
	by     moment // the caller's deadline, as far as it is said; 0: none
	marked bool   // a tier before this one makes tries again
	hash   uint64 // of whose it is
}

// alive reports whether the server takes and does work.
func (v *server) alive() bool { return !v.down && !v.hung }

// arrive takes a request that comes in now.
func (v *server) arrive(t *try) {
	c := &v.service.counts
	switch {
	case v.down:
		c.refused++
		t.ends(result{flag: model.FlagUF, unsent: true})
		return
	case !v.hung && v.fast && v.errs():
		t.ends(result{status: 500})
		return
	}
	j := &job{server: v, try: t, place: -1, root: t.request.root, site: t.request.site, hash: t.request.hash}
	if v.service.propagates {
		j.by, j.marked = t.by, t.request.marks()
	}
	t.job = j
	switch {
	case !v.hung && len(v.working) < v.service.concurrency:
		v.start(j)
	case v.waiting < v.service.queue:
		v.queue = append(v.queue, j)
		v.waiting++
	case v.hung: // its backlog is full, and nobody is there to say so
		t.job = nil
		t.unheard()
	default:
		t.job = nil
		c.overflown++
		t.ends(result{status: 503})
	}
}

func (v *server) errs() bool { return v.errors > 0 && v.service.s.random.Float64() < v.errors }

// start begins to work on a request.
func (v *server) start(j *job) {
	s := v.service.s
	j.begun, j.place = s.now, len(v.working)
	v.working = append(v.working, j)
	j.fails = !v.fast && v.errs()
	took := time.Duration(float64(v.service.time.mean) * v.service.time.draw(s.random) * v.slow)
	j.ends = s.now.add(took)
	j.timer = s.at(j.ends, j.worked)
}

// worked goes on when the service's own work, or a call, is done: it makes the next call that
// the request needs, or answers after the last one.
func (j *job) worked() {
	if j.fails {
		j.finish(500)
		return
	}
	s := j.server.service.s
	for calls := j.server.service.calls; j.calls < len(calls); {
		c := calls[j.calls]
		j.calls++
		if c.share >= 1 || s.random.Float64() < c.share {
			j.ask(s, c)
			return
		}
	}
	j.finish(200)
}

// ask makes a call.
func (j *job) ask(s *simulation, c *call) {
	what := sending{call: c, site: j.site.below[c], root: j.root, by: j.by, marked: j.marked, hash: j.hash, done: j.called}
	if c.timeout > 0 {
		if j.server.service.propagates {
			what.by = earlier(what.by, s.now.add(c.timeout))
		}
		j.limit = s.after(c.timeout, func() {
			j.nested.leave()
			j.called(answer{status: 504})
		})
	}
	j.nested = s.send(what)
}

// called takes the answer of a call.
func (j *job) called(a answer) {
	j.drop()
	if j.gone {
		return
	}
	j.fails = a.status != 200
	if j.server.hung {
		j.ends = epoch // nothing is left to do but to look at the answer
		return
	}
	j.worked()
}

// finish answers, and makes room for the next request.
func (j *job) finish(status int) {
	v := j.server
	v.leave(j)
	if j.try != nil {
		j.try.ends(result{status: status})
	} else {
		v.service.counts.wasted++
	}
	v.service.counts.done++
	v.serve()
}

// leave takes a job out of those that are worked on.
func (v *server) leave(j *job) {
	v.service.counts.busy += v.service.s.now.sub(j.begun)
	last := len(v.working) - 1
	v.working[j.place] = v.working[last]
	v.working[j.place].place = j.place
	v.working[last] = nil
	v.working = v.working[:last]
	j.place, j.gone = -1, true
	j.timer.stop()
}

// serve begins with what has waited longest, as far as there is room.
func (v *server) serve() {
	for v.alive() && len(v.working) < v.service.concurrency && v.head < len(v.queue) {
		j := v.queue[v.head]
		v.queue[v.head] = nil
		v.head++
		if v.head > 64 && v.head > len(v.queue)/2 {
			v.queue = append(v.queue[:0], v.queue[v.head:]...)
			v.head = 0
		}
		if j.gone {
			continue
		}
		v.waiting--
		v.start(j)
	}
}

// left learns that nobody waits for the answer any more. Most servers do not look.
func (j *job) left() {
	v := j.server
	j.try = nil
	if j.gone || !v.service.noticesLeaving || v.hung {
		return
	}
	if j.place < 0 {
		j.gone = true
		v.waiting--
		return
	}
	if j.nested != nil {
		j.nested.leave()
		j.drop()
	}
	v.leave(j)
	v.serve()
}

// drop forgets the call that it waited for.
func (j *job) drop() {
	j.limit.stop()
	j.nested = nil
}

// condition is what events make of a server.
type condition struct {
	down, hung bool
	slow       float64
	errors     float64
	fast       bool
}

// become puts a condition into effect. Work that is under way takes as long as it would have;
// what hangs goes on from where it was.
func (v *server) become(c condition) {
	wasHung := v.hung
	v.slow, v.errors, v.fast = c.slow, c.errors, c.fast
	if c.down && !v.down {
		v.crash()
	}
	v.down = c.down
	now := v.service.s.now
	if c.hung && !wasHung {
		for _, j := range v.working {
			j.timer.stop()
			j.ends = epoch.add(j.ends.sub(now)) // what is left of it
		}
	}
	v.hung = c.hung
	if wasHung && !c.hung {
		v.wake()
	}
	v.serve()
}

// wake goes on with what hung.
func (v *server) wake() {
	s := v.service.s
	for _, j := range append([]*job(nil), v.working...) {
		if j.nested == nil {
			j.timer = s.at(s.now.add(max(0, j.ends.sub(epoch))), j.worked)
		}
	}
	for _, j := range append(append([]*job(nil), v.working...), v.queue[v.head:]...) {
		if !j.gone && j.try == nil {
			j.left()
		}
	}
}

// crash resets all that is at the server.
func (v *server) crash() {
	jobs := append(append([]*job(nil), v.working...), v.queue[v.head:]...)
	v.working, v.queue, v.head, v.waiting = nil, nil, 0, 0
	for _, j := range jobs {
		if j.gone {
			continue
		}
		j.gone = true
		j.timer.stop()
		if j.nested != nil {
			j.nested.leave()
			j.drop()
		}
		if j.try != nil {
			j.try.ends(result{flag: model.FlagUC})
		}
	}
}

// waiting is how many requests wait at the hosts.
func (v *service) waiting() int {
	n := 0
	for _, server := range v.servers {
		n += server.waiting
	}
	return n
}

// capacity is how many requests a second the service can answer as it is now.
func (v *service) capacity() float64 {
	sum := 0.0
	for _, server := range v.servers {
		if server.alive() {
			sum += float64(v.concurrency) / (v.time.mean.Seconds() * server.slow)
		}
	}
	return sum
}
