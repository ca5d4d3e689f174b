package transport

import (
	"errors"

	"golang.org/x/sys/unix"
)

// AwaitReset waits until the peer of a connection resets it, whose stream has been read to its
// end: nil. Other errors are those of a wait; where sockets cannot be watched, ErrUnsupported.
// It takes the place of a read.
func (c *Conn) AwaitReset(w Wait) error {
	if c.raw == nil {
		return ErrUnsupported
	}
	d := &c.in
	d.begin(nil, w)
	defer d.end()
	ready := func(fd uintptr) bool {
		fds := [1]unix.PollFd{{Fd: int32(fd)}} // what it always reports is what is wanted
		if _, err := unix.Poll(fds[:], 0); err != nil && !errors.Is(err, unix.EINTR) {
			d.err = err
			return true
		}
		if d.err = nil; fds[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0 {
			return true
		}
		d.err = c.arm(d, c.nc.SetReadDeadline)
		return d.err != nil
	}
	for {
		err := c.raw.Read(ready)
		if err == nil {
			err = d.err
		}
		if err == nil || !isTimeout(err) {
			return err
		}
		if err := c.woken(d, c.nc.SetReadDeadline); err != nil {
			return err
		}
	}
}
