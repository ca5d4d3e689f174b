package stream

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"weir.dev/weir/dataplane/cluster"
	"weir.dev/weir/dataplane/listener"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/health"
)

// maxTries is how many hosts a connection is tried at, one after the other: nothing has been
// lost when one cannot be reached, but a client waits.
const maxTries = 3

// carriage is one connection that is carried.
type carriage struct {
	Tunnel

	e   *Engine
	r   *routing
	c   *listener.Conn
	arm *arm
	at  *cluster.Host // nil: none has been reached

	begun    transport.Instant
	connect  time.Duration // all tries together
	attempts []telemetry.Attempt
	pass     cluster.Pass
}

// Carry implements listener.Carrier.
func (r *route) Carry(c *listener.Conn, ahead *transport.Buffer) {
	x := &carriage{e: r.engine, r: r.now.Load(), c: c, begun: transport.Now()}
	x.Tunnel = Tunnel{Client: c.Conn, Idle: x.r.model.Idle, CutOff: x.e.cutOff, Told: x.tell, Report: x.e.report}
	x.r.series.Begin(c.Shard)
	defer x.observe()
	defer x.contain()
	arm, refusal := x.r.choose(x.e.cfg.Random)
	if refusal != nil {
		x.fail(model.ParseFlag(refusal.Flag), refusal.Reason)
		return
	}
	x.arm = arm
	// Connecting takes a large stack, which is not needed for as long as the connection lasts.
	reached := make(chan bool)
	go func() {
		defer close(reached)
		defer x.contain()
		reached <- x.reach()
	}()
	if <-reached {
		x.Carry(ahead, new(transport.Buffer))
	}
}

// reach connects to a host of the arm, and reports whether it has.
func (x *carriage) reach() bool {
	client := x.c.Remote.Addr()
	ask := cluster.Request{Hash: hashOf(client), Hashed: client.IsValid()}
	failed := ending{flag: model.FlagUH}
	for try := range maxTries {
		host, err := x.arm.cluster.Pick(ask)
		if err != nil {
			if len(ask.Tried) == 0 {
				failed.detail = fmt.Sprintf("cluster %s: %v", x.arm.cluster.Name(), err)
			}
			break
		}
		if slices.Contains(ask.Tried, host) {
			break // there is no other
		}
		if refused := x.admit(try > 0); refused != nil {
			if try == 0 {
				failed = ending{model.FlagUO, fmt.Sprintf("cluster %s: %v", x.arm.cluster.Name(), refused)}
			}
			break
		}
		if err = x.try(host); err == nil {
			return true
		}
		if errors.As(err, new(*cluster.Refusal)) {
			failed = ending{model.FlagUO, err.Error()}
			break
		}
		failed = ending{model.FlagUF, err.Error()}
		if x.e.cutOff() {
			break
		}
		if x.c.Peer() == transport.PeerReset {
			failed = ending{model.FlagDC, "the client left before a host was reached"}
			break
		}
		ask.Tried = append(ask.Tried, host)
	}
	x.pass.Excuse()
	x.fail(failed.flag, failed.detail)
	return false
}

// admit asks for one more try, or reports why the cluster allows none: a connection is a request
// to its breaker for as long as it lasts.
func (x *carriage) admit(again bool) error {
	c, now := x.arm.cluster, transport.Now()
	pass, refused := c.Admit(now, again)
	if refused != nil {
		return refused
	}
	x.pass = pass
	if !again {
		c.First(now, x.c.Shard)
	} else if !c.MayRetry(now, nil) {
		return errBudget
	}
	return nil
}

var errBudget = errors.New("the cluster's budget of retries is spent")

// try connects to a host.
func (x *carriage) try(host *cluster.Host) error {
	shard := x.c.Shard
	begun := transport.Now()
	host.Begin()
	host.Series.Begin(shard)
	x.arm.series.Begin(shard)
	up, err := host.For(x.c).Plain(x.e.cfg.Context, 0)
	now := transport.Now()
	took := now.Sub(begun)
	x.connect += took
	if err == nil {
		host.Reached(now, shard, took)
		x.pass.Judge(now, false)
		x.at, x.Host = host, up
		return nil
	}
	flag := model.FlagUF
	switch {
	case errors.As(err, new(*cluster.Refusal)):
		flag = model.FlagUO
		host.Cancel()
		x.pass.Excuse()
	case x.e.cutOff():
		flag = model.FlagWD
		host.Cancel()
		x.pass.Excuse()
	default:
		x.pass.Done(now, true)
		host.End(now, cluster.Outcome{Shard: shard, Result: health.Unanswered, Latency: took})
	}
	out := telemetry.Outcome{Flag: flag, Duration: took, Retries: min(len(x.attempts), 1)}
	host.Series.End(shard, &out)
	x.arm.series.End(shard, &out)
	x.attempts = append(x.attempts, telemetry.Attempt{Host: host.Address(), Flag: flag, Err: err.Error(), Duration: took})
	return err
}

// tell tells the metrics of bytes as they pass.
func (x *carriage) tell(in, out int64) {
	shard := x.c.Shard
	x.r.series.Move(shard, in, out)
	x.arm.series.Move(shard, in, out)
	x.at.Series.Move(shard, in, out)
	x.c.Count(in, out)
}

// observe counts the connection, logs it and lets go of its host.
func (x *carriage) observe() {
	took := transport.Now().Sub(x.begun)
	in, out := x.in.untold(), x.out.untold()
	x.c.BytesIn += in
	x.c.BytesOut += out
	outcome := telemetry.Outcome{Flag: x.end.flag, Duration: took, BytesIn: in, BytesOut: out}
	tries := len(x.attempts) // that failed
	x.pass.Excuse()          // what there was to say has been said
	if x.at != nil {
		x.at.Release(x.Host, 0, 0)
		x.at.Cancel() // how long a connection lived says nothing about the host
		outcome.Retries = min(tries, 1)
		x.at.Series.End(x.c.Shard, &outcome)
		x.arm.series.End(x.c.Shard, &outcome)
		tries++
	}
	outcome.Retries = max(tries-1, 0)
	x.r.series.End(x.c.Shard, &outcome)
	if x.e.cfg.AccessLog != nil {
		x.log(took)
	}
}

func (x *carriage) log(took time.Duration) {
	rec := telemetry.Record{
		Time: time.Now().Add(-took), Client: x.c.Remote, Identity: x.c.Identity(),
		Request: telemetry.RequestPart{Protocol: "TCP"},
		Flag:    x.end.flag, Detail: x.end.detail, Route: x.r.model.Name, Attempts: x.attempts,
		Timings: telemetry.Timings{Connect: x.connect, Total: took},
		BytesIn: x.in.moved, BytesOut: x.out.moved,
	}
	if x.c.Secured != nil {
		rec.Request.Protocol, rec.Request.Host = "TLS", []byte(x.c.Secured.ServerName)
	} else if x.c.Passed != nil {
		rec.Request.Protocol, rec.Request.Host = "TLS", []byte(x.c.Passed.ServerName)
	}
	if x.arm != nil {
		rec.Cluster = x.arm.model.Cluster
	}
	if x.at != nil {
		rec.Upstream = x.at.Address()
	}
	x.e.cfg.AccessLog.Write(x.c.Shard, &rec)
}
