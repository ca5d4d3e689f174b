// Package conntrack is imported by prometheus/common/config, for clients that this program does not have. What it
// stands for brings golang.org/x/net/trace, whose pages are templates; they have the linker keep every exported method
// of every type, a fifth of the program.
package conntrack

import (
	"context"
	"net"
)

// DialFunc is how a client connects.
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// DialerOpt sets how NewDialContextFunc connects.
type DialerOpt func(*DialFunc)

// DialWithTracing does nothing.
func DialWithTracing() DialerOpt { return func(*DialFunc) {} }

// DialWithName does nothing.
func DialWithName(string) DialerOpt { return func(*DialFunc) {} }

// DialWithDialContextFunc has connections made by dial.
func DialWithDialContextFunc(dial DialFunc) DialerOpt { return func(d *DialFunc) { *d = dial } }

// NewDialContextFunc returns what connects: a net.Dialer, unless an option says otherwise.
func NewDialContextFunc(options ...DialerOpt) DialFunc {
	dial := new(net.Dialer).DialContext
	for _, o := range options {
		o(&dial)
	}
	return dial
}
