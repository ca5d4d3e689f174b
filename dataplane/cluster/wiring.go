package cluster

import (
	"crypto/tls"
	"fmt"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
)

// wiring is how the connections to a cluster's hosts are made. With the host it is what a
// pool is for: a connection of another wiring is finished and never used again.
type wiring struct {
	era      uint32              // unlike that of any other wiring, and not 0; what connections are marked with
	key      string              // of what they are made
	protocol model.Protocol      // Auto: what a handshake agrees on
	config   *tls.Config         // nil: clear text
	tells    model.ProxyProtocol // whose each connection is; empty: nothing
}

// wiringKey tells transports apart: by protocol, by what connections begin with, and by all
// that secures them.
func wiringKey(spec *model.Cluster) string {
	protocol := spec.Protocol
	if spec.TLS == nil && protocol == model.ProtocolAuto {
		protocol = model.ProtocolHTTP1 // there is nothing to negotiate it with
	}
	key := string(protocol) + " " + string(spec.ProxyProtocol)
	if spec.TLS != nil {
		key += " " + string(model.HashOf(spec.TLS))
	}
	return key
}

// wire returns the wiring that spec asks for, the cluster's own if it is of that kind. What
// is parsed for it is shared by all clusters that want the same. It is called with mu held.
func (s *Set) wire(own *wiring, spec *model.Cluster) (*wiring, error) {
	key := wiringKey(spec)
	if own != nil && own.key == key {
		return own, nil
	}
	w := &wiring{key: key, protocol: spec.Protocol, tells: spec.ProxyProtocol}
	if spec.TLS != nil {
		if w.config = s.configs[key]; w.config == nil {
			config, err := clientConfig(spec.TLS, spec.Protocol)
			if err != nil {
				return nil, fmt.Errorf("tls: %w", err)
			}
			w.config = config
			s.configs[key] = config
		}
	}
	s.eras++
	w.era = s.eras
	return w, nil
}

// forgetConfigs lets go of what no live cluster uses any more, if there may be any. It is
// called with mu held.
func (s *Set) forgetConfigs() {
	if !s.rewired || len(s.configs) == 0 {
		return
	}
	s.rewired = false
	used := map[string]*tls.Config{}
	for _, c := range s.order {
		if w := c.wiring; w != nil && w.config != nil {
			used[w.key] = w.config
		}
	}
	s.configs = used
}

// rewire has connections made by w from now on and closes the idle ones that were not: those
// in use follow when they are released. Whoever puts a connection into a shard looks at the
// wiring under the shard's lock: either they see w, or outdated, which locks later, sees
// their connection.
func (h *Host) rewire(w *wiring) {
	if h.wiring.Swap(w) == w {
		return
	}
	h.eachShard(func(s *shard) {
		h.drop(s.outdated(w.era))
		h.unlinked(s.cutOld(w.era))
	})
}

// outdated takes the connections out that are of another era.
func (s *shard) outdated(era uint32) []*transport.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	var dropped []*transport.Conn
	rest := s.idle[:0]
	for _, c := range s.idle {
		if c.Era == era {
			rest = append(rest, c)
		} else {
			dropped = append(dropped, c)
		}
	}
	clear(s.idle[len(rest):])
	s.idle = rest
	return dropped
}
