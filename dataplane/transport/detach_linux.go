package transport

import (
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// detach takes the socket of tcp away from the runtime and returns a descriptor of it that
// only the caller knows. It needs one descriptor more for a moment.
func detach(tcp *net.TCPConn) (int32, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	if closed := raw.Control(func(of uintptr) { fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) }); closed != nil {
		return -1, closed
	}
	if err != nil {
		return -1, os.NewSyscallError("fcntl", err)
	}
	_ = tcp.Close() // its descriptor; the connection lives on in ours
	return int32(fd), nil
}

// attach gives the socket back to the runtime. The descriptor is gone afterwards.
func attach(fd int32) (net.Conn, error) {
	if fd < 0 {
		return nil, net.ErrClosed
	}
	file := os.NewFile(uintptr(fd), "socket")
	nc, err := net.FileConn(file)
	return nc, errors.Join(err, file.Close())
}

func closeDescriptor(fd int32) error {
	if fd < 0 {
		return net.ErrClosed
	}
	return os.NewSyscallError("close", unix.Close(int(fd)))
}
