package proxy

import (
	"errors"
	"time"

	"weir.dev/weir/dataplane/http2"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/pressure"
)

// pressedRetry is when to ask again where the process had no room: its layers take a second each
// to end.
const pressedRetry = 5 * time.Second

// idleWhenPressed is how long an idle connection stays open while the process is short of
// something.
const idleWhenPressed = time.Second

// pressed refuses the request when the process is so near the end of its memory that requests
// have to be. It costs what any request costs of which a head is read.
func (x *exchange) pressed() bool {
	if x.p.cfg.Pressure.Admits(x.p.cfg.Random) {
		return false
	}
	x.p.pressedOut.Count(model.ModeEnforce)
	x.refuse(refusal{flag: model.FlagOM, detail: "the process is near the end of its memory", retryAfter: pressedRetry})
	return true
}

// idleLimit is how long a client's connection may be idle now, where its policy says limit.
func (p *Proxy) idleLimit(limit time.Duration) time.Duration {
	if p.cfg.Pressure.Layer() >= pressure.Trim {
		return min(limit, idleWhenPressed)
	}
	return limit
}

// Room is that of the streams of clients.
func (p *Proxy) Room() *http2.Room { return p.room }

// crowded reports whether a connection may have only few requests at once.
func (p *Proxy) crowded() bool { return p.cfg.Pressure.Layer() >= pressure.Hold }

// streamLimits are those of a new connection of HTTP/2 or HTTP/3.
func streamLimits(c *model.Client) http2.Limits {
	return http2.Limits{Streams: c.Streams.MaxConcurrent, Window: c.Streams.Window, Resets: c.Streams.Resets}
}

// cutFor is the flag of an answer that was cut off, for which its client is to blame as far as
// it goes: it stood still, and the memory that it held was needed.
func cutFor(flag model.Flag, err error) model.Flag {
	if flag == model.FlagDC && errors.Is(err, transport.ErrPressed) {
		return model.FlagOM
	}
	return flag
}

// breakOff ends the client's connection, or stream, in the middle of an answer.
func (x *exchange) breakOff() {
	if x.result.flag == model.FlagOM {
		x.p.pressedOut.Count(model.ModeEnforce)
		if s, ok := x.c.NetConn().(interface{ Calm() }); ok {
			s.Calm()
		}
	}
	x.c.Abort()
}

// Relieve ends some of the idle connections of clients, those first that have been idle for longest:
// a share of them. It returns how many.
func (p *Proxy) Relieve(share float64) int { return p.listeners.Relieve(share) }

// Connections returns how many connections of clients there are and may be.
func (p *Proxy) Connections() (open, most int64) { return p.listeners.Connections() }
