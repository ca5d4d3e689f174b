package load

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"
)

// Held are connections that are kept open without a request in flight.
type Held interface {
	Closed() int // how many of them the other end has closed meanwhile
	Close()
}

// Hold opens connections as s says, one after the other, and has one request answered on each.
func Hold(s Spec) (Held, error) {
	switch s.Client {
	case Plain:
		return OpenIdle(s.Address, s.Connections, s.Request)
	case TLS:
		return holdTLS(s, ClientTLS("http/1.1"), s.Request.overTLS)
	case HTTP2:
		return holdTLS(s, ClientTLS("h2"), s.Request.overHTTP2)
	}
	return nil, fmt.Errorf("no idle connections of client %q", s.Client)
}

// Try has one request answered, as the clients of s would.
func Try(s Spec) error {
	s.Connections, s.Pipeline = 1, 1
	var w worker
	var err error
	switch s.Client {
	case GRPC, GRPCStream:
		w, err = newStream(s, newTransport())
	case HTTP3:
		w = newQUIC(s, &http3.Transport{TLSClientConfig: ClientTLS("h3")})
	default:
		if s.Client == Handshakes {
			s.Client = TLS
		}
		held, err := Hold(s)
		if err == nil {
			held.Close()
		}
		return err
	}
	if err != nil {
		return err
	}
	defer w.close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- w.next(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// idleTLS are connections with TLS.
type idleTLS struct{ conns []*tls.Conn }

func holdTLS(s Spec, config *tls.Config, exchange func(*tls.Conn) error) (Held, error) {
	h := &idleTLS{}
	for i := range s.Connections {
		conn, err := tls.Dial("tcp4", s.Address, config)
		if err != nil {
			h.Close()
			return nil, fmt.Errorf("connection %d: %w", i, err)
		}
		h.conns = append(h.conns, conn)
		if err := errors.Join(conn.SetDeadline(time.Now().Add(5*time.Second)), exchange(conn)); err != nil {
			h.Close()
			return nil, fmt.Errorf("connection %d: %w", i, err)
		}
	}
	return h, nil
}

// Closed counts the connections whose other end has closed: what else may have come (session
// tickets, windows) is left at the socket.
func (h *idleTLS) Closed() int {
	const established = 1
	gone := 0
	for _, c := range h.conns {
		raw, err := c.NetConn().(*net.TCPConn).SyscallConn()
		if err != nil {
			gone++
			continue
		}
		err = raw.Control(func(fd uintptr) {
			if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err != nil || info.State != established {
				gone++
			}
		})
		if err != nil {
			gone++
		}
	}
	return gone
}

// Close closes all connections.
func (h *idleTLS) Close() {
	for _, c := range h.conns {
		_ = c.NetConn().Close()
	}
	h.conns = nil
}

// overTLS has the request answered over HTTP/1.1.
func (r Request) overTLS(c *tls.Conn) error {
	if _, err := c.Write(r.wire(plainHost)); err != nil {
		return err
	}
	return r.check(http.ReadResponse(bufio.NewReader(c), nil))
}

// firstWindow is what HTTP/2 allows before anything is said (RFC 9113 section 6.9.2).
const firstWindow = 65_535

// overHTTP2 has the request answered as the first stream of a connection.
func (r Request) overHTTP2(c *tls.Conn) error {
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		return err
	}
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", plainHost}, {":path", r.Path}} {
		if err := encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			return err
		}
	}
	framer := http2.NewFramer(c, c)
	window := uint32(r.Answer) // enough on top of the first one, or a large answer would never end
	err := errors.Join(framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: firstWindow + window}),
		framer.WriteWindowUpdate(0, max(window, 1)), framer.WriteHeaders(http2.HeadersFrameParam{
			StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true,
		}))
	got := 0
	for err == nil {
		var f http2.Frame
		if f, err = framer.ReadFrame(); err != nil {
			break
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				err = framer.WriteSettingsAck()
			}
		case *http2.GoAwayFrame, *http2.RSTStreamFrame:
			return fmt.Errorf("ended: %v", f)
		case *http2.DataFrame:
			if got += len(f.Data()); f.StreamEnded() {
				if got != r.Answer {
					return fmt.Errorf("answer with %d bytes, want %d", got, r.Answer)
				}
				return nil
			}
		}
	}
	return err
}
