package transport

import (
	"errors"
	"io"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Bounds of pipes, which cost two descriptors each and, while bytes are in them, memory of the
// kernel's that counts as the user's.
const (
	mostPipes = 256 // in use at once; who gets none copies
	idlePipes = 16  // kept when nobody uses them
	pipeShare = 64  // of this many descriptors that the process may have one is for a pipe in use
)

// maxPipes is how many pipes may be in use at once.
var maxPipes = sync.OnceValue(func() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return mostPipes
	}
	return int(min(limit.Cur/(2*pipeShare), mostPipes))
})

// SpliceFiles returns how many descriptors Splicers need at most.
func SpliceFiles() int { return 2 * (maxPipes() + idlePipes) }

// maxSplice is how many bytes are asked for at once: what a pipe of the kernel's default size
// holds at most, in pages that a network card or the loopback has filled.
const maxSplice = 1 << 20

// ErrNoPipe is what Splicer.Fill returns when too many are in use, or the system gives none.
var ErrNoPipe = errors.New("no pipe to splice through")

// pipe is a buffer in the kernel.
type pipe struct{ read, write int }

func (p *pipe) close() {
	_ = unix.Close(p.read) // of a pipe: nothing can be lost
	_ = unix.Close(p.write)
}

// pipes are those that nobody uses, and how many there are.
var pipes struct {
	mu    sync.Mutex
	idle  []*pipe
	inUse int
}

// takePipe returns an empty pipe, nil if there is none to be had.
func takePipe() *pipe {
	pipes.mu.Lock()
	defer pipes.mu.Unlock()
	if pipes.inUse >= maxPipes() {
		return nil
	}
	var p *pipe
	if last := len(pipes.idle) - 1; last >= 0 {
		p, pipes.idle = pipes.idle[last], pipes.idle[:last]
	} else {
		var ends [2]int
		if unix.Pipe2(ends[:], unix.O_NONBLOCK|unix.O_CLOEXEC) != nil {
			return nil
		}
		p = &pipe{ends[0], ends[1]}
	}
	pipes.inUse++
	return p
}

// givePipe takes a pipe back. One that is not empty is closed.
func givePipe(p *pipe, empty bool) {
	pipes.mu.Lock()
	pipes.inUse--
	keep := empty && len(pipes.idle) < idlePipes
	if keep {
		pipes.idle = append(pipes.idle, p)
	}
	pipes.mu.Unlock()
	if !keep {
		p.close()
	}
}

// Splicer carries bytes from one TCP connection to another inside the kernel, through a pipe
// that it has only while there is something in it. One goroutine uses it at a time: the one
// that reads from and writes to.
type Splicer struct {
	from, to *Conn
	pipe     *pipe
	held     int // bytes in pipe

	fill, drain func(fd uintptr) bool // bound once
}

// NewSplicer returns a splicer, nil if the connections are not such that one can be: both TCP
// without TLS.
func NewSplicer(from, to *Conn) *Splicer {
	if from.raw == nil || to.raw == nil || from.secured() || to.secured() {
		return nil
	}
	s := &Splicer{from: from, to: to}
	s.fill, s.drain = s.fillReady, s.drainReady
	return s
}

// Fill waits as w says for bytes, and returns how many it holds then. It returns io.EOF at the
// end of the stream, and ErrNoPipe when there is something to be read, or may be, and no pipe
// to put it into: then ReadInto can. Drain must follow before the next Fill.
func (s *Splicer) Fill(w Wait) (int, error) {
	c := s.from
	d := &c.in
	d.begin(nil, w)
	defer d.end()
	for {
		err := c.raw.Read(s.fill)
		if err == nil {
			err = d.err
		}
		if err == nil || !isTimeout(err) {
			return s.held, err
		}
		if err := c.woken(d, c.nc.SetReadDeadline); err != nil {
			return 0, err
		}
	}
}

// fillReady is the raw callback of Fill.
func (s *Splicer) fillReady(fd uintptr) bool {
	d := &s.from.in
	if s.pipe = takePipe(); s.pipe == nil {
		d.err = ErrNoPipe
		return true
	}
	for {
		n, errno := splice(int(fd), s.pipe.write, maxSplice)
		switch {
		case errno == 0 && n > 0:
			s.held, d.err = n, nil
			return true
		case errno == syscall.EINTR:
			continue
		}
		givePipe(s.pipe, true)
		s.pipe = nil
		switch errno {
		case 0:
			d.err = io.EOF
		case syscall.EAGAIN: // and the pipe is empty, so it is the socket's
			d.err = s.from.arm(d, s.from.nc.SetReadDeadline)
			return d.err != nil
		case syscall.EINVAL, syscall.ENOSYS:
			d.err = ErrNoPipe
		default:
			d.err = errno
		}
		return true
	}
}

// Drain writes what Fill has got, waiting as w says while the peer takes nothing. After an
// error the rest is lost.
func (s *Splicer) Drain(w Wait) error {
	c := s.to
	d := &c.out
	d.begin(nil, w)
	defer d.end()
	defer s.release()
	for {
		err := c.raw.Write(s.drain)
		if err == nil {
			err = d.err
		}
		if err == nil || !isTimeout(err) {
			return err
		}
		if err := c.woken(d, c.nc.SetWriteDeadline); err != nil {
			return err
		}
	}
}

// drainReady is the raw callback of Drain.
func (s *Splicer) drainReady(fd uintptr) bool {
	d := &s.to.out
	d.err = nil
	for s.held > 0 {
		n, errno := splice(s.pipe.read, int(fd), s.held)
		switch errno {
		case 0:
			s.held -= n
			d.progress(int(n))
		case syscall.EINTR:
		case syscall.EAGAIN:
			d.err = s.to.arm(d, s.to.nc.SetWriteDeadline)
			return d.err != nil
		default:
			d.err = errno
			return true
		}
	}
	return true
}

// release gives the pipe back.
func (s *Splicer) release() {
	if s.pipe != nil {
		givePipe(s.pipe, s.held == 0)
		s.pipe, s.held = nil, 0
	}
}

// splice moves bytes between a socket and a pipe, as sysRead and sysWrite do: it never blocks.
func splice(from, to, n int) (int, syscall.Errno) {
	moved, _, errno := syscall.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n),
		unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
	return int(moved), errno
}
