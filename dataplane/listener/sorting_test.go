package listener

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// teller is a Carrier that says which it is and what was asked for, and then sends back what
// comes, from the first byte on.
type teller string

func (t teller) Carry(c *Conn, ahead *transport.Buffer) {
	name := "-"
	switch {
	case c.Secured != nil:
		name = c.Secured.ServerName + "/" + c.Secured.Protocol
	case c.Passed != nil:
		name = c.Passed.ServerName
	}
	if c.Write(fmt.Appendf(nil, "%s|%s|", string(t), name), transport.Wait{}) != nil {
		return
	}
	for {
		if c.Write(ahead.Bytes(), transport.Wait{}) != nil {
			return
		}
		ahead.Consume(ahead.Len())
		if _, err := c.ReadInto(ahead, transport.Wait{Stop: c.Socket.StopIdle()}); err != nil {
			return
		}
	}
}

func carriers(cfg *Config) {
	cfg.HTTP2 = true
	cfg.Carrier = func(route string) Carrier { return teller(route) }
}

// mixed is a listener on which every kind of connection comes in.
func mixed(t *testing.T) *model.Listener {
	a := newAuthority(t, "ca")
	return &model.Listener{
		Name: "front", Address: netip.MustParseAddrPort("127.0.0.1:0"), Client: model.Client{HeadTimeout: time.Second},
		TLS: &model.TLS{Handshake: 5 * time.Second, Names: []model.TLSName{
			{Hostname: "www.example.com", Certificates: []model.Certificate{a.serve("www.example.com")}},
			{Hostname: "db.example.com", Certificates: []model.Certificate{a.serve("db.example.com")}},
			{Hostname: "*.example.com", Certificates: []model.Certificate{a.serve("*.example.com")}},
		}},
		Tables: []model.TableBinding{{Hostname: "www.example.com", Table: "w"}, {Hostname: "*.example.com", Table: "w"}},
		Streams: []model.StreamBinding{
			{Hostname: "db.example.com", Terminate: true, Route: "ended"},
			{Hostname: "raw.example.com", Route: "passed"},
			{Hostname: "none.example.com", Terminate: true},
			{Hostname: "*.passed.test", Route: "wild"},
			{Hostname: "passed.none.test"},
		},
	}
}

// hear reads what a connection says first.
func hear(t testing.TB, c io.Reader, n int) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatalf("%v after %q", err, b)
	}
	return string(b)
}

func (h *hall) follow(l *model.Listener) {
	h.t.Helper()
	if err := h.set.Apply([]*model.Listener{l}); err != nil {
		h.t.Fatal(err)
	}
	h.addr = h.set.Addresses()["front"].String()
}

// dial makes a bare connection.
func (h *hall) dial() net.Conn {
	h.t.Helper()
	c, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(handshakePatience))
	h.t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestNameSorts: HTTP, streams whose TLS ends here, and streams whose TLS does not, on one port.
func TestNameSorts(t *testing.T) {
	h := newHall(t, nil, carriers)
	h.follow(mixed(t))
	for _, tc := range []struct{ name, want string }{
		{"www.example.com", "www.example.com|h2||x"},
		{"other.example.com", "other.example.com|h2||x"},
		{"db.example.com", "ended|db.example.com/|x"}, // no protocol is agreed on, and none refused
		{"DB.example.com", "ended|db.example.com/|x"},
	} {
		_, got, err := h.shout(&tls.Config{ServerName: tc.name, InsecureSkipVerify: true, NextProtos: []string{"h2", "mqtt"}}, len(tc.want))
		if err != nil || got != tc.want {
			t.Errorf("%s: got %q, %v; want %q", tc.name, got, err, tc.want)
		}
	}
	for name, want := range map[string]string{
		"raw.example.com": "passed|raw.example.com|", "a.passed.test": "wild|a.passed.test|", "RAW.example.com": "passed|raw.example.com|",
	} {
		c := h.dial()
		hello := helloFor(name)
		if _, err := c.Write(hello); err != nil {
			t.Fatal(err)
		}
		if got := hear(t, c, len(want)); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
		if got := hear(t, c, len(hello)); got != string(hello) {
			t.Errorf("%s: the hello has changed on its way", name)
		}
		if _, err := io.WriteString(c, "more"); err != nil || hear(t, c, 4) != "more" {
			t.Errorf("%s: what follows is not carried", name)
		}
	}
	if n := h.stats.Handshakes(telemetry.HandshakePassed); n != 3 {
		t.Errorf("%d handshakes counted as passed through, want 3", n)
	}
	for _, name := range []string{"none.example.com", "passed.none.test", "strange.test", "example.com", ""} {
		_, _, err := h.ask(&tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("%q: %v, want an alert", name, err)
		}
		if r := <-h.refusals; r.End != telemetry.HandshakeName {
			t.Errorf("%q: refused as %v", name, r.End)
		}
	}
}

// shout makes a TLS connection, says x and reads n bytes.
func (h *hall) shout(config *tls.Config, n int) (*tls.Conn, string, error) {
	c := tls.Client(h.dial(), config)
	if err := c.Handshake(); err != nil {
		return nil, "", err
	}
	if _, err := io.WriteString(c, "x"); err != nil {
		return nil, "", err
	}
	return c, hear(h.t, c, n), nil
}

// helloFor returns what a client of crypto/tls begins with.
func helloFor(name string) []byte {
	near, far := net.Pipe()
	defer far.Close()
	go func() { _ = tls.Client(near, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake() }()
	header := make([]byte, recordHeader)
	_, _ = io.ReadFull(far, header)
	body := make([]byte, int(header[3])<<8|int(header[4]))
	_, _ = io.ReadFull(far, body)
	return append(header, body...)
}

// resplit puts a handshake message into records of n bytes.
func resplit(record []byte, n int) []byte {
	var out []byte
	for body := record[recordHeader:]; len(body) > 0; {
		piece := body[:min(n, len(body))]
		body = body[len(piece):]
		out = append(out, recordHandshake, record[1], record[2], byte(len(piece)>>8), byte(len(piece)))
		out = append(out, piece...)
	}
	return out
}

// TestHelloInPieces comes byte by byte, in records of one byte, and both.
func TestHelloInPieces(t *testing.T) {
	h := newHall(t, nil, carriers)
	h.follow(mixed(t))
	whole := helloFor("raw.example.com")
	for name, hello := range map[string][]byte{"one record": whole, "short records": resplit(whole, 1), "records": resplit(whole, 100)} {
		c := h.dial()
		go func() {
			for i := range hello {
				if _, err := c.Write(hello[i : i+1]); err != nil {
					return
				}
			}
		}()
		const want = "passed|raw.example.com|"
		if got := hear(t, c, len(want)+len(hello)); got != want+string(hello) {
			t.Errorf("%s: got %.40q", name, got)
		}
	}
}

// TestHelloThatIsNone: garbage, a clear-text request, a hello that does not end, one that is too
// long, and silence. All are ended in time and counted; others are served meanwhile.
func TestHelloThatIsNone(t *testing.T) {
	l := mixed(t)
	l.TLS.Handshake = 300 * time.Millisecond
	h := newHall(t, nil, carriers)
	h.follow(l)
	hello := helloFor("raw.example.com")
	var huge []byte
	for range 40 {
		huge = append(huge, append([]byte{22, 3, 1, 2, 0}, make([]byte, 512)...)...)
	}
	huge[recordHeader], huge[recordHeader+1] = 1, 1
	for name, tc := range map[string]struct {
		bytes []byte
		want  telemetry.Handshake
	}{
		"garbage":    {[]byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08"), telemetry.HandshakeNotTLS},
		"HTTP":       {[]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), telemetry.HandshakeNotTLS},
		"unfinished": {hello[:len(hello)-1], telemetry.HandshakeTimeout},
		"alert":      {[]byte{21, 3, 1, 0, 2, 1, 0}, telemetry.HandshakeGone},
		"no message": {[]byte{22, 3, 1, 0, 4, 1, 0, 0, 0}, telemetry.HandshakeOther},
		"silence":    {nil, telemetry.HandshakeTimeout},
		"too long":   {huge, telemetry.HandshakeTimeout},
	} {
		c := h.dial()
		if _, err := c.Write(tc.bytes); err != nil {
			t.Fatal(err)
		}
		if r := <-h.refusals; r.End != tc.want {
			t.Errorf("%s: refused as %v: %v; want %v", name, r.End, r.Err, tc.want)
		}
		if _, err := io.ReadAll(c); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := h.stats.Handshakes(telemetry.HandshakePassed); n != 0 {
		t.Errorf("%d were passed through", n)
	}
}

// TestPassThroughOnly: a listener without certificates carries the names that it has, and says
// of others what a server says that does not know them.
func TestPassThroughOnly(t *testing.T) {
	h := newHall(t, nil, carriers)
	h.follow(&model.Listener{
		Name: "front", Address: netip.MustParseAddrPort("127.0.0.1:0"), Client: model.Client{HeadTimeout: 300 * time.Millisecond},
		Streams: []model.StreamBinding{{Hostname: "a.test", Route: "a"}, {Hostname: ""}},
	})
	c := h.dial()
	if _, err := c.Write(helloFor("a.test")); err != nil || hear(t, c, 9) != "a|a.test|" {
		t.Errorf("not carried: %v", err)
	}
	if _, _, err := h.ask(&tls.Config{ServerName: "b.test", InsecureSkipVerify: true}); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("%v, want an alert", err)
	}
	<-h.refusals
	_ = h.dial() // silent
	if r := <-h.refusals; r.End != telemetry.HandshakeTimeout {
		t.Errorf("silence: %v", r.End)
	}
}

// TestStreamFollowsListener: a live listener goes from one route to another, to HTTP and back.
// Connections that are there stay, and the address is never closed.
func TestStreamFollowsListener(t *testing.T) {
	h := newHall(t, nil, carriers)
	l := func(streams ...model.StreamBinding) *model.Listener {
		return &model.Listener{Name: "front", Address: netip.MustParseAddrPort("127.0.0.1:0"), Streams: streams}
	}
	h.follow(l(model.StreamBinding{Route: "one"}))
	addr := h.addr
	one := h.dial()
	if got := hear(t, one, 6); got != "one|-|" {
		t.Fatalf("got %q", got)
	}
	h.follow(l(model.StreamBinding{Route: "two"}))
	two := h.dial()
	if got := hear(t, two, 6); got != "two|-|" {
		t.Fatalf("got %q", got)
	}
	h.follow(l())
	web := h.dial()
	if _, err := io.WriteString(web, "x"); err != nil || hear(t, web, 4) != "|||x" {
		t.Fatalf("not HTTP: %v", err)
	}
	h.follow(l(model.StreamBinding{Route: "one"}))
	if got := hear(t, h.dial(), 6); got != "one|-|" {
		t.Fatalf("got %q", got)
	}
	for _, c := range []net.Conn{one, two, web} {
		if _, err := io.WriteString(c, "still"); err != nil || !strings.Contains(hear(t, c, 5), "still"[:1]) {
			t.Errorf("an older connection is gone: %v", err)
		}
	}
	if h.addr != addr {
		t.Errorf("the socket has moved from %s to %s", addr, h.addr)
	}
}

// FuzzHello: whatever name crypto/tls finds in a hello, the hello's is the same, or the hello is
// refused, and then nobody's name is.
func FuzzHello(f *testing.F) {
	for _, name := range []string{"", "a.test", "A.TEST", strings.Repeat("long.", 40) + "test"} {
		f.Add(helloFor(name))
		f.Add(resplit(helloFor(name), 50))
	}
	f.Add([]byte{22, 3, 1, 0, 4, 1, 0, 0, 0})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var h hello
		at, whole := 0, false
		for ; !whole && at < len(data); at = min(len(data), 1+at+at/2) {
			whole = h.complete(data[:at])
		}
		if whole = whole || h.complete(data); !whole {
			return
		}
		seen := data[:at]
		name, ok := h.serverName(seen)
		theirs, found := judged(data)
		if found && !ok {
			t.Skip("stricter than crypto/tls: it judges then")
		}
		if ok && found && name != theirs {
			t.Errorf("the name is %q, and crypto/tls has %q", name, theirs)
		}
	})
}

// judged is what crypto/tls makes of a hello.
func judged(data []byte) (name string, found bool) {
	stop := errors.New("enough")
	c := tls.Server(&replay{in: bytes.NewReader(data)}, &tls.Config{
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			name, found = strings.ToLower(hello.ServerName), true
			return nil, stop
		},
	})
	_ = c.Handshake()
	return name, found
}

// replay is a connection whose peer says what has been written down.
type replay struct {
	net.Conn
	in io.Reader
}

func (r *replay) Read(p []byte) (int, error)  { return r.in.Read(p) }
func (r *replay) Write(p []byte) (int, error) { return len(p), nil }
func (r *replay) Close() error                { return nil }
