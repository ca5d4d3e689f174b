package transport

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Poll waits for the first of many connections that has something to read, or whose peer
// has ended it. It is an epoll set, see epoll(7), which the runtime's poller watches in
// turn, so that not even its own wait holds a thread. One goroutine waits; any may watch
// and forget.
type Poll struct {
	file   *os.File
	raw    syscall.RawConn
	set    int // the descriptor; valid until Close
	events [pollBatch]unix.EpollEvent
	found  int
	err    error
	call   func(fd uintptr) bool
}

// NewPoll returns a Poll that watches nothing yet. It uses one descriptor.
func NewPoll() (*Poll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // for os.NewFile, to let the runtime wait
		return nil, errors.Join(os.NewSyscallError("fcntl", err), unix.Close(fd))
	}
	p := &Poll{file: os.NewFile(uintptr(fd), "epoll"), set: fd}
	p.call = p.collect
	if p.raw, err = p.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, p.file.Close())
	}
	return p, nil
}

// Watch makes Wait report t for as long as c, which is put by, can be read without waiting. The
// caller calls Forget before Resume. A connection is watched once at a time.
func (p *Poll) Watch(c *Conn, t Token) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(t), Pad: int32(t >> 32)}
	return p.control(c, unix.EPOLL_CTL_ADD, &event)
}

// Forget ends the watch of c. A Wait that has its token already reports it all the same.
func (p *Poll) Forget(c *Conn) error { return p.control(c, unix.EPOLL_CTL_DEL, nil) }

func (p *Poll) control(c *Conn, op int, event *unix.EpollEvent) error {
	c.mu.Lock() // against Close, after which another connection may have the descriptor
	defer c.mu.Unlock()
	if c.put < 0 {
		return ErrUnsupported
	}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.set, op, int(c.put), event))
}

// Wait waits until something can be read, and appends the tokens to tokens. It returns
// ErrTimeout at the time of SetDeadline. After Close, or any other error, no Wait succeeds.
func (p *Poll) Wait(tokens []Token) ([]Token, error) {
	p.found, p.err = 0, nil
	err := p.raw.Read(p.call)
	switch {
	case err == nil:
		err = p.err
	case isTimeout(err):
		err = ErrTimeout
	}
	for _, e := range p.events[:p.found] {
		tokens = append(tokens, Token(uint32(e.Fd))|Token(uint32(e.Pad))<<32)
	}
	return tokens, err
}

// collect is the raw callback of Wait: it returns false to wait for readiness.
func (p *Poll) collect(fd uintptr) bool {
	for {
		n, err := unix.EpollWait(int(fd), p.events[:], 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			p.err = os.NewSyscallError("epoll_wait", err)
			return true
		}
		p.found = n
		return n > 0
	}
}

// SetDeadline ends waits at t, those to come too; 0: never. It may be called from any goroutine.
func (p *Poll) SetDeadline(t Instant) {
	if t == 0 {
		_ = p.file.SetReadDeadline(noDeadline) // fails on a closed file only, as Wait will
		return
	}
	_ = p.file.SetReadDeadline(t.Time())
}

// Close ends Wait. Nothing may be watched or forgotten any more.
func (p *Poll) Close() error { return p.file.Close() }
