package load

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Upstream answers what the path asks for, and 404 to anything else:
//
//	/bytes/N    N bytes with a Content-Length
//	/chunked/N  N bytes in chunks of at most 4 KiB, in one write
//	/headers/N  200 bytes behind N header fields
//
// It reads request bodies and forgets them.
type Upstream struct {
	poll    *poller
	ports   map[int]int // listening descriptor → port
	conns   []*served   // by descriptor
	answers map[string][]byte
	buf     []byte
}

// served is one connection of the upstream.
type served struct {
	message
	out     [][]byte // answers that the socket did not take yet
	blocked bool     // waiting for room to write
}

// maxAnswer bounds what a path can ask for, in bytes.
const maxAnswer = 4 << 20

// NewUpstream listens on n free ports.
func NewUpstream(n int) (*Upstream, error) {
	poll, err := newPoller()
	if err != nil {
		return nil, err
	}
	u := &Upstream{poll: poll, ports: map[int]int{}, answers: map[string][]byte{}, buf: make([]byte, 128<<10)}
	for range n {
		fd, port, err := listen()
		if err == nil {
			err = poll.watch(fd, true, false)
		}
		if err != nil {
			u.close()
			return nil, err
		}
		u.ports[fd] = port
	}
	return u, nil
}

// Ports returns the ports that the upstream listens on, in no order.
func (u *Upstream) Ports() []int {
	var all []int
	for _, port := range u.ports {
		all = append(all, port)
	}
	return all
}

// Serve answers until ctx ends, and then closes everything.
func (u *Upstream) Serve(ctx context.Context) error {
	defer u.close()
	for ctx.Err() == nil {
		events, err := u.poll.wait(100 * time.Millisecond)
		if err != nil {
			return err
		}
		for _, event := range events {
			fd := int(event.Fd)
			switch {
			case u.ports[fd] != 0:
				u.accept(fd)
			case fd < len(u.conns) && u.conns[fd] != nil:
				if err := u.handle(fd, u.conns[fd], event.Events); err != nil {
					u.drop(fd)
				}
			}
		}
	}
	return nil
}

func (u *Upstream) accept(listener int) {
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return // none left, or none to be had: the listener stays ready
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		for fd >= len(u.conns) {
			u.conns = append(u.conns, make([]*served, 1024)...)
		}
		u.conns[fd] = &served{}
		if u.poll.watch(fd, true, false) != nil {
			u.drop(fd)
		}
	}
}

func (u *Upstream) drop(fd int) {
	u.conns[fd] = nil
	_ = unix.Close(fd)
}

// handle reads what is there, answers it, and writes what was left over. An
// error closes the connection.
func (u *Upstream) handle(fd int, c *served, ready uint32) error {
	if ready&unix.EPOLLOUT != 0 {
		return u.flush(fd, c)
	}
	n, err := unix.Read(fd, u.buf)
	if err != nil {
		if again(err) {
			return nil
		}
		return err
	}
	if n == 0 {
		return io.EOF
	}
	waiting := len(c.out) > 0
	data := u.buf[:n]
	for len(data) > 0 {
		rest, done, err := c.next(data)
		if err != nil {
			return err
		}
		if done {
			c.out = append(c.out, u.answer(c.line))
		}
		data = rest
	}
	if len(c.out) > 1<<12 {
		return fmt.Errorf("%d answers wait", len(c.out))
	}
	if waiting || len(c.out) == 0 {
		return nil
	}
	return u.flush(fd, c)
}

// flush writes until the socket is full, and watches for room only then.
func (u *Upstream) flush(fd int, c *served) error {
	blocked := false
	for len(c.out) > 0 && !blocked {
		n, err := unix.Write(fd, c.out[0])
		if err != nil && !again(err) {
			return err
		}
		n = max(n, 0)
		blocked = n < len(c.out[0])
		if blocked {
			c.out[0] = c.out[0][n:]
			break
		}
		copy(c.out, c.out[1:])
		c.out = c.out[:len(c.out)-1]
	}
	return u.rewatch(fd, c, blocked)
}

func (u *Upstream) rewatch(fd int, c *served, blocked bool) error {
	if blocked == c.blocked {
		return nil
	}
	c.blocked = blocked
	return u.poll.watch(fd, false, blocked)
}

// answer finds the bytes that a request line asks for.
func (u *Upstream) answer(line []byte) []byte {
	if all, ok := u.answers[string(line)]; ok {
		return all
	}
	parts := strings.Fields(string(line))
	all := notFound
	if len(parts) == 3 {
		all = build(parts[1])
	}
	if len(u.answers) < 1000 {
		u.answers[string(line)] = all
	}
	return all
}

var notFound = []byte("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

// build makes the answer for a path.
func build(path string) []byte {
	kind, number, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n > maxAnswer {
		return notFound
	}
	var b strings.Builder
	b.WriteString("HTTP/1.1 200 OK\r\nServer: upstream\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: text/plain\r\n")
	switch kind {
	case "bytes":
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", n, strings.Repeat("x", n))
	case "headers":
		fmt.Fprintf(&b, "%sContent-Length: 200\r\n\r\n%s", fields(min(n, 1000)), strings.Repeat("x", 200))
	case "chunked":
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		for left := n; left > 0; left -= 4 << 10 {
			size := min(left, 4<<10)
			fmt.Fprintf(&b, "%x\r\n%s\r\n", size, strings.Repeat("x", size))
		}
		b.WriteString("0\r\n\r\n")
	default:
		return notFound
	}
	return []byte(b.String())
}

func (u *Upstream) close() {
	for fd := range u.ports {
		_ = unix.Close(fd)
	}
	for fd, c := range u.conns {
		if c != nil {
			u.drop(fd)
		}
	}
	u.poll.close()
}
