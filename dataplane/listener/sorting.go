package listener

import (
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/match"
)

// Carrier carries connections as they are. Carry returns when the connection has ended, which
// the caller closes; ahead is what has been read from it before.
type Carrier interface {
	Carry(c *Conn, ahead *transport.Buffer)
}

// Passed is a TLS handshake that goes on to a host.
type Passed struct {
	ServerName string // that the client asks for, in lower case; empty: none
}

// sorting says which connections of a socket with TLS are not HTTP, by the names that their
// clients ask for. A nil one says that all are.
type sorting struct{ names match.Hosts[*branch] }

// branch is what becomes of the connections for one hostname.
type branch struct {
	carrier   Carrier // nil: they are HTTP, or are refused
	terminate bool    // TLS ends here
}

// carriesAll reports whether every connection of a listener is carried without a look at it.
func carriesAll(l *model.Listener) bool {
	return l.TLS == nil && len(l.Tables) == 0 && len(l.Streams) == 1 && l.Streams[0].Hostname == ""
}

// handshakes returns how a listener's connections begin if they begin with a handshake of TLS,
// with us or with somebody else, and nil if they do not.
func handshakes(l *model.Listener) *model.TLS {
	if l.TLS != nil || len(l.Streams) == 0 || carriesAll(l) {
		return l.TLS
	}
	return &model.TLS{Handshake: l.Client.HeadTimeout}
}

// sortingOf makes a listener's sorting ready; nil if it has none.
func (s *Set) sortingOf(l *model.Listener) *sorting {
	if len(l.Streams) == 0 {
		return nil
	}
	made := new(sorting)
	for _, b := range l.Tables {
		made.names.Set(b.Hostname, &branch{terminate: true})
	}
	for _, b := range l.Streams {
		to := &branch{}
		if b.Route != "" {
			to = &branch{carrier: s.cfg.Carrier(b.Route), terminate: b.Terminate}
		}
		made.names.Set(b.Hostname, to)
	}
	return made
}

// find returns what becomes of a connection whose client asks for a name, in lower case; nil:
// no listener has the name.
func (s *sorting) find(name string) *branch {
	b, _ := s.names.Find([]byte(name))
	return b
}

// ours reports whether a handshake for a name is to be done here.
func (s *sorting) ours(name string) bool {
	if s == nil {
		return true
	}
	b := s.find(name)
	return b != nil && b.terminate
}

// carrier returns what carries connections for a name once their handshake is done; nil: they
// are HTTP.
func (s *sorting) carrier(name string) Carrier {
	if s == nil {
		return nil
	}
	if b := s.find(name); b != nil && b.terminate {
		return b.carrier
	}
	return nil
}

// passes looks at how a connection begins. If its handshake is a host's, it returns what carries
// it, and what has been read of it is in ahead. Else nothing has happened: what it begins with,
// if it is not a hello or none comes, is crypto/tls's to judge.
func (s *Socket) passes(c *Conn, sec *security, by transport.Instant, ahead *transport.Buffer) Carrier {
	if sec.sorting == nil {
		return nil
	}
	var h hello
	var name string
	read := false
	err := c.Preview(transport.Wait{By: by, Stop: &s.stopIdle}, func(seen []byte) bool {
		done := h.complete(seen)
		if done {
			name, read = h.serverName(seen)
		}
		return done
	})
	if err != nil || !read {
		return nil
	}
	b := sec.sorting.find(name)
	if b == nil || b.carrier == nil || b.terminate {
		return nil
	}
	c.Unsecure(ahead)
	c.Passed = &Passed{ServerName: name}
	s.stats.EndHandshake(telemetry.HandshakePassed)
	return b.carrier
}

// carry has a connection carried until it ends.
func (s *Socket) carry(c *Conn, to Carrier, ahead *transport.Buffer) {
	defer s.release(c)
	defer ahead.Release()
	c.MarkCarried()
	to.Carry(c, ahead)
}

// plain is the configuration of an identity for what is not HTTP: no protocol is agreed on, and
// so none refused. It is made when it is first needed.
type plain struct {
	once   sync.Once
	config *tls.Config
	era    atomic.Uint64
}

// forStreams returns the configuration for handshakes of connections that are carried.
func (sec *security) forStreams(id *identity) *tls.Config {
	p := &id.plain
	p.once.Do(func() {
		p.config = id.config.Clone()
		p.config.NextProtos = nil
	})
	sec.renew(id, p.config, &p.era)
	return p.config
}

// renew gives a configuration the present keys for tickets.
func (sec *security) renew(id *identity, config *tls.Config, era *atomic.Uint64) {
	if now := sec.tickets.current(time.Now()); era.Load() != now {
		sec.tickets.derive(config, id.purpose)
		era.Store(now)
	}
}
