package load

import (
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"weir.dev/weir/bench/process"
)

// Run plays the clients of s until its window has passed. Failed requests are
// in the result; an error means that there is no result.
func Run(s Spec) (Result, error) {
	if s.Connections < 1 || s.Window <= 0 || s.Warmup < 0 || s.Rate < 0 {
		return Result{}, fmt.Errorf("spec out of range: %+v", s)
	}
	if run := others[s.Client]; run != nil {
		return run(s)
	}
	poll, err := newPoller()
	if err != nil {
		return Result{}, err
	}
	c := &client{Spec: s, poll: poll, wires: s.Request.wires(), buf: make([]byte, 256<<10), started: time.Now()}
	c.depth = max(s.Pipeline, 1)
	if s.Rate > 0 {
		c.depth = 1
		// The kernel may wake this thread 50 µs late unless told otherwise.
		if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
			return Result{}, err
		}
	}
	defer c.close()
	if err := c.connect(); err != nil {
		return Result{}, err
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	if err := c.run(); err != nil {
		return Result{}, err
	}
	c.Latency, c.Late = c.latency.quantiles(), c.late.quantiles()
	return c.Result, nil
}

// client is one run.
type client struct {
	Spec
	Result
	poll    *poller
	conns   []*dialled // by number
	byFD    []*dialled
	living  int
	wires   [][]byte
	pipe    []byte // a whole batch of one request
	turn    int    // the next of wires
	depth   int
	buf     []byte
	started time.Time
	latency histogram
	late    histogram
	measure bool // inside the window
	paced   pace
}

// dialled is one connection of the client.
type dialled struct {
	message
	fd       int
	out      []byte // what the socket did not take yet, of one request
	toSend   int    // requests of a batch not written yet, besides out
	inFlight int
	sent     time.Duration   // when the batch was, or should have been, sent
	waiting  []time.Duration // paced requests whose time has come while the connection is busy
	blocked  bool
	dead     bool
}

func (c *client) now() time.Duration { return time.Since(c.started) }

func (c *client) connect() error {
	for range c.Connections {
		fd, err := connect(c.Address)
		if err != nil {
			return err
		}
		d := &dialled{fd: fd}
		for fd >= len(c.byFD) {
			c.byFD = append(c.byFD, make([]*dialled, 1024)...)
		}
		c.byFD[fd] = d
		c.conns = append(c.conns, d)
		c.living++
		if err := c.poll.watch(fd, true, false); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) close() {
	for _, d := range c.conns {
		if !d.dead {
			_ = unix.Close(d.fd)
		}
	}
	c.poll.close()
}

// run is the loop: warm-up, window, and for paced requests what is left over.
// A window in which nothing was answered stays open a little longer.
func (c *client) run() error {
	begin := c.now()
	from, to := begin+c.Warmup, begin+c.Warmup+c.Window
	if c.Rate > 0 {
		c.paced.start(begin, from, to, c.Rate)
	} else {
		for _, d := range c.conns {
			c.send(d, c.now(), c.depth)
		}
	}
	var opened time.Duration
	for {
		now := c.now()
		if opened == 0 && now >= from {
			if err := c.sample(c.Watch, -1); err != nil {
				return err
			}
			c.measure, opened = true, c.now()
			if c.Rate == 0 {
				to = opened + c.Window
			}
		}
		if c.measure && now >= to && (c.Completed > 0 || now >= to+settle) {
			c.measure, c.Elapsed = false, c.now()-opened
			if err := c.sample(c.Watch, 1); err != nil {
				return err
			}
		}
		if now >= to && !c.measure && (c.Rate == 0 || c.settled(now)) || c.living == 0 {
			return nil
		}
		limit := 10 * time.Millisecond
		if c.Rate > 0 {
			limit = min(limit, c.dispatch())
		}
		events, err := c.poll.wait(limit)
		if err != nil {
			return err
		}
		for _, event := range events {
			if d := c.byFD[event.Fd]; d != nil {
				c.handle(d, event.Events)
			}
		}
	}
}

// sample adds the CPU times of now, with a sign, to the result.
func (r *Result) sample(watch map[string]int, sign time.Duration) error {
	if r.CPU == nil {
		r.CPU = map[string]time.Duration{}
	}
	for name, pid := range watch {
		used, err := process.CPU(pid)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r.CPU[name] += sign * used
	}
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var own unix.Rusage
		if err := unix.Getrusage(who, &own); err != nil {
			return err
		}
		r.Generator += sign * time.Duration(own.Utime.Nano()+own.Stime.Nano())
	}
	busy, err := process.Busy()
	if err != nil {
		return err
	}
	r.Machine += sign * busy
	return nil
}

// send starts n requests on d as one batch.
func (c *client) send(d *dialled, at time.Duration, n int) {
	d.sent, d.toSend, d.inFlight = at, n, n
	c.write(d)
}

func (c *client) write(d *dialled) {
	for {
		if len(d.out) == 0 {
			if d.toSend == 0 {
				break
			}
			d.toSend--
			d.out = c.batch(d)
		}
		n, err := unix.Write(d.fd, d.out)
		if err != nil && !again(err) {
			c.broken(d, err)
			return
		}
		n = max(n, 0)
		if d.out = d.out[n:]; len(d.out) > 0 {
			break
		}
	}
	if blocked := len(d.out) > 0; blocked != d.blocked {
		d.blocked = blocked
		if err := c.poll.watch(d.fd, false, blocked); err != nil {
			c.broken(d, err)
		}
	}
}

// batch returns the next request; small ones of a pipeline go in one write.
func (c *client) batch(d *dialled) []byte {
	one := c.wires[c.turn]
	if c.turn++; c.turn == len(c.wires) {
		c.turn = 0
	}
	if c.depth > 1 && len(c.wires) == 1 && len(one) < 4<<10 {
		if len(c.pipe) == 0 {
			for range c.depth {
				c.pipe = append(c.pipe, one...)
			}
		}
		n := d.toSend + 1
		d.toSend = 0
		return c.pipe[:n*len(one)]
	}
	return one
}

func (c *client) handle(d *dialled, ready uint32) {
	if ready&unix.EPOLLOUT != 0 {
		c.write(d)
	}
	if d.dead || ready&^unix.EPOLLOUT == 0 {
		return
	}
	n, err := unix.Read(d.fd, c.buf)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		if !again(err) {
			c.broken(d, err)
		}
		return
	}
	data := c.buf[:n]
	for len(data) > 0 {
		rest, done, err := d.next(data)
		if err != nil {
			c.broken(d, err)
			return
		}
		if data = rest; done && !c.answered(d) {
			return
		}
	}
}

// answered takes note of one whole answer and sends what comes next. It is
// false when the connection is gone.
func (c *client) answered(d *dialled) bool {
	if d.inFlight == 0 {
		c.broken(d, fmt.Errorf("an answer nobody asked for: %q", d.line))
		return false
	}
	d.inFlight--
	c.Total++
	switch {
	case !d.success():
		c.BadStatus++
		c.because("answer " + string(d.line))
	case d.body != int64(c.Request.Answer):
		c.BadLength++
		c.because(fmt.Sprintf("body of %d bytes, want %d", d.body, c.Request.Answer))
	}
	now := c.now()
	if c.Rate > 0 && c.paced.counts(d.sent) || c.Rate == 0 && c.measure {
		c.latency.add(now - d.sent)
	}
	if c.measure {
		c.Completed++
	}
	if d.closing {
		c.broken(d, fmt.Errorf("the other end ends keep-alive"))
		return false
	}
	if d.inFlight > 0 {
		return true
	}
	if c.Rate == 0 {
		c.send(d, now, c.depth)
	} else if len(d.waiting) > 0 {
		at := d.waiting[0]
		copy(d.waiting, d.waiting[1:])
		d.waiting = d.waiting[:len(d.waiting)-1]
		c.send(d, at, 1)
	}
	return !d.dead
}

func (c *client) because(why string) {
	if c.Why == "" {
		c.Why = why
	}
}

// broken counts a connection as failed and closes it.
func (c *client) broken(d *dialled, why error) {
	if d.dead {
		return
	}
	c.because(why.Error())
	c.Broken++
	c.living--
	d.dead = true
	c.byFD[d.fd] = nil
	_ = unix.Close(d.fd)
}
