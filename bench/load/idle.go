package load

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Idle holds connections that are kept open without a request in flight.
type Idle struct {
	fds []int
}

// OpenIdle opens n connections one after the other and has one request
// answered on each.
func OpenIdle(address string, n int, request Request) (*Idle, error) {
	h := &Idle{}
	wire := request.wires()[0]
	buf := make([]byte, 64<<10)
	for i := range n {
		fd, err := connect(address)
		if err != nil {
			h.Close()
			return nil, fmt.Errorf("connection %d: %w", i, err)
		}
		h.fds = append(h.fds, fd)
		if err := exchange(fd, wire, buf, request.Answer); err != nil {
			h.Close()
			return nil, fmt.Errorf("connection %d: %w", i, err)
		}
	}
	return h, nil
}

// exchange sends one request and reads its answer, waiting at most 5 seconds
// for each part.
func exchange(fd int, wire, buf []byte, want int) error {
	if err := unix.SetNonblock(fd, false); err != nil {
		return err
	}
	limit := unix.Timeval{Sec: 5}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return err
	}
	for len(wire) > 0 {
		n, err := unix.Write(fd, wire)
		if err != nil {
			return err
		}
		wire = wire[n:]
	}
	var m message
	for {
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		_, done, err := m.next(buf[:n])
		if err != nil {
			return err
		}
		if done {
			break
		}
	}
	if !m.success() || m.body != int64(want) {
		return fmt.Errorf("answer %q with %d bytes", m.line, m.body)
	}
	return nil
}

// Closed counts the connections that the other end has closed meanwhile.
func (h *Idle) Closed() int {
	gone := 0
	var one [1]byte
	for _, fd := range h.fds {
		if _, _, err := unix.Recvfrom(fd, one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT); !again(err) {
			gone++
		}
	}
	return gone
}

// Close closes all connections.
func (h *Idle) Close() {
	for _, fd := range h.fds {
		_ = unix.Close(fd)
	}
	h.fds = nil
}
