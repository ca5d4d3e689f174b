//go:build !linux

package transport

import "errors"

// ErrNoPipe is what Splicer.Fill returns when there is no pipe to be had.
var ErrNoPipe = errors.New("no pipe to splice through")

// SpliceFiles returns how many descriptors Splicers need at most.
func SpliceFiles() int { return 0 }

// Splicer carries bytes inside the kernel, where that can be done.
type Splicer struct{}

// NewSplicer returns nil: it cannot be done here.
func NewSplicer(_, _ *Conn) *Splicer { return nil }

// Fill returns ErrNoPipe.
func (s *Splicer) Fill(Wait) (int, error) { return 0, ErrNoPipe }

// Drain returns ErrNoPipe.
func (s *Splicer) Drain(Wait) error { return ErrNoPipe }

// AwaitReset returns ErrUnsupported.
func (c *Conn) AwaitReset(Wait) error { return ErrUnsupported }
