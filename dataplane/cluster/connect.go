package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// Fresh opens a new connection, whatever the pool holds: for the try that follows when a
// pooled connection turned out to be closed. With HTTP/2, whose connections say themselves
// that they are used no more, it is another stream. Bounds and Release are as for Acquire.
func (l Lane) Fresh(ctx context.Context, by transport.Instant) (*transport.Conn, error) {
	w := l.host.wiring.Load()
	if l.host.shares(w) {
		c, _, err := l.stream(ctx, transport.Now(), by, 0)
		return c, err
	}
	if _, _, err := l.stand(ctx, l.host.patience(by), 0, false, nil); err != nil {
		return nil, l.host.named(err)
	}
	return l.connect(ctx, by, w, 0)
}

// Plain opens a new connection for bytes that are carried as they are: inside TLS where the
// cluster has it, and without a word about a protocol, whatever requests are sent by. Bounds and
// Release are as for Acquire.
func (l Lane) Plain(ctx context.Context, by transport.Instant) (*transport.Conn, error) {
	if _, _, err := l.stand(ctx, l.host.patience(by), 0, false, nil); err != nil {
		return nil, l.host.named(err)
	}
	c, _, err := l.dial(ctx, by, l.host.wiring.Load(), forBytes)
	return c, err
}

// purpose is what a connection is opened for.
type purpose uint8

const (
	forRequests purpose = iota // by any protocol that the wiring has
	forHTTP1                   // for requests by HTTP/1.1 only
	forBytes                   // by none
	forCalls                   // of gRPC by HTTP/2, whatever the wiring has
)

// purposeProtocols are what hosts are offered to agree on where the wiring does not say.
var purposeProtocols = map[purpose][]string{forHTTP1: {alpnHTTP1}, forBytes: nil, forCalls: {alpnHTTP2}}

// connect opens a connection, for which there is a place. If that is a link, it returns its
// first stream.
func (l Lane) connect(ctx context.Context, by transport.Instant, w *wiring, shard int) (*transport.Conn, error) {
	h := l.host
	c, link, err := l.dial(ctx, by, w, forRequests)
	if err != nil {
		return nil, err
	}
	if w.protocol == model.ProtocolAuto && w.config != nil {
		chosen := w.era
		if link != nil {
			chosen = 0
		}
		h.http1.Store(chosen)
	}
	if link == nil {
		return c, nil
	}
	if c, err = h.begun(link, shard); err != nil {
		return nil, h.fail(err)
	}
	return c, nil
}

// dial opens a connection within its time; for requests it may be a link. It gives up the place
// that there is for it unless a connection comes of it.
func (l Lane) dial(ctx context.Context, by transport.Instant, w *wiring, what purpose) (*transport.Conn, *link, error) {
	h := l.host
	bounded := ctx
	by = transport.Earlier(by, transport.Now().Add(h.cluster.spec.Load().ConnectTimeout))
	if by != 0 {
		var cancel context.CancelFunc
		bounded, cancel = context.WithDeadline(ctx, by.Time())
		defer cancel()
	}
	placed := false
	defer func() { // after a panic as well
		if !placed {
			h.cluster.vacate()
		}
	}()
	conn, link, err := l.open(bounded, by, w, what)
	placed = err == nil && (link == nil || h.cluster.set.linked.settle(link))
	if err != nil {
		if ctx.Err() != nil { // it is the caller who gave up
			return nil, nil, h.named(err)
		}
		return nil, nil, h.fail(err)
	}
	if h.failure.Load() != nil {
		h.failure.Store(nil)
	}
	h.Stats.Opened.Add(1)
	if link == nil { // else it has been counted
		h.Stats.Open.Add(1)
	}
	return conn, link, nil
}

// open opens a connection, says on it whose it is, secures it as the wiring says, and finds out
// what it speaks.
func (l Lane) open(ctx context.Context, by transport.Instant, w *wiring, what purpose) (*transport.Conn, *link, error) {
	h := l.host
	nc, err := h.cluster.set.config.Dial(ctx, h.address)
	if err != nil {
		return nil, nil, err
	}
	c := transport.New(nc)
	c.Era = w.era
	l = l.by(w)
	if err := l.pool.announce(c, w, transport.Wait{By: by, Watch: ctx.Err}); err != nil {
		_ = c.Close() // it has come to nothing
		return nil, nil, err
	}
	if w.config == nil {
		if what == forBytes || w.protocol != model.ProtocolH2C && what != forCalls {
			return c, nil, nil
		}
		link, err := h.link(ctx, c, w.era, l.pool)
		return nil, link, err
	}
	config := h.secured(w)
	if what != forRequests {
		config = config.Clone()
		config.NextProtos = purposeProtocols[what]
	}
	c.Secure(func(nc net.Conn) *tls.Conn { return tls.Client(nc, config) })
	if err := c.Handshake(transport.Wait{By: by, Watch: ctx.Err}, nil); err != nil {
		_ = c.Close() // the host has been told why, if there was anything to tell
		return nil, nil, &handshakeError{err, config.ServerName, config.NextProtos}
	}
	state, _ := c.TLS()
	switch {
	case what == forBytes:
	case state.NegotiatedProtocol == alpnHTTP2 && what != forHTTP1:
		link, err := h.link(ctx, c, w.era, l.pool)
		if rejections[alertOf(err)] { // as Rejected has it
			err = &handshakeError{err, config.ServerName, config.NextProtos}
		}
		return nil, link, err
	case w.protocol == model.ProtocolHTTP2 || what == forCalls:
		_ = c.Close() // nothing has been said yet
		return nil, nil, &handshakeError{errNoALPN, config.ServerName, config.NextProtos}
	}
	return c, nil, nil
}

// errNoALPN: a host agrees on no protocol, and so speaks HTTP/1.1.
var errNoALPN = errors.New(notHTTP2)

const notHTTP2 = "the host does not speak HTTP/2"

// Rejected reports whether the host has refused the handshake by err, the error of the first
// read from a connection that was new: with TLS 1.3 a host judges our certificate only when
// our side of the handshake is over. It has not looked at anything that was sent. The error
// returned is as one of Fresh; nil: err is another matter.
func (h *Host) Rejected(err error) error {
	if known := (*handshakeError)(nil); errors.As(err, &known) || !rejections[alertOf(err)] {
		return nil
	}
	return h.fail(&handshakeError{err, "", nil})
}

// fail counts and remembers why a connection could not be made, and says whose it would have been.
func (h *Host) fail(err error) error {
	h.Stats.ConnectFailures.Add(1)
	h.failure.Store(&connectFailure{time.Now(), err.Error()})
	return h.named(err)
}

func (h *Host) named(err error) error {
	return fmt.Errorf("cluster %s: endpoint %s: %w", h.cluster.name, h.address, err)
}

// connectFailure is why the last connection was not made.
type connectFailure struct {
	at   time.Time
	text string
}

// handshakeError says in a few words why a handshake failed.
type handshakeError struct {
	err     error
	name    string   // sent as SNI
	offered []string // by ALPN
}

func (e *handshakeError) Unwrap() error { return e.err }

func (e *handshakeError) Error() string {
	text := explain(e.err, e.name)
	if alertOf(e.err) == alertALPN && slices.Contains(e.offered, alpnHTTP2) {
		text = notHTTP2
		if len(e.offered) > 1 {
			text = "the host speaks neither HTTP/2 nor HTTP/1.1"
		}
	}
	return "tls: " + shown(text)
}

// explain turns an error of crypto/tls into what somebody can act on.
func explain(err error, name string) string {
	if text := explainCertificate(err, name); text != "" {
		return text
	}
	if alert := alertOf(err); alert != 0 {
		if text, ok := alerts[alert]; ok {
			return text
		}
		return "the host ended the handshake: " + alert.Error()
	}
	var alien tls.RecordHeaderError
	switch {
	case errors.As(err, &alien):
		return "the host does not speak TLS"
	case errors.Is(err, transport.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return "the handshake took too long"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the host closed the connection within the handshake"
	}
	return strings.TrimPrefix(err.Error(), "tls: ")
}

// alerts are what hosts say when they end a handshake (RFC 8446 section 6.2).
var alerts = map[tls.AlertError]string{
	40:        "the host ended the handshake: nothing that both can speak, or it wants a client certificate",
	42:        "the host does not accept our client certificate, or wants one",
	43:        "the host does not accept this kind of client certificate",
	44:        "the host says that our client certificate has been revoked",
	45:        "the host says that our client certificate has expired",
	46:        "the host does not accept our client certificate",
	48:        "the host does not know the authority of our client certificate",
	49:        "the host denies access to our client certificate",
	51:        "the host cannot verify our client certificate",
	70:        "the host speaks neither TLS 1.2 nor 1.3",
	112:       "the host does not know the name that it was asked for",
	116:       "the host wants a client certificate",
	alertALPN: "the host does not speak HTTP/1.1",
}

// alertALPN is no_application_protocol (RFC 7301 section 3.2).
const alertALPN tls.AlertError = 120

// rejections are the alerts of who does not like a client's certificate, or its lack.
var rejections = map[tls.AlertError]bool{42: true, 43: true, 44: true, 45: true, 46: true, 48: true, 49: true, 51: true, 116: true}

// alertOf returns the alert that a host has sent, 0 if err is none.
func alertOf(err error) tls.AlertError {
	var remote *net.OpError
	if !errors.As(err, &remote) || remote.Op != "remote error" || remote.Err == nil {
		return 0
	}
	text := remote.Err.Error()
	for a := range tls.AlertError(255) { // crypto/tls has no other way to tell one
		if a.Error() == text {
			return a
		}
	}
	return 0
}
