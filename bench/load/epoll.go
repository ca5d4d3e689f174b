package load

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poller is one epoll set. Its waits are raw system calls: the process has
// nothing else to run meanwhile, and telling the scheduler costs more than
// the exchange does.
type poller struct {
	fd     int
	events []unix.EpollEvent
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	return &poller{fd: fd, events: make([]unix.EpollEvent, 256)}, nil
}

// watch adds or changes what fd waits for; out adds room to write.
func (p *poller) watch(fd int, added, out bool) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	if out {
		event.Events |= unix.EPOLLOUT
	}
	op := unix.EPOLL_CTL_MOD
	if added {
		op = unix.EPOLL_CTL_ADD
	}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, op, fd, &event))
}

// wait returns the ready descriptors after at most d, with nanosecond
// resolution; negative waits without end.
func (p *poller) wait(d time.Duration) ([]unix.EpollEvent, error) {
	var limit unsafe.Pointer
	if d >= 0 {
		ts := unix.NsecToTimespec(int64(d))
		limit = unsafe.Pointer(&ts)
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])),
		uintptr(len(p.events)), uintptr(limit), 0, 0)
	switch errno {
	case 0:
		return p.events[:n], nil
	case unix.EINTR:
		return nil, nil
	}
	return nil, os.NewSyscallError("epoll_pwait2", errno)
}

func (p *poller) close() { _ = unix.Close(p.fd) }

// again reports whether a read or write has to wait.
func again(err error) bool {
	return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)
}

// connect opens a connection and makes it non-blocking.
func connect(address string) (int, error) {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return -1, err
	}
	if !target.Addr().Is4() {
		return -1, fmt.Errorf("%s: only IPv4 here", address)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(target.Port()), Addr: target.Addr().As4()})
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("%s: %w", address, err)
	}
	return fd, nil
}

// listen opens a listener on a free port of the loopback address.
func listen() (fd, port int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, 0, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return -1, 0, os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(fd, 4096); err != nil {
		return -1, 0, os.NewSyscallError("listen", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return -1, 0, os.NewSyscallError("getsockname", err)
	}
	return fd, name.(*unix.SockaddrInet4).Port, nil
}
