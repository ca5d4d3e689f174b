package proxy

import (
	"fmt"
	"net/http"
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/listener"
	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
	"weir.dev/weir/traffic/match"
)

// names are the hostnames of a listener with TLS.
type names struct {
	hosts  match.Hosts[*model.TLSName]
	proves bool // clients of some prove who they are
}

func newNames(l *model.Listener) (n names) {
	if l.TLS == nil {
		return n
	}
	for i := range l.TLS.Names {
		name := &l.TLS.Names[i]
		n.hosts.Set(name.Hostname, name)
		n.proves = n.proves || name.Client != nil
	}
	for _, b := range l.Streams { // no connection of HTTP is for them, whatever their certificate
		n.hosts.Set(b.Hostname, &model.TLSName{Hostname: b.Hostname})
	}
	return n
}

// misdirected reports whether a request must not be answered on its connection, and says why:
// its host is another listener's than the name that the handshake was for, so the client has
// seen another certificate and may have proved less than that listener asks (RFC 9110 section
// 15.5.20, GEP-3567); or the listener has come to ask for more than the client has proved. Where
// the rules for clients have changed otherwise, the connection ends after the answer.
func (x *exchange) misdirected() (why string) {
	s := x.c.Secured
	if s == nil {
		return ""
	}
	same := string(x.req.Host) == s.ServerName
	if same && !x.view.names.proves && s.Validation == nil {
		return ""
	}
	own, _ := x.view.names.hosts.Find([]byte(s.ServerName))
	if !same {
		wanted, ok := x.view.names.hosts.Find(x.req.Host)
		if ok && wanted != own {
			return "the connection was made for another name than the request's host"
		}
	}
	if own == nil || sameValidation(own.Client, s.Validation) {
		return ""
	}
	x.result.close = true
	if own.Client != nil && !own.Client.Insecure && !s.Verified {
		return "the listener has begun to ask for a client certificate"
	}
	return ""
}

func sameValidation(a, b *model.ClientValidation) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// refuseHandshake follows up on a handshake that failed: who sent an HTTP request in clear
// text is told so, and whose certificate was refused is logged.
func (p *Proxy) refuseHandshake(c *listener.Conn, r listener.Refusal) {
	rec := telemetry.Record{Time: time.Now(), Client: c.Remote, Detail: r.Err.Error()}
	switch {
	case r.HTTP:
		rec.Status, rec.Flag, rec.Detail = http.StatusBadRequest, model.FlagDPE, "clear-text HTTP on a port for HTTPS"
		rec.BytesOut = p.answerInClear(c)
	case r.End == telemetry.HandshakeCertificate:
		rec.Flag = model.FlagCC
	case r.Unannounced:
		rec.Flag = model.FlagDPE
	default:
		return
	}
	p.cfg.AccessLog.Write(c.Shard, &rec)
}

// answerInClear answers an HTTP request that should have been encrypted, and returns the
// bytes sent. What it asks for is not looked at.
func (p *Proxy) answerInClear(c *listener.Conn) int64 {
	const text = "This port speaks HTTPS only: the request came in clear text.\n"
	out := http1.AppendStatusLine(nil, http.StatusBadRequest)
	out = fmt.Appendf(out, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(text), text)
	view := p.door(c.Socket.Name).view.Load()
	if c.Write(out, transport.Wait{Gap: view.client.BodyTimeout}) != nil {
		return 0
	}
	c.BytesOut += int64(len(out))
	var in transport.Buffer
	defer in.Release()
	linger(c, &in)
	return int64(len(out))
}
