package transport

import (
	"errors"
	"io"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawIO says that TCP connections are driven by system calls of our own.
const rawIO = true

// sysRead, sysWrite and sysPoll never block: the runtime's sockets are non-blocking. So they need
// not tell the scheduler that they might: that would wake its monitor, which then looks 50 times in a
// millisecond whether they have. recv and send spare the detour through the file layer that read and
// write take.
func sysRead(fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
	return int(n), errno
}

func sysWrite(fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

// sysPoll returns what is the matter with a socket now.
func sysPoll(fd uintptr, events int16) (int16, syscall.Errno) {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
	var atOnce unix.Timespec
	_, _, errno := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fds)), uintptr(len(fds)), uintptr(unsafe.Pointer(&atOnce)), 0, 0, 0)
	return fds[0].Revents, errno
}

// readReady is the raw callback of ReadInto: it returns false to wait for readiness.
func (c *Conn) readReady(fd uintptr) bool {
	d := &c.in
	if d.p != nil { // Exchange, first call
		return c.exchangeReady(fd)
	}
	fresh := d.buf.mem == nil
	space := d.buf.space()
	for {
		n, errno := sysRead(fd, space)
		switch errno {
		case 0:
			d.n, d.err = n, eof(n)
			d.buf.to += n
			return true
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			if fresh {
				d.buf.unused()
			}
			d.err = c.arm(d, c.nc.SetReadDeadline)
			return d.err != nil
		default:
			d.err = errno
			return true
		}
	}
}

// exchangeReady sends the request, and only then lets the runtime wait: readiness that
// comes after this counts, so no answer is missed, and no read is made in vain.
func (c *Conn) exchangeReady(fd uintptr) bool {
	d := &c.in
	if c.Rested {
		if d.err = look(fd); d.err != nil {
			return true
		}
	}
	d.sent = true
	n, errno := sysWrite(fd, d.p)
	if errno == 0 && n == len(d.p) {
		d.p = nil
		d.err = c.arm(d, c.nc.SetReadDeadline)
		return d.err != nil
	}
	if errno != 0 && errno != syscall.EAGAIN && errno != syscall.EINTR {
		d.err = errno
		return true
	}
	if errno == 0 {
		d.p = d.p[n:]
	}
	d.err = errPartial
	return true
}

// look reports what an idle connection has to read, which should be nothing.
func look(fd uintptr) error {
	var probe [1]byte
	n, errno := sysRead(fd, probe[:])
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		return nil
	case errno != 0:
		return errno
	case n == 0:
		return io.EOF
	}
	return ErrUnsolicited
}

// errPartial: the socket took only a part; Exchange goes on the slow way.
const errPartial = syscall.ENOBUFS

func (c *Conn) exchangeRaw(p []byte, b *Buffer, w Wait) (int, bool, error) {
	d := &c.in
	d.begin(b, w)
	defer d.end()
	d.p, d.sent = p, false
	for {
		err := c.raw.Read(d.call)
		if err == nil {
			err = d.err
		}
		rest := d.p
		if errors.Is(err, errPartial) && rest != nil {
			d.p = nil
			if err := c.writeSocket(rest, w); err != nil {
				return 0, true, err
			}
			n, err := c.readSocket(b, w)
			return n, true, err
		}
		if err == nil || !isTimeout(err) {
			return d.n, d.sent, err
		}
		if err := c.woken(d, c.nc.SetReadDeadline); err != nil {
			return 0, d.sent, err
		}
	}
}

// writeReady is the raw callback of Write.
func (c *Conn) writeReady(fd uintptr) bool {
	d := &c.out
	for len(d.p) > 0 {
		n, errno := sysWrite(fd, d.p)
		switch errno {
		case 0:
			d.wrote(n)
		case syscall.EINTR:
		case syscall.EAGAIN:
			d.err = c.arm(d, c.nc.SetWriteDeadline)
			return d.err != nil
		default:
			d.err = errno
			return true
		}
	}
	return true
}

// Peer looks, without waiting, at what the other side is doing.
func (c *Conn) Peer() Peer {
	if c.closed.Load() {
		return PeerReset
	}
	if c.raw == nil {
		return c.observed()
	}
	state := PeerReset
	_ = c.raw.Control(func(fd uintptr) { // a closed connection is as good as reset
		switch got, errno := sysPoll(fd, unix.POLLIN|unix.POLLRDHUP); {
		case errno != 0:
			state = PeerQuiet // interrupted: the next look will tell
		case got&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0:
		case got&unix.POLLRDHUP != 0: // even behind bytes that nobody has read
			state = PeerEnded
		case got&unix.POLLIN != 0:
			state = PeerSending
		default:
			state = PeerQuiet
		}
	})
	return state
}

// readNow reads what is there into b, without waiting: 0 without an error is nothing.
func (c *Conn) readNow(b *Buffer) (n int, err error) {
	if c.raw == nil {
		return 0, nil
	}
	if b.Full() {
		b.Compact()
	}
	d := &c.in
	d.buf, d.n, d.err = b, 0, nil
	defer d.end()
	if err := c.raw.Control(c.tls.now); err != nil {
		return 0, err
	}
	return d.n, d.err
}

// readNowOn is the raw callback of readNow.
func (c *Conn) readNowOn(fd uintptr) {
	d := &c.in
	n, errno := sysRead(fd, d.buf.space())
	switch errno {
	case 0:
		d.n, d.err = n, eof(n)
		d.buf.to += n
	case syscall.EAGAIN, syscall.EINTR:
	default:
		d.err = errno
	}
}

// writeNow writes what the socket takes at once. The connection may be put by.
func (c *Conn) writeNow(p []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.put >= 0 {
		n, errno := sysWrite(uintptr(c.put), p)
		if errno != 0 {
			return 0, errno
		}
		return n, nil
	}
	if c.nc == nil { // somebody else has closed it meanwhile
		return 0, net.ErrClosed
	}
	if c.work == nil || c.raw == nil {
		return c.writeSoon(p)
	}
	closed := c.raw.Control(func(fd uintptr) {
		got, errno := sysWrite(fd, p)
		if errno != 0 {
			err = errno
			return
		}
		n = got
	})
	return n, errors.Join(err, closed)
}
