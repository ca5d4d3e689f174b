package transport

import "errors"

// ErrUnsupported says that a connection cannot be watched by a Poll: it is not TCP, or
// the system has no epoll.
var ErrUnsupported = errors.New("connection cannot be polled")

// pollBatch is how many connections one Wait reports at most.
const pollBatch = 256

// Token names one watch of a connection to whoever waits. The caller chooses it, and never
// uses one again: a descriptor's number says nothing, as the next connection may get it.
type Token uint64

// Pollable reports whether a Poll can watch the connection once it is put by.
func (c *Conn) Pollable() bool { return c.raw != nil }
