// Package uri is what a request's host and path are to routes: their one normal form, and
// what Gateway API's filters make of them. The data plane serves by it and the control plane
// explains by it, so that both read a request alike. It knows no messages and does no I/O.
package uri

// Error says why a path or an authority was refused. All values are declared in this package
// and never change: a refusal allocates nothing, and two of them compare by identity.
type Error struct{ Reason string }

// Error returns the reason.
func (e *Error) Error() string { return e.Reason }

// What is wrong with a path.
var (
	ErrForm             = &Error{"request target is neither a path nor an http URI"}
	ErrTarget           = &Error{"bad character in the request target"}
	ErrBackslash        = &Error{"backslash in the path"}
	ErrEscape           = &Error{"malformed escape in the path"}
	ErrEscapedNUL       = &Error{"escaped NUL in the path"}
	ErrEscapedSeparator = &Error{"escaped slash or backslash in the path"}
	ErrDotEscape        = &Error{"dot segment beside an escaped slash or backslash"}
	ErrAboveRoot        = &Error{"dot segments lead above the root"}
)

// What is wrong with an authority.
var (
	ErrHost     = &Error{"malformed host"}
	ErrUserinfo = &Error{"user information in the authority"}
	ErrPort     = &Error{"malformed port"}
	ErrIPv6     = &Error{"malformed IPv6 literal"}
)
