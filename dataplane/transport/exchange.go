package transport

import (
	"errors"
	"io"
)

// maxHeld bounds the requests that exchange holds, in bytes of clear text.
const maxHeld = Small

// exchange is Exchange over TLS. What crypto/tls makes of a request is held until the wait
// for the answer, which sends it: so, as without TLS, there is one write, and no read in vain.
func (s *secure) exchange(p []byte, b *Buffer, w Wait) (n int, sent bool, err error) {
	c := s.c
	if err := s.unread(c.Rested); err != nil {
		return 0, false, err
	}
	c.Rested = false
	if c.raw == nil || len(p) > maxHeld {
		if err := s.write(p, w); err != nil {
			return 0, true, s.lastWords(b, err)
		}
		n, err := s.readInto(b, w)
		return n, true, err
	}
	defer s.held.Release()
	s.holding = true
	err = s.write(p, w)
	s.holding = false
	if err != nil {
		return 0, false, err
	}
	if b.roomy { // a large answer: read more of it at once
		s.in.Expect(Small)
	}
	_, sent, err = c.exchangeRaw(s.held.Bytes(), &s.in, w)
	switch {
	case errors.Is(err, io.EOF):
		s.end = err // crypto/tls says whether the stream was at its end
	case err != nil:
		return 0, sent, s.lastWords(b, err)
	}
	s.dry = false
	n, err = s.readInto(b, w)
	return n, sent, err
}

// unread looks for what an idle connection has to read, which should be nothing: among what
// crypto/tls holds, and if the connection has rested at the socket, too. Session tickets and
// new keys, which a peer may send at any time, are taken in. It returns ErrUnsolicited,
// io.EOF, or what else has ended the connection.
func (s *secure) unread(rested bool) error {
	for range maxProbes {
		if !s.dry {
			var probe [1]byte
			switch _, err := s.conn.Read(probe[:]); {
			case err == nil:
				return ErrUnsolicited
			case !errors.Is(err, errDry{}):
				return err
			}
			s.dry = true
			s.in.ReleaseIfEmpty()
		}
		if !rested {
			return nil
		}
		n, err := s.c.readNow(&s.in)
		switch {
		case errors.Is(err, io.EOF):
			s.end = err
		case err != nil:
			return err
		case n == 0:
			s.in.ReleaseIfEmpty()
			return nil
		}
		s.dry = false
	}
	return ErrUnsolicited
}

// lastWords returns what the peer has said about the end of the stream, if it has, in place
// of the error of a write.
func (s *secure) lastWords(b *Buffer, err error) error {
	if errors.Is(err, ErrTimeout) || errors.Is(err, ErrInterrupted) {
		return err
	}
	if n, _ := s.c.readNow(&s.in); n == 0 {
		return err
	}
	s.dry = false
	if n, why := s.decrypt(b); n == 0 && !errors.Is(why, errDry{}) {
		return why
	}
	return err
}
