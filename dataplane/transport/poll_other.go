//go:build !linux

package transport

// Poll waits for the first of many connections that has something to read. There is none
// on this system.
type Poll struct{}

// NewPoll returns ErrUnsupported.
func NewPoll() (*Poll, error) { return nil, ErrUnsupported }

// Watch returns ErrUnsupported.
func (p *Poll) Watch(*Conn, Token) error { return ErrUnsupported }

// Forget returns ErrUnsupported.
func (p *Poll) Forget(*Conn) error { return ErrUnsupported }

// Wait returns ErrUnsupported.
func (p *Poll) Wait(tokens []Token) ([]Token, error) { return tokens, ErrUnsupported }

// SetDeadline does nothing.
func (p *Poll) SetDeadline(Instant) {}

// Close does nothing.
func (p *Poll) Close() error { return nil }
