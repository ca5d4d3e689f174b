package policy

import (
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/uri"
)

// Redirect answers a request with a Location.
type Redirect struct {
	to     uri.Location
	status int
}

// RedirectInput is what a Location takes from the request.
type RedirectInput = uri.Requested

// CompileRedirect prepares r; nil gives nil. A status of 0 is 302.
func CompileRedirect(r *model.Redirect) *Redirect {
	if r == nil {
		return nil
	}
	c := &Redirect{to: uri.CompileLocation(r), status: r.Status}
	if c.status == 0 {
		c.status = 302
	}
	return c
}

// Status returns the status of the answer.
func (r *Redirect) Status() int { return r.status }

// AppendLocation appends the value of the Location field; see uri.Location.
func (r *Redirect) AppendLocation(dst []byte, in RedirectInput) []byte { return r.to.Append(dst, in) }
