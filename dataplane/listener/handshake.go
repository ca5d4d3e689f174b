package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// Secured is what a handshake has settled.
type Secured struct {
	// ServerName is the name that the client asked for, in lower case; empty: none.
	ServerName string
	// Protocol is the one that was agreed on (ALPN); empty: the client named none.
	Protocol string
	// Identity is the SPIFFE ID that the client has proved with a certificate; empty: none.
	Identity string
	// Verified says that the client's certificate is valid, whether it has an identity or not.
	Verified bool
	// Validation is what clients of the name had to prove; nil: nothing.
	Validation *model.ClientValidation
}

// Refusal is a handshake that failed.
type Refusal struct {
	End telemetry.Handshake
	Err error // for people
	// Unannounced says that it never came to a handshake: the connection did not begin with the
	// PROXY header that it must have.
	Unannounced bool
	// HTTP says that the client sent an HTTP request in clear text. It can be answered so.
	HTTP bool
}

// Identity returns who the client has proved to be, empty if it has not.
func (c *Conn) Identity() string {
	if c.Secured == nil {
		return ""
	}
	return c.Secured.Identity
}

// greet does the handshake of a new connection. The connection goes on in another goroutine,
// because this one's stack has grown.
func (s *Socket) greet(c *Conn, sec *security) {
	ours := true
	by := transport.Now().Add(sec.timeout)
	defer func() {
		if fault := recover(); fault != nil {
			s.set.cfg.Log.Error("panic contained", slog.Any("panic", fault), slog.String("stack", string(debug.Stack())))
			c.Abort()
		}
		if ours {
			s.release(c)
		}
	}()
	if sec.most > 0 {
		if from := c.Remote.Addr(); s.shaking.Enter(from, sec.most) {
			defer s.shaking.Leave(from)
		} else {
			s.fail(c, Refusal{End: telemetry.HandshakeBusy, Err: errCrowd})
			return
		}
	}
	ahead := new(transport.Buffer)
	if to := s.passes(c, sec, by, ahead); to != nil {
		s.work.Go(func() { s.carry(c, to, ahead) })
		ours = false
		return
	}
	err := s.shake(c, by)
	state, _ := c.TLS()
	id := sec.find(state.ServerName)
	if err != nil {
		s.fail(c, refusalOf(err, id, &state))
		return
	}
	c.Secured = settle(id, &state)
	s.stats.EndHandshake(endOf(&state))
	if to := sec.sorting.carrier(c.Secured.ServerName); to != nil {
		s.work.Go(func() { s.carry(c, to, ahead) })
	} else {
		s.work.Go(func() { s.serve(c) })
	}
	ours = false
}

// errCrowd: as many handshakes are under way as may be.
var errCrowd = errors.New("too many handshakes are under way")

// fail counts a handshake that failed, and tells of it.
func (s *Socket) fail(c *Conn, r Refusal) {
	s.stats.EndHandshake(r.End)
	if s.set.cfg.Refuse != nil {
		s.set.cfg.Refuse(c, r)
	}
}

// endOf is how a handshake ended that succeeded.
func endOf(state *tls.ConnectionState) telemetry.Handshake {
	if state.DidResume {
		return telemetry.HandshakeResumed
	}
	return telemetry.HandshakeFull
}

// settle is what a handshake has settled with a client that gets id.
func settle(id *identity, state *tls.ConnectionState) *Secured {
	c := &Secured{
		ServerName: strings.ToLower(state.ServerName), Protocol: state.NegotiatedProtocol,
		Validation: id.validation,
	}
	if leaf := id.verified(state, time.Now()); leaf != nil {
		c.Verified, c.Identity = true, spiffeID(leaf)
	}
	return c
}

// shake does the handshake by a time, computing only in its turns.
func (s *Socket) shake(c *Conn, by transport.Instant) error {
	turns := s.set.turns
	held := false
	defer func() {
		if held {
			turns.give()
		}
	}()
	return c.Handshake(transport.Wait{By: by, Stop: &s.stopIdle}, func(wait func() error) error {
		if held {
			turns.give()
			held = false
		}
		if err := wait(); err != nil {
			return err
		}
		if err := turns.take(by, s.stats); err != nil {
			return err
		}
		held = true
		return nil
	})
}

// mismatches are parts of what crypto/tls says when the two sides have nothing in common. It
// has no other sign of that.
var mismatches = []string{
	"unsupported versions", "no cipher suite supported", "unsupported application protocol", "no ECDHE curve", "key exchange", "signature algorithms",
}

// refusalOf says why a handshake failed. id is what the client's name leads to.
func refusalOf(err error, id *identity, state *tls.ConnectionState) Refusal {
	r := Refusal{End: telemetry.HandshakeOther, Err: err}
	var (
		alien    tls.RecordHeaderError
		unproved *tls.CertificateVerificationError
		remote   *net.OpError
	)
	switch {
	case errors.As(err, &alien):
		r.End, r.HTTP = telemetry.HandshakeNotTLS, isHTTP(alien.RecordHeader)
	case errors.As(err, &unproved):
		r.End, r.Err = telemetry.HandshakeCertificate, fmt.Errorf("client certificate: %w", unproved.Err)
	case errors.As(err, &remote) && remote.Op == "remote error":
		r.End = telemetry.HandshakeRejected
	case errors.Is(err, transport.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		r.End = telemetry.HandshakeTimeout
	case errors.Is(err, errBusy):
		r.End = telemetry.HandshakeBusy
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, transport.ErrInterrupted),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.ErrClosedPipe):
		r.End = telemetry.HandshakeGone
	case says(err, mismatches...):
		r.End = telemetry.HandshakeMismatch
	case id != nil && id.clients != nil && says(err, "client didn't provide a certificate", "client certificate"):
		r.End, r.Err = telemetry.HandshakeCertificate, errors.New(strings.TrimPrefix(err.Error(), "tls: "))
	case id == nil && state.Version != 0:
		r.End, r.Err = telemetry.HandshakeName, fmt.Errorf("no certificate for the name %q", state.ServerName)
	}
	return r
}

func says(err error, parts ...string) bool {
	text := err.Error()
	for _, part := range parts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// isHTTP reports whether a stream that begins so is an HTTP request: a method of three
// letters or more, and a space where it ends.
func isHTTP(start [5]byte) bool {
	for i, c := range start {
		switch {
		case c >= 'A' && c <= 'Z':
		case c == ' ' && i >= 3:
			return true
		default:
			return false
		}
	}
	return true
}
