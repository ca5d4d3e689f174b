package proxy

import (
	"errors"

	"weir.dev/weir/dataplane/http2"
	"weir.dev/weir/dataplane/listener"
	"weir.dev/weir/dataplane/transport"
)

// serve is the listener's handler: requests one after the other until the connection ends,
// 0, or may rest until a time.
func (p *Proxy) serve(c *listener.Conn) (until transport.Instant) {
	d := p.door(c.Socket.Name)
	in := new(transport.Buffer)
	defer in.Release()
	if s, ok := c.Kept.(*http2.Session); ok {
		c.Kept = nil
		if c.Unwanted {
			c.Unwanted = false // if a request comes after all, it stays
			s.Expire()
		}
		return p.serveSession(c, s, in)
	}
	from := transport.Now() // the connection is new, or something has come after it was parked
	if c.Since == 0 {
		c.Since = from
	}
	for {
		first := c.BytesIn == 0
		came, until := p.await(d, c, in, from)
		if !came {
			return until
		}
		if first {
			if took, until := p.tookHTTP2(d, c, in); took {
				return until
			}
		}
		x := p.exchanges.Get().(*exchange)
		x.p, x.c, x.door, x.in = p, c, d, in
		since, open := x.serveWaiting()
		if !open {
			return 0
		}
		c.Since, from = since, since
	}
}

// await waits from then on for the first byte of a request, and holds no memory of ours
// meanwhile but a few words. The first request of a connection must come within the time
// for a head. When nothing has come for so long that the connection is to be parked, await
// returns until when it may stay idle; when it is to end, 0.
func (p *Proxy) await(d *door, c *listener.Conn, in *transport.Buffer, from transport.Instant) (came bool, until transport.Instant) {
	in.ReleaseIfEmpty()
	client := d.view.Load().client
	limit := p.idleLimit(client.KeepAlive)
	if c.BytesIn == 0 && client.HeadTimeout > 0 {
		limit = client.HeadTimeout
	}
	woken := c.MayPark() && from > c.Since
	if c.BytesIn > 0 && limit <= 0 && !woken {
		return false, 0 // the policy has become to close after each answer
	}
	until = c.Since.Add(limit)
	by := until
	if woken || c.MayPark() && limit > p.cfg.ParkAfter {
		by = from.Add(p.cfg.ParkAfter) // the woken is read even if its time is just up
	}
	n, err := c.ReadInto(in, transport.Wait{By: by, Stop: c.Socket.StopIdle()})
	c.BytesIn += int64(n)
	if by < until && errors.Is(err, transport.ErrTimeout) {
		return false, until
	}
	return err == nil, 0
}
