package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"weir.dev/weir/dataplane/transport"
)

// ConnectPacket opens a socket of UDP that is connected to the host: it hears only the host,
// and hears when nobody listens there. Nothing is sent yet, so success says nothing about the
// host. Every socket must be given back by one ReleasePacket.
func (h *Host) ConnectPacket(ctx context.Context) (net.Conn, error) {
	dial := h.cluster.set.config.DialPacket
	if dial == nil {
		return nil, h.named(errors.New("datagrams are not carried here"))
	}
	nc, err := dial(ctx, h.address)
	if err != nil { // ours: nobody has asked the host
		return nil, h.named(fmt.Errorf("open a socket: %w", err))
	}
	h.Stats.Opened.Add(1)
	h.Stats.Open.Add(1)
	return nc, nil
}

// ReleasePacket closes what ConnectPacket opened.
func (h *Host) ReleasePacket(nc net.Conn) {
	_ = nc.Close() // nothing is lost that UDP had promised
	h.Stats.Open.Add(-1)
}

// Unreachable notes that the host has said, by ICMP, that it cannot be reached. The error
// returned says whose it is.
func (h *Host) Unreachable(err error) error { return h.fail(err) }

// Reached notes that the host serves, although the try goes on and will be ended by Cancel: a
// stream's connection could be made, a protocol was switched, the first datagram came. It took
// so long.
func (h *Host) Reached(now transport.Instant, shard int, latency time.Duration) {
	h.observe(now, Outcome{Shard: shard, Latency: latency})
	if h.failure.Load() != nil {
		h.failure.Store(nil)
	}
}

// Draining reports whether the host is no longer one of its cluster's.
func (h *Host) Draining() bool { return h.draining.Load() }
