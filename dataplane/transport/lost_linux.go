package transport

import "golang.org/x/sys/unix"

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
		got, errno := sysPoll(fd, 0) // what it always reports is what is wanted
		if errno != 0 && errno != unix.EINTR {
			d.err = errno
			return true
		}
		if d.err = nil; got&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0 {
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
