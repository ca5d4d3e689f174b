package listener

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/pires/go-proxyproto"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// A connection that a proxy in front only passes on begins, before TLS, with a PROXY header,
// which says whose it is (The PROXY protocol, versions 1 and 2, haproxy.org). We find where the
// header ends, so that nothing behind it is touched and memory is bounded, and the library reads
// what is in it.

// Bounds of headers, in bytes.
const (
	maxHeaderV1 = 107 // section 2.1
	fixedV2     = 16  // in front of addresses and extensions
	maxRestV2   = 4096
)

// heralds are whose connections begin with a header: the trusted addresses of a listener.
type heralds struct {
	addresses []netip.Prefix
	timeout   time.Duration // for a whole header; 0: none
}

// heraldsOf returns a listener's heralds, nil if it has none.
func heraldsOf(c *model.Client) *heralds {
	if !c.ProxyProtocol {
		return nil
	}
	h := &heralds{timeout: c.HeadTimeout}
	for _, p := range c.TrustAddresses {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		h.addresses = append(h.addresses, p.Masked())
	}
	return h
}

// have reports whether connections of a peer begin with a header.
func (h *heralds) have(peer netip.Addr) bool {
	peer = peer.WithZone("")
	for _, p := range h.addresses {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}

// announced reads the header of a new connection, and reports whether it was as it must be.
func (s *Socket) announced(c *Conn, from *heralds) (ok bool) {
	defer func() {
		if fault := recover(); fault != nil {
			s.set.cfg.Log.Error("panic contained", slog.Any("panic", fault), slog.String("stack", string(debug.Stack())))
		}
	}()
	var h header
	wait := transport.Wait{Stop: &s.stopIdle}
	if from.timeout > 0 {
		wait.By = transport.Now().Add(from.timeout)
	}
	seen, err := c.Preface(wait, h.take)
	c.Count(int64(h.size+seen), 0)
	switch {
	case err == nil:
		err = h.err
	case errors.Is(err, transport.ErrTimeout):
		err = fmt.Errorf("no whole PROXY header within %s", from.timeout)
	case seen == 0, errors.Is(err, transport.ErrInterrupted), errors.Is(err, net.ErrClosed):
		return false // who probes whether the port is open says nothing, and nothing has failed
	case errors.Is(err, io.EOF):
		err = errors.New("the connection ended within its PROXY header")
	}
	if err != nil {
		s.stats.Refuse(telemetry.RefusedProxy)
		if s.set.cfg.Refuse != nil {
			s.set.cfg.Refuse(c, Refusal{Unannounced: true, Err: err})
		}
		return false
	}
	if h.told {
		c.Tell(h.ends)
		c.Remote = h.ends.Client
	}
	return true
}

// header is a PROXY header as it comes in. The zero header is ready.
type header struct {
	size int // in bytes, or of what is none; 0: it has not been found
	ends transport.Ends
	told bool // it says whose the connection is; else it is the peer's own
	err  error
}

// take is for transport.Conn.Preface. After an error nothing is left.
func (h *header) take(seen []byte) (n int, whole bool) {
	size, err := headerSize(seen)
	switch {
	case err != nil:
		h.size, h.err = len(seen), err
		return h.size, true
	case size == 0 || size > len(seen):
		return 0, false
	}
	h.size = size
	h.ends, h.told, h.err = parseHeader(seen[:size])
	return size, true
}

var (
	errNoHeader   = errors.New("the peer is one of client.trust.addresses, and so its connections must begin with a PROXY header; this one does not: have the peer send one, or trust it no longer")
	errLongHeader = errors.New("PROXY header: longer than it may be")
)

// headerSize returns how long the header is that a connection begins with, in bytes; 0: more of
// it must be seen to tell.
func headerSize(seen []byte) (int, error) {
	switch {
	case begins(seen, proxyproto.SIGV1):
		if end := bytes.IndexByte(seen[:min(len(seen), maxHeaderV1)], '\n'); end >= 0 {
			return end + 1, nil
		}
		if len(seen) >= maxHeaderV1 {
			return 0, errLongHeader
		}
		return 0, nil
	case begins(seen, proxyproto.SIGV2):
		if len(seen) < fixedV2 {
			return 0, nil
		}
		rest := int(binary.BigEndian.Uint16(seen[fixedV2-2:]))
		if rest > maxRestV2 {
			return 0, errLongHeader
		}
		return fixedV2 + rest, nil
	}
	return 0, errNoHeader
}

// begins reports whether seen begins with a signature, as far as it goes.
func begins(seen, signature []byte) bool {
	n := min(len(seen), len(signature))
	return bytes.Equal(seen[:n], signature[:n])
}

// parseHeader reads a whole header. told is whether it says whose the connection is: a proxy
// may open one for itself, to look after us, or not know, or carry what is not TCP.
func parseHeader(b []byte) (ends transport.Ends, told bool, err error) {
	const unspecified = 0
	if b[0] == proxyproto.SIGV2[0] && b[12] == byte(proxyproto.PROXY) && b[13] == unspecified {
		return ends, false, nil // section 2.2 leaves it to us, and the library refuses it
	}
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(b), len(b)))
	if err != nil {
		return ends, false, errors.New("PROXY header: " + strings.TrimPrefix(err.Error(), "proxyproto: "))
	}
	source, destination, ok := h.TCPAddrs()
	if !ok || !h.Command.IsProxy() {
		return ends, false, nil
	}
	return transport.Ends{Client: addrPort(source), Local: addrPort(destination)}, true, nil
}
