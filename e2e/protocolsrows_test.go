package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/textproto"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

// toHosts are the columns that differ in the hosts alone.
var toHosts = []string{"to TLS", "to HTTP/2", "to h2c"}

// rows are the features of the table, in its order.
var rows = []row{
	{name: "routes by port", carried: byPort},
	{name: "routes by hostname", request: byHostname, carried: byPort, but: []string{"TCP", "UDP"}},
	{name: "routes by path or method", request: byPath},
	{name: "routes by header", request: byHeader},
	{name: "weights", request: weighed, carried: weighedBytes},
	{name: "redirects", request: redirected, but: append([]string{"gRPC"}, toHosts...)},
	{name: "rewrites", request: rewritten, but: []string{"gRPC"}},
	{name: "header changes", request: edited},
	{name: "CORS", request: crossOrigin, but: []string{"gRPC"}},
	{name: "mirrors", request: mirrored},
	{name: "compression", request: compressed, but: []string{"gRPC"}},
	{name: "timeouts of requests", request: timedOut("/request", "PT")},
	{name: "timeouts of tries", request: timedOut("/try", "UT")},
	{name: "timeouts of idle streams", request: idled, carried: idledBytes},
	{name: "retries", request: retried},
	{name: "the next host if one cannot be reached", request: reachedNext, carried: reachedNextBytes, but: []string{"UDP"}},
	{name: "sessions", request: sessions},
	{name: "hashing", request: hashed, carried: hashedBytes},
	{name: "balancing by load", request: balanced, carried: balancedBytes},
	{name: "client certificates", front: strictFront, request: certified, carried: certifiedBytes, only: []string{"HTTPS", "HTTP/2", "HTTP/3", "gRPC", "TLS ended"}},
	{name: "identities as keys", front: strictFront, request: identified, only: []string{"HTTPS", "HTTP/2", "HTTP/3", "gRPC"}},
	{name: "a certificate for hosts", request: certifiedToHosts, only: []string{"to TLS", "to HTTP/2"}},
	{name: "misdirected requests (421)", request: misdirected, only: []string{"HTTPS", "HTTP/2", "HTTP/3", "gRPC"}},
	{name: "explanations of live requests", request: explained},
	{name: "access log", request: logged, carried: loggedBytes},
	{name: "metrics", request: measured, carried: measuredBytes},
	{name: "trailers", request: trailers},
	{name: "interim answers (1xx)", request: interim, but: []string{"gRPC"}},
	{name: "WebSocket", request: webSocket, but: []string{"gRPC"}},
	{name: "bodies both ways at once", request: duplex, carried: duplexBytes},
	{name: "answers before the body's end", request: early},
	{name: "half-closed connections", carried: halfClosed, but: []string{"UDP"}},
	{name: "flags and blame", request: flags, carried: flagsBytes},
	{name: "limits on heads", request: largeHead, but: toHosts},
	{name: "limits on connections", front: tightFront, request: crowded, carried: crowdedBytes, but: toHosts},
	{name: "active health checks", front: checkedFront, request: checked, carried: checkedBytes, but: []string{"UDP"}},
	{name: "PROXY headers from clients", front: heraldedFront, request: heralded, carried: heraldedBytes, but: append([]string{"HTTP/3", "UDP"}, toHosts...)},
	{name: "PROXY headers to hosts", front: heraldingFront, request: heralding, carried: heraldingBytes, but: []string{"UDP"}},
	{name: "draining", request: held, carried: heldBytes, event: drained},
	{name: "upgrades", request: heldAndNew, carried: heldAndNewBytes, event: upgraded},
}

// do asks and must get an answer.
func (p *cell) do(a question) *answer {
	p.Helper()
	got, err := p.r.ask(p.ctx, a)
	if err != nil {
		p.Fatalf("%s%s: %v", a.host, a.path, err)
	}
	return got
}

// does is the header that has a host do something.
func (p *cell) does(what string) map[string]string {
	return map[string]string{"x-do": what, "x-id": p.id}
}

// from is the host that answers.
func (p *cell) from(a question) string {
	p.Helper()
	got := p.do(a)
	return got.echoed(p.T).Host
}

func (p *cell) want(what string, got, want any) {
	p.Helper()
	if got != want {
		p.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func byHostname(p *cell) {
	p.want("own host", p.from(question{path: "/a"}), "a")
	p.want("second host", p.from(question{path: "/a", host: "second." + p.r.host}), "b")
}

func byPath(p *cell) {
	p.want("/a", p.from(question{path: "/a/x"}), "a")
	p.want("/b", p.from(question{path: "/b/x"}), "b")
	p.want("elsewhere", p.do(question{path: "/nowhere"}).flag, "NR")
}

func byHeader(p *cell) {
	p.want("without", p.from(question{path: "/pick"}), "a")
	p.want("with", p.from(question{path: "/pick", header: map[string]string{"x-pick": "b"}}), "b")
}

// fair checks a split of one to three: a hundred tries are far from either end.
func (p *cell) fair(try func() string) {
	p.Helper()
	got := map[string]int{}
	for range 100 {
		got[try()]++
	}
	if got["a"] < 5 || got["b"] < 40 || got["a"]+got["b"] != 100 {
		p.Errorf("weights of 1 and 3 gave %v", got)
	}
}

func weighed(p *cell) {
	p.fair(func() string { return p.from(question{path: "/weights"}) })
}

func redirected(p *cell) {
	got := p.do(question{path: "/redirect/x?q=1"})
	p.want("status", got.status, http.StatusMovedPermanently)
	if to := got.header.Get("Location"); !strings.HasPrefix(to, p.r.base+"://new.test") || !strings.HasSuffix(to, "/new/x?q=1") {
		p.Errorf("redirected to %q", to)
	}
}

func rewritten(p *cell) {
	e := p.do(question{path: "/rewrite/x"}).echoed(p.T)
	p.want("path", e.Path, "/app/x")
	p.want("host", e.Authority, "app.internal")
}

func edited(p *cell) {
	got := p.do(question{path: "/edit", header: map[string]string{"x-set": "theirs", "x-add": "some", "x-secret": "42"}})
	e := got.echoed(p.T)
	p.want("x-set", strings.Join(e.Header["X-Set"], ", "), "ours")
	p.want("x-add", strings.Join(e.Header["X-Add"], ", "), "some, more")
	p.want("x-secret", e.Header.Get("X-Secret"), "")
	p.want("x-served-by", got.header.Get("X-Served-By"), "weir")
	p.want("x-remove", got.header.Get("X-Remove"), "")
}

func crossOrigin(p *cell) {
	preflight := map[string]string{"origin": "https://shop.test", "access-control-request-method": "PUT"}
	got := p.do(question{method: http.MethodOptions, path: "/cors", header: preflight})
	p.want("preflight", got.header.Get("Access-Control-Allow-Methods"), "PUT")
	got = p.do(question{path: "/cors", header: map[string]string{"origin": "https://shop.test"}})
	p.want("answer", got.header.Get("Access-Control-Allow-Origin"), "https://shop.test")
}

func mirrored(p *cell) {
	p.want("answer", p.from(question{path: "/mirror", header: p.does("echo"), body: "copied"}), "a")
	arrived := []string{p.arrival(p.id), p.arrival(p.id)}
	slices.Sort(arrived)
	p.want("hosts", strings.Join(arrived, ", "), "a, b")
}

// arrival waits for a request to come to a host.
func (p *cell) arrival(id string) string {
	p.Helper()
	select {
	case host := <-p.arrivals(id):
		return host
	case <-p.ctx.Done():
		p.Fatal("nothing arrived")
		return ""
	}
}

func compressed(p *cell) {
	header := p.does("text")
	header["accept-encoding"] = "gzip"
	got := p.do(question{path: "/compress", header: header})
	p.want("coding", got.header.Get("Content-Encoding"), "gzip")
	if len(got.body) > 2000 {
		p.Errorf("%d bytes", len(got.body))
	}
}

func timedOut(path, flag string) func(*cell) {
	return func(p *cell) {
		got := p.do(question{path: path, header: p.does("hold")})
		if got.code == codes.DeadlineExceeded {
			return // whoever noticed first, the host or Weir
		}
		p.want("flag", got.flag, flag)
	}
}

// idled: an answer that begins and then says nothing is cut.
func idled(p *cell) {
	got, err := p.r.ask(p.ctx, question{path: "/idle", header: p.does("pause")})
	if err == nil && !got.failed {
		p.Errorf("the whole of a silent answer: %+v", got)
	}
	if p.ctx.Err() != nil {
		p.Error("nothing ended it")
	}
}

func retried(p *cell) {
	got := p.do(question{path: "/retry", header: p.does("fail-first"), body: "again"})
	p.want("tries", got.header.Get("X-Tried"), "2")
	p.want("body", got.echoed(p.T).Body, "again")
}

func reachedNext(p *cell) {
	for range 10 {
		p.want("host", p.from(question{path: "/some"}), "a")
	}
}

func sessions(p *cell) {
	first := p.do(question{path: "/session"})
	token := first.header.Get("X-Session")
	if token == "" {
		p.Fatal("no token came")
	}
	for range 10 {
		p.want("host", p.from(question{path: "/session", header: map[string]string{"x-session": token}}), first.echoed(p.T).Host)
	}
}

func hashed(p *cell) {
	seen := map[string]bool{}
	for user := range 20 {
		a := question{path: "/hash", header: map[string]string{"x-user": fmt.Sprint(user)}}
		host := p.from(a)
		p.want("the same user's host", p.from(a), host)
		seen[host] = true
	}
	p.want("hosts of 20 users", len(seen), 2)
}

// balanced: a host with a request in flight gets no other while there is one without.
func balanced(p *cell) {
	done := make(chan error, 1)
	go func() {
		_, err := p.r.ask(p.ctx, question{path: "/load", header: p.does("hold")})
		done <- err
	}()
	busy := p.arrival(p.id)
	for range 10 {
		if p.from(question{path: "/load"}) == busy {
			p.Errorf("the busy host %s got another request", busy)
		}
	}
	p.release(p.id)
	if err := <-done; err != nil {
		p.Error(err)
	}
}

func strictFront(f *front) { f.Strict = true }

func certified(p *cell) {
	if got, err := p.r.ask(p.ctx, question{path: "/a"}); err == nil && !got.failed {
		p.Errorf("a client without a certificate gets %d", got.status)
	}
	p.r = p.client(options{member: true})
	p.want("host", p.from(question{path: "/a"}), "a")
}

func identified(p *cell) {
	p.r = p.client(options{member: true})
	host := p.from(question{path: "/identity"})
	for range 10 {
		p.want("host of one identity", p.from(question{path: "/identity"}), host)
	}
	p.logs(func(r record) bool { return r["identity"] == memberID && r["path"] != nil })
}

func certifiedToHosts(p *cell) {
	p.want("certificate", p.do(question{path: "/a"}).echoed(p.T).Certified, true)
}

func misdirected(p *cell) {
	// The handshake asks for the column's host, whatever the request is for.
	p.r = p.client(options{name: p.r.host})
	got := p.do(question{path: "/a", host: "other.example"})
	p.want("flag", got.flag, "DPE")
	if p.r.plain != nil {
		p.want("status", got.status, http.StatusMisdirectedRequest)
	}
}

func explained(p *cell) {
	got := p.do(question{path: "/a", header: map[string]string{"x-weir-explain": "1"}})
	var e struct{ Route, Arm string }
	text := got.header.Get("X-Weir-Explain")
	if err := json.Unmarshal([]byte(text), &e); err != nil || !strings.Contains(e.Route, "/a") {
		p.Errorf("explained as %q: %v", text, err)
	}
}

// record is a line of the access log.
type record map[string]any

// logs waits for a line of the access log.
func (p *cell) logs(is func(record) bool) {
	p.Helper()
	eventually(p.T, func() (bool, string) {
		text, err := os.ReadFile(p.access)
		if err != nil {
			return false, err.Error()
		}
		for line := range strings.Lines(string(text)) {
			var r record
			if json.Unmarshal([]byte(line), &r) == nil && is(r) {
				return true, ""
			}
		}
		return false, string(text)
	})
}

func logged(p *cell) {
	p.do(question{path: "/a", header: map[string]string{"x-request-id": p.id}})
	protocol := map[string]string{"HTTP/2": "HTTP/2", "h2c": "HTTP/2", "gRPC": "HTTP/2", "HTTP/3": "HTTP/3"}[p.column.name]
	p.logs(func(r record) bool {
		got, _ := r["protocol"].(string)
		return r["request_id"] == p.id && r["route"] != nil && strings.HasPrefix(got, protocol) && (r["status"] == 200.0)
	})
}

// metric waits for a counter of the kind and the route to be above zero.
func (p *cell) metric(name, route string) {
	p.Helper()
	eventually(p.T, func() (bool, string) {
		_, text := fetch("http://" + p.admin + "/metrics")
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, name+"{") && strings.Contains(line, `route="`+route) && !strings.HasSuffix(line, " 0\n") {
				return true, ""
			}
		}
		return false, "no " + name + " of " + route
	})
}

func measured(p *cell) {
	p.do(question{path: "/a"})
	if p.column.name == "gRPC" {
		p.metric("weir_route_grpc_calls_total", "GRPCRoute/default/grpc/a")
		return
	}
	p.metric("weir_route_requests_total", "default/"+p.column.host+"/a")
}

func trailers(p *cell) {
	got := p.do(question{path: "/a", header: map[string]string{"x-trailer": "here"}, body: "before"})
	p.want("trailer", got.trailer.Get("X-Trailer"), "told:here")
}

func interim(p *cell) {
	hints := make(chan string, 4)
	p.ctx = httptrace.WithClientTrace(p.ctx, &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
		hints <- fmt.Sprint(code, " ", header.Get("Link"))
		return nil
	}})
	p.do(question{path: "/a", header: p.does("hints")})
	select {
	case got := <-hints:
		p.want("hint", got, "103 </style.css>; rel=preload")
	default:
		p.Error("no hint came")
	}
}

func webSocket(p *cell) {
	w, err := p.r.tunnel(p.ctx, question{path: "/a", header: p.does("upgrade")})
	if err != nil {
		p.Fatal(err)
	}
	defer w.close()
	p.converse(w, "")
}

// converse sends lines and wants each answered before the next.
func (p *cell) converse(w *talk, host string) {
	p.Helper()
	for _, line := range []string{"one", "two"} {
		if err := w.send(line); err != nil {
			p.Fatal(err)
		}
		got, err := w.hear()
		if want := strings.TrimSpace(host + " got " + line); err != nil || got != want {
			p.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
}

func duplex(p *cell) {
	w, err := p.r.talk(p.ctx, question{path: "/a", header: p.does("duplex")})
	if err != nil {
		p.Fatal(err)
	}
	defer w.close()
	p.converse(w, "a")
	if err := w.end(); err != nil {
		p.Fatal(err)
	}
	if got, err := w.hear(); !errors.Is(err, io.EOF) {
		p.Errorf("after the end: %q, %v", got, err)
	}
}

// early: the host answers without having read the body, of which more is to come.
func early(p *cell) {
	body, in := io.Pipe()
	defer in.Close()
	context.AfterFunc(p.ctx, func() { _ = in.Close() }) // net/http waits for it
	if p.r.plain == nil {
		w, err := p.r.talk(p.ctx, question{path: "/a", header: p.does("early")})
		if err != nil {
			p.Fatal(err)
		}
		defer w.close()
		if _, err := w.hear(); err == nil || !strings.Contains(err.Error(), "at once") {
			p.Errorf("got %v", err)
		}
		return
	}
	req, err := p.r.request(p.ctx, question{path: "/a", header: p.does("early"), method: http.MethodPost}, body)
	if err != nil {
		p.Fatal(err)
	}
	resp, err := p.r.plain.RoundTrip(req)
	if err != nil {
		p.Fatal(err)
	}
	p.want("status", resp.StatusCode, http.StatusTeapot)
	_ = resp.Body.Close()
}

func flags(p *cell) {
	p.want("no host", p.do(question{path: "/down", header: map[string]string{"x-request-id": p.id}}).flag, "UF")
	p.logs(func(r record) bool { return r["request_id"] == p.id && r["flag"] == "UF" && r["blame"] == "upstream" })
	p.want("no backend", p.do(question{path: "/missing"}).flag, "NC")
}

func largeHead(p *cell) {
	got, err := p.r.ask(p.ctx, question{path: "/a", header: map[string]string{"x-large": strings.Repeat("x", 100_000)}})
	if err == nil && !got.failed {
		p.Errorf("a head of 100 kB gets %d", got.status)
	}
	p.want("afterwards", p.client(options{}) != nil && p.from(question{path: "/a"}) == "a", true)
}

func tightFront(f *front) { f.Client = "maxConnections: 2" }

// crowded: of three clients that stay, one is not served.
func crowded(p *cell) {
	var held []*talk
	for range 2 {
		p.r = p.client(options{})
		w, err := p.r.talk(p.ctx, question{path: "/a", header: p.does("duplex")})
		if err != nil {
			p.Fatal(err)
		}
		held = append(held, w)
		p.converse(w, "a")
	}
	p.r = p.client(options{})
	ctx := p.soon()
	if got, err := p.r.ask(ctx, question{path: "/a"}); err == nil && !got.failed {
		p.Errorf("a third client is served: %+v", got)
	}
	for _, w := range held {
		w.close()
	}
	p.quiet()
}

func checkedFront(f *front) { f.Check = "healthCheck: {tcp: {}, interval: 1s}" }

// checked: a host that does not listen gets no requests, though nothing is retried.
func checked(p *cell) {
	p.unhealthy(p.column.host)
	for range 10 {
		p.want("host", p.from(question{path: "/checked"}), "a")
	}
}

// unhealthy waits until the host that is down is known to be.
func (p *cell) unhealthy(kind string) {
	p.Helper()
	eventually(p.T, func() (bool, string) {
		_, text := fetch("http://" + p.admin + "/metrics")
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "weir_host_healthy{") && strings.Contains(line, "/"+kind+"-some") && strings.Contains(line, `"127.0.0.1:1"} 0`) {
				return true, ""
			}
		}
		return false, "the host is not known to be down"
	})
}

// heraldedFront has clients that say for whom they come.
func heraldedFront(f *front) {
	f.Client, f.herald = "proxyProtocol: true", "PROXY TCP4 203.0.113.7 127.0.0.1 4711 80\r\n"
}

func heralded(p *cell) {
	p.want("host", p.from(question{path: "/a", header: map[string]string{"x-request-id": p.id}}), "a")
	p.logs(func(r record) bool { return r["request_id"] == p.id && r["client"] == "203.0.113.7:4711" })
}

// heraldingFront has hosts behind relays that take the PROXY header off.
func heraldingFront(f *front) {
	f.Backends = slices.Clone(f.Backends)
	for i := range f.Backends {
		b := &f.Backends[i]
		if strings.HasSuffix(b.Name, "-a") && b.Name != "udp-a" {
			b.Endpoints = []netip.AddrPort{f.relay(f.t, b.kind(), b.Endpoints[0])}
			b.Spec += "\n  proxyProtocol: V1"
		}
	}
}

func heralding(p *cell) {
	p.want("host", p.from(question{path: "/a"}), "a")
	p.wantHeader(p.column.host)
}

// wantHeader wants a host to have been told of a client.
func (p *cell) wantHeader(kind string) {
	p.Helper()
	select {
	case got := <-p.arrivals("header of " + kind):
		if !strings.HasPrefix(got, "PROXY TCP4 127.0.0.1 ") {
			p.Errorf("the host was told %q", got)
		}
	case <-p.ctx.Done():
		p.Error("the host was told nothing")
	}
}

// held: what is under way when the front door closes gets to its end.
func held(p *cell) {
	w, err := p.r.talk(p.ctx, question{path: "/a", header: p.does("duplex")})
	if err != nil {
		p.Fatal(err)
	}
	p.converse(w, "a")
	p.after = func() {
		p.converse(w, "a")
		if err := w.end(); err != nil {
			p.Fatal(err)
		}
		if got, err := w.hear(); !errors.Is(err, io.EOF) {
			p.Errorf("after the end: %q, %v", got, err)
		}
		w.close()
	}
}

func heldAndNew(p *cell) {
	held(p)
	finish := p.after
	p.after = func() {
		if p.column.name == "HTTP/3" { // a socket of UDP has one reader: first the old connections end
			finish()
		} else {
			defer finish()
		}
		p.r = p.client(options{})
		var got *answer
		eventually(p.T, func() (bool, string) {
			ctx, cancel := context.WithTimeout(p.ctx, time.Second)
			defer cancel()
			var err error
			got, err = p.r.ask(ctx, question{path: "/a"})
			return err == nil || p.column.name != "HTTP/3", fmt.Sprint(err)
		})
		p.want("the new process", got.echoed(p.T).Host, "a")
	}
}

func drained(t *testing.T, f *front) {
	if err := f.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (bool, string) {
		c, err := net.Dial("tcp", f.at("clear"))
		if err == nil {
			_ = c.Close()
		}
		return err != nil, "connections are still accepted"
	})
}

func upgraded(t *testing.T, f *front) {
	if err := f.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	f.newPid(t)
}
