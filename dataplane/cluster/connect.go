package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
	"unicode"

	"weir.dev/weir/dataplane/transport"
)

// Fresh opens a new connection, whatever the pool holds: for the try that follows when a
// pooled connection turned out to be closed. Bounds and Release are as for Acquire.
func (h *Host) Fresh(ctx context.Context, by transport.Instant) (*transport.Conn, error) {
	bounded := ctx
	by = transport.Earlier(by, transport.Now().Add(h.cluster.spec.Load().ConnectTimeout))
	if by != 0 {
		var cancel context.CancelFunc
		bounded, cancel = context.WithDeadline(ctx, by.Time())
		defer cancel()
	}
	conn, err := h.connect(bounded, by)
	if err != nil {
		if ctx.Err() != nil { // it is the caller who gave up
			return nil, h.named(err)
		}
		return nil, h.fail(err)
	}
	if h.failure.Load() != nil {
		h.failure.Store(nil)
	}
	h.Stats.Opened.Add(1)
	h.Stats.Open.Add(1)
	return conn, nil
}

// connect opens a connection and secures it as the host's wiring says.
func (h *Host) connect(ctx context.Context, by transport.Instant) (*transport.Conn, error) {
	w := h.wiring.Load()
	nc, err := h.cluster.set.config.Dial(ctx, h.address)
	if err != nil {
		return nil, err
	}
	c := transport.New(nc)
	c.Era = w.era
	if w.config == nil {
		return c, nil
	}
	config := h.secured(w)
	c.Secure(func(nc net.Conn) *tls.Conn { return tls.Client(nc, config) })
	if err := c.Handshake(transport.Wait{By: by, Watch: ctx.Err}, nil); err != nil {
		_ = c.Close() // the host has been told why, if there was anything to tell
		return nil, &handshakeError{err, config.ServerName}
	}
	return c, nil
}

// Rejected reports whether the host has refused the handshake by err, the error of the first
// read from a connection that was new: with TLS 1.3 a host judges our certificate only when
// our side of the handshake is over. It has not looked at anything that was sent. The error
// returned is as one of Fresh; nil: err is another matter.
func (h *Host) Rejected(err error) error {
	if known := (*handshakeError)(nil); errors.As(err, &known) || !rejections[alertOf(err)] {
		return nil
	}
	return h.fail(&handshakeError{err, ""})
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
	err  error
	name string // sent as SNI
}

func (e *handshakeError) Unwrap() error { return e.err }

// maxReason bounds the text of a handshakeError, in bytes: a host chooses parts of it.
const maxReason = 400

func (e *handshakeError) Error() string {
	text := explain(e.err, e.name)
	if len(text) > maxReason {
		text = text[:maxReason] + "…"
	}
	return "tls: " + strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
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
	40:  "the host ended the handshake: nothing that both can speak, or it wants a client certificate",
	42:  "the host does not accept our client certificate, or wants one",
	43:  "the host does not accept this kind of client certificate",
	44:  "the host says that our client certificate has been revoked",
	45:  "the host says that our client certificate has expired",
	46:  "the host does not accept our client certificate",
	48:  "the host does not know the authority of our client certificate",
	49:  "the host denies access to our client certificate",
	51:  "the host cannot verify our client certificate",
	70:  "the host speaks neither TLS 1.2 nor 1.3",
	112: "the host does not know the name that it was asked for",
	116: "the host wants a client certificate",
	120: "the host does not speak HTTP/1.1",
}

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
