package proxy

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"weir.dev/weir/dataplane/http2"
	"weir.dev/weir/dataplane/http3"
	"weir.dev/weir/dataplane/listener"
)

// altSvcAge is for how long clients may remember that HTTP/3 is served: what they take it for
// when they are not told (RFC 7838 section 3.1).
const altSvcAge = 24 * time.Hour

// leastSilence is for how long a QUIC connection hears nothing before it is taken for dead, at
// least: its client may be waiting for an answer, and then has nothing to say.
const leastSilence = 30 * time.Second

// serveHTTP3 serves the packet socket of a listener with HTTP/3.
func (p *Proxy) serveHTTP3(sock *listener.PacketSocket) {
	d := p.door(sock.Name)
	if at, err := netip.ParseAddrPort(sock.LocalAddr().String()); err == nil {
		offer := fmt.Appendf(nil, "Alt-Svc: h3=\":%d\"; ma=%d\r\n", at.Port(), int(altSvcAge.Seconds()))
		d.altSvc.Store(&offer)
		defer d.altSvc.CompareAndSwap(&offer, nil) // unless another socket has taken over
	}
	err := http3.Run(sock.PacketConn, &http3.Endpoint{
		TLS: sock.TLS(),
		Times: func() (handshake, silence time.Duration) {
			handshake, _ = sock.Handshakes()
			return handshake, max(d.view.Load().client.KeepAlive, leastSilence)
		},
		MaxHandshakes: func() int {
			_, most := sock.Handshakes()
			return most
		},
		Limits: func() http2.Limits { return streamLimits(d.view.Load().client) },
		Admit: func(remote netip.AddrPort) http3.Visit {
			if c := sock.Admit(remote); c != nil {
				return &visit{p: p, door: d, sock: sock, c: c}
			}
			return nil
		},
		Busy:     sock.Busy,
		Panicked: p.report,
		Draining: sock.Draining(), Cut: sock.Cut(),
	})
	if err != nil {
		p.cfg.Log.Warn("serve HTTP/3", slog.String("listener", sock.Name), slog.Any("error", err))
	}
}

// visit is one QUIC connection.
type visit struct {
	p    *Proxy
	door *door
	sock *listener.PacketSocket
	c    *listener.Conn
}

// Refused follows up on a handshake that failed.
func (v *visit) Refused(err error, state tls.ConnectionState) {
	v.p.refuseHandshake(v.c, v.sock.Refused(err, &state))
	v.sock.Release(v.c)
}

// Serve serves the connection: each of its streams is a connection of its own to the engine.
func (v *visit) Serve(conn *http3.Conn) {
	p, c := v.p, v.c
	defer v.sock.Release(c)
	state := conn.TLS()
	if !v.sock.Secure(c, &state) {
		return
	}
	client := v.door.view.Load().client
	p.http3.Serve(conn, &http3.Config{
		Handle: func(s *http3.Stream) {
			x := p.exchanges.Get().(*exchange)
			x.stream, x.major = c.Stream(s.Conn), 3
			x.p, x.c, x.door, x.in = p, &x.stream, v.door, &s.In
			x.serveWaiting()
		},
		Draining:  func() bool { return p.draining.Load() || c.Socket.Draining() },
		Drain:     v.sock.Draining(),
		Malformed: func(string) { v.door.view.Load().countMalformed(c.Shard) },
		Panicked:  p.report,
		MaxHead:   client.MaxHead, HeadTimeout: client.HeadTimeout, KeepAlive: client.KeepAlive,
		Resets: client.Streams.Resets, Room: p.room,
	})
	c.BytesIn, c.BytesOut = conn.Bytes()
}

// offersHTTP3 reports whether the client should be told that it can have HTTP/3.
func (x *exchange) offersHTTP3() bool {
	return x.view.client.HTTP3 && x.c.Secured != nil && x.major != 3 && x.door.altSvc.Load() != nil && !x.closing()
}

func (x *exchange) appendAltSvc(dst []byte) []byte {
	if offer := x.door.altSvc.Load(); offer != nil {
		dst = append(dst, *offer...)
	}
	return dst
}
