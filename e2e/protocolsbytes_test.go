package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// conversation is a connection, or a session, of which every line is answered.
type conversation struct {
	net.Conn
	lines *bufio.Reader
}

// open makes a connection for a stream route, which ends with the row.
func (p *cell) open(stream string, o options) (*conversation, error) {
	c, err := p.column.bytes(p.ctx, p.front, stream, o)
	if err != nil {
		return nil, err
	}
	p.atEnd(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &conversation{c, bufio.NewReader(c)}, nil
}

// say sends a line and returns the answer.
func (c *conversation) say(line string) (string, error) {
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return "", err
	}
	got, err := c.lines.ReadString('\n')
	return strings.TrimSuffix(got, "\n"), err
}

// who is the host that answers a new connection, and the connection.
func (p *cell) who(stream string, o options) (string, *conversation) {
	p.Helper()
	c, err := p.open(stream, o)
	if err != nil {
		p.Fatalf("%s: %v", stream, err)
	}
	got, err := c.say("hello")
	host, ok := strings.CutSuffix(got, " got hello")
	if err != nil || !ok {
		p.Fatalf("%s: got %q, %v", stream, got, err)
	}
	return host, c
}

// host is who answers a new connection that is closed again.
func (p *cell) answers(stream string, o options) string {
	p.Helper()
	host, c := p.who(stream, o)
	_ = c.Close()
	return host
}

// hostKind is the kind of the hosts behind a column of bytes.
func (c *column) hostKind() string {
	if c.name == "TLS through" {
		return "tcps"
	}
	return "tcp"
}

// soon is a time in which what is not served shows that it is not.
func (p *cell) soon() context.Context {
	ctx, cancel := context.WithTimeout(p.ctx, 2*time.Second)
	p.atEnd(cancel)
	return ctx
}

func byPort(p *cell) {
	p.want("a", p.answers("a", options{}), "a")
	p.want("b", p.answers("b", options{}), "b")
}

func weighedBytes(p *cell) {
	p.fair(func() string { return p.answers("weights", options{}) })
}

func idledBytes(p *cell) {
	_, c := p.who("idle", options{})
	if p.column.name != "UDP" {
		if got, err := c.lines.ReadString('\n'); err == nil || errors.Is(err, context.DeadlineExceeded) {
			p.Errorf("a silent connection is not closed: %q, %v", got, err)
		}
	}
	// A session of UDP has no end that its client sees: it is counted.
	p.metric("weir_stream_connections_total", p.column.route+"idle")
}

func reachedNextBytes(p *cell) {
	for range 10 {
		p.want("host", p.answers("some", options{}), "a")
	}
}

func hashedBytes(p *cell) {
	seen := map[string]bool{}
	for i := range 20 {
		o := options{from: fmt.Sprintf("127.0.0.%d", 2+i)}
		host := p.answers("hash", o)
		p.want("the same client's host", p.answers("hash", o), host)
		seen[host] = true
	}
	p.want("hosts of 20 clients", len(seen), 2)
}

func balancedBytes(p *cell) {
	busy, c := p.who("load", options{})
	for range 10 {
		host, other := p.who("load", options{})
		if host == busy {
			p.Errorf("the busy host %s got another connection", busy)
		}
		if p.column.name == "UDP" {
			return // a session ends by its time alone
		}
		_ = other.Close()
		p.gone("load", 1)
	}
	_ = c.Close()
	p.gone("load", 0)
}

// gone waits until a route has only so many connections.
func (p *cell) gone(stream string, n int) {
	p.Helper()
	want := fmt.Sprintf("weir_stream_connections_active{route=%q} %d\n", p.column.route+stream+"/0", n)
	eventually(p.T, func() (bool, string) {
		_, text := fetch("http://" + p.admin + "/metrics")
		return strings.Contains(text, want), "no " + want
	})
}

func certifiedBytes(p *cell) {
	c, err := p.open("a", options{})
	if err == nil { // TLS 1.3 tells a client after its handshake
		_, err = c.say("hello")
	}
	if err == nil {
		p.Error("a client without a certificate is served")
	}
	p.want("host", p.answers("a", options{member: true}), "a")
}

func loggedBytes(p *cell) {
	stream := "a"
	if p.column.name == "UDP" { // a session is logged when its time is over
		stream = "idle"
	}
	p.answers(stream, options{from: "127.0.0.77"})
	p.logs(func(r record) bool {
		client, _ := r["client"].(string)
		route, _ := r["route"].(string)
		return strings.HasPrefix(client, "127.0.0.77:") && strings.HasPrefix(route, p.column.route+stream)
	})
}

func measuredBytes(p *cell) {
	_, c := p.who("a", options{})
	p.metric("weir_stream_connections_active", p.column.route+"a")
	_ = c.Close()
	p.metric("weir_stream_received_bytes_total", p.column.route+"a")
}

func duplexBytes(p *cell) {
	_, c := p.who("a", options{})
	for i := range 5 {
		got, err := c.say(fmt.Sprint("line ", i))
		if want := fmt.Sprint("a got line ", i); err != nil || got != want {
			p.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
}

func halfClosed(p *cell) {
	_, c := p.who("a", options{})
	if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		p.Fatal(err)
	}
	rest, err := io.ReadAll(c.lines)
	if err != nil || string(rest) != "a bids farewell\n" {
		p.Errorf("after the end of what is sent: %q, %v", rest, err)
	}
}

// refused is a connection that comes to nothing.
func (p *cell) refused(stream string, o options) {
	p.Helper()
	c, err := p.open(stream, o)
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	if got, err := c.say("hello"); err == nil {
		p.Errorf("%s: got %q", stream, got)
	}
}

func flagsBytes(p *cell) {
	for stream, flag := range map[string]string{"down": "UF", "missing": "NC"} {
		p.refused(stream, options{})
		if p.column.name == "UDP" && stream == "missing" { // there is no session: it is counted
			eventually(p.T, func() (bool, string) {
				_, text := fetch("http://" + p.admin + "/metrics")
				name := fmt.Sprintf(`weir_listener_dropped_datagrams_total{listener="[::]:%s/udp",reason="no_route"} `, p.Port("udp-missing"))
				return strings.Contains(text, name) && !strings.Contains(text, name+"0\n"), "no " + name
			})
			continue
		}
		p.logs(func(r record) bool {
			route, _ := r["route"].(string)
			return strings.HasPrefix(route, p.column.route+stream) && r["flag"] == flag && r["blame"] != nil
		})
	}
}

func crowdedBytes(p *cell) {
	var held []*conversation
	for range 2 {
		_, c := p.who("a", options{})
		held = append(held, c)
	}
	p.refused("a", options{})
	for _, c := range held {
		_ = c.Close()
	}
	p.quiet()
}

// quiet closes what clients have open, and waits until the front door knows.
func (p *cell) quiet() {
	p.Helper()
	p.close()
	eventually(p.T, func() (bool, string) {
		_, text := fetch("http://" + p.admin + "/metrics")
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "weir_listener_connections_active{") && !strings.Contains(line, "/udp") && !strings.HasSuffix(line, " 0\n") {
				return false, line
			}
		}
		return true, ""
	})
}

func heldBytes(p *cell) {
	_, c := p.who("a", options{})
	p.after = func() {
		if got, err := c.say("still"); err != nil || got != "a got still" {
			p.Errorf("got %q, %v", got, err)
		}
		_ = c.Close()
	}
}

func heldAndNewBytes(p *cell) {
	heldBytes(p)
	finish := p.after
	p.after = func() {
		p.want("the new process", p.answers("a", options{}), "a")
		finish()
	}
}

func checkedBytes(p *cell) {
	p.unhealthy(p.column.hostKind())
	p.want("host", p.answers("some", options{}), "a")
}

func heraldedBytes(p *cell) {
	p.want("host", p.answers("a", options{}), "a")
	p.logs(func(r record) bool {
		route, _ := r["route"].(string)
		return r["client"] == "203.0.113.7:4711" && strings.HasPrefix(route, p.column.route+"a")
	})
}

func heraldingBytes(p *cell) {
	p.want("host", p.answers("a", options{}), "a")
	p.wantHeader(p.column.hostKind())
}
