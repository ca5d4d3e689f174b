package http2

import (
	"time"

	"weir.dev/weir/dataplane/transport"
)

// What frames cost that a client can send at will, in units of about a microsecond of work
// that it causes. Completed answers and useful bytes earn units; see allowance.
const (
	costPriority = 1
	costWindow   = 1
	costUnknown  = 2
	costPing     = 10
	costEmpty    = 10 // DATA or CONTINUATION without bytes
	costSettings = 20
	costNoRoom   = 2  // a stream that others have left no room for: its client may try again
	costFault    = 20 // a stream that is refused or broken off by its fault
	costReset    = 20 // a stream reset by the client before its answer was complete
	earnAnswer   = 10
	earnData     = 2        // a frame with usefulData bytes of a body, either way
	earnSent     = costPing // a frame with all that there was to send: some measure their path with a PING for each
)

// usefulData is how many bytes of a body a frame must have to count as work.
const usefulData = 256

var errCalm = connFault(codeCalm, "too many frames that do nothing")

// allowance bounds what a client may waste (CVE-2023-44487, CVE-2019-9512, -9514, -9515, -9518): a
// bucket of units that honest use fills faster than it empties. The clock is only looked at when it is empty.
// A client that does nothing but open and reset streams gets so many of them at once as it is
// made for, and a tenth of that a second after that.
type allowance struct {
	units int
	most  int
	since transport.Instant
}

func newAllowance(resets int) allowance {
	most := resets * costReset
	return allowance{units: most, most: most, since: transport.Now()}
}

// spend takes units, and reports false when there are not that many.
func (a *allowance) spend(n int) bool {
	if a.units -= n; a.units >= 0 {
		return true
	}
	now := transport.Now()
	a.earn(int(min(now.Sub(a.since), time.Hour) * time.Duration(a.most/10) / time.Second))
	a.since = now
	return a.units >= 0
}

func (a *allowance) earn(n int) { a.units = min(a.units+n, a.most) }
