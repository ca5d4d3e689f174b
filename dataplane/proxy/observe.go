package proxy

import (
	"net/netip"
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// countTry counts one try at its host and cluster. status is 0 if there was no answer.
func (x *exchange) countTry(flag model.Flag, status int, took time.Duration) {
	out := telemetry.Outcome{
		Code: status, Flag: flag, Duration: took,
		BytesIn: x.result.request + x.body.seen, BytesOut: x.result.out,
	}
	if x.up.extra {
		out.Retries = 1
	}
	if x.coding.read > 0 {
		out.BytesOut = x.coding.read
	}
	if x.req.GRPC {
		out.GRPC = x.endOfTry(flag, status)
	}
	if x.up.host != nil {
		x.up.host.Series.End(x.c.Shard, &out)
	}
	x.arm.series.End(x.c.Shard, &out)
	x.trying = false
}

// observe counts the request and writes it to the access log.
func (x *exchange) observe() {
	if x.shadowing != nil {
		x.endShadows()
	}
	if x.started == 0 || x.result.counted {
		return
	}
	x.result.counted = true
	x.leave()
	took := x.elapsed()
	r := &x.result
	switch {
	case x.broken.late && r.flag == model.FlagNone:
		r.flag = model.FlagDI
	case x.broken.cut != model.FlagNone && r.flag == model.FlagDC:
		r.flag = x.broken.cut
	}
	if x.drawn.Made() {
		x.drawn.End(x.verdictOf(x.result.flag))
	}
	r.in += int64(x.head) + x.body.seen
	out := telemetry.Outcome{
		Code: r.status, Flag: r.flag, Duration: took,
		BytesIn: r.in, BytesOut: r.out, Retries: r.retries, GRPC: x.endOfCall(),
	}
	if x.route == nil {
		x.view.unmatched.Begin(x.c.Shard)
		x.view.unmatched.End(x.c.Shard, &out)
	} else {
		x.route.series.End(x.c.Shard, &out)
		x.noteCaller()
	}
	if x.logging() {
		x.log(took)
	}
}

// noteCaller has telemetry hear of one request in 64 that was sent somewhere: whose it was, and
// where it went. A request that waited for its host is in the sample as any other.
func (x *exchange) noteCaller() {
	if x.sampled++; x.sampled&63 != 0 || x.arm == nil || x.arm.cluster == nil {
		return
	}
	x.p.cfg.Metrics.Callers.Note(x.caller.Client, x.arm.model.Cluster, time.Now())
}

// elapsed is the time since the request began. idleSince is when its answer was complete,
// if it was: that saves looking at the clock again.
func (x *exchange) elapsed() time.Duration {
	if x.idleSince > x.started {
		return x.idleSince.Sub(x.started)
	}
	return transport.Now().Sub(x.started)
}

func (x *exchange) log(took time.Duration) {
	r := &x.req
	rec := telemetry.Record{
		Time: time.Now().Add(-took), ID: x.id.ID, Client: x.client(), Identity: x.c.Identity(),
		Request: telemetry.RequestPart{
			Method: r.Method, Host: r.Host, Path: r.Path,
		},
		Status: x.result.status, GRPC: x.endOfCall(), Flag: x.result.flag, Detail: x.result.detail,
		Attempts: x.attempts, BytesIn: x.result.in, BytesOut: x.result.out,
	}
	if x.head > 0 { // else the head was never complete, and the version is not known
		rec.Request.Protocol = protocols[r.Minor&1]
	}
	if x.major > 0 {
		rec.Request.Protocol = streamProtocols[x.major-2]
	}
	if x.id.Traced {
		rec.TraceParent, _ = r.Get(http1.NameTraceparent)
	}
	rec.Request.UserAgent, _ = r.Lookup("user-agent")
	rec.Request.Referer, _ = r.Lookup("referer")
	if x.route != nil {
		rec.Route = x.route.model.Name
	}
	rec.Arm = x.drawn.Arm()
	if x.arm != nil {
		rec.Cluster = x.arm.model.Cluster
	}
	if x.up.host != nil {
		rec.Upstream = x.up.host.Address()
	}
	rec.Timings = x.phases(took)
	x.p.cfg.AccessLog.Write(x.c.Shard, &rec)
}

var (
	protocols       = [...]string{"HTTP/1.0", "HTTP/1.1"}
	streamProtocols = [...]string{"HTTP/2", "HTTP/3"}
)

// client is who sent the request, as far as it is known: behind trusted proxies the address
// that they report, without a port.
func (x *exchange) client() netip.AddrPort {
	if x.caller.Client.IsValid() && x.caller.Client != x.caller.Peer {
		return netip.AddrPortFrom(x.caller.Client, 0)
	}
	return x.c.Remote
}

func (x *exchange) phases(took time.Duration) telemetry.Timings {
	t := &x.timings
	out := telemetry.Timings{Connect: time.Duration(t.connect), Total: took}
	if t.head > 0 {
		out.Head = t.head.Sub(x.started)
		if t.attempt > 0 && x.result.retries == 0 {
			out.Policies = t.attempt.Sub(t.head)
		}
	}
	if t.firstByte > 0 {
		out.FirstByte = t.firstByte.Sub(t.sent)
	}
	return out
}
