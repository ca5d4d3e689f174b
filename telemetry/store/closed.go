package store

import (
	"errors"
	"fmt"
)

// ErrClosed is what queries get while the store is not open. What wraps it says why not, and what is done about it.
var ErrClosed = errors.New("the store of time series is not open")

// broken is why a store cannot go on, and has to be closed and opened anew.
type broken struct{ error }

func (b broken) Unwrap() error { return b.error }

// closure is why the store is not open; the zero closure: it is.
type closure struct {
	why   string
	wrong bool // it is meant to be
}

// Reasons with nothing wrong.
var (
	closedYet   = closure{why: "it is opened soon after the process serves"}
	closedByOff = closure{why: "none are kept, as it was started"}
	closedAtEnd = closure{why: "its process ends"}
)

// blame has queries told why the store is not open although it is meant to be.
func (s *Store) blame(err error) {
	s.closed.Store(&closure{fmt.Sprintf("%v; opening it is tried again every %v", err, reopenAfter), true})
}

// closedBecause is the ErrClosed of now.
func (s *Store) closedBecause() error {
	if c := s.closed.Load(); c.why != "" {
		return fmt.Errorf("%w: %s", ErrClosed, c.why)
	}
	return ErrClosed
}

// Problem says why no time series are kept that are meant to be, and when that is tried again; empty: they are.
func (s *Store) Problem() string {
	if c := s.closed.Load(); c.wrong {
		return c.why
	}
	return ""
}
