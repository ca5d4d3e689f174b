package listener

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pires/go-proxyproto"

	"weir.dev/weir/dataplane/transport"
	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// v2 makes a header of version 2 by hand: section 2.2 is what tests read, not the library.
func v2(command, family byte, rest string) string {
	return string(proxyproto.SIGV2) + string([]byte{command, family, byte(len(rest) >> 8), byte(len(rest))}) + rest
}

const (
	v1IPv4  = "PROXY TCP4 198.51.100.7 203.0.113.1 56324 443\r\n"
	v2Ends4 = "\xc6\x33\x64\x07\xcb\x00\x71\x01\xdc\x04\x01\xbb"
	ends4   = "198.51.100.7:56324 203.0.113.1:443"
)

var v2Ends6 = "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01" + "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x02" + "\xdc\x04\x01\xbb"

// longest is the longest header of version 1 (section 2.1), with n bytes more.
func longest(n int) string {
	const ffff = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
	return "PROXY UNKNOWN " + ffff + " " + ffff + " 65535 65535" + strings.Repeat("5", n) + "\r\n"
}

func TestHeaders(t *testing.T) {
	if n := len(longest(0)); n != maxHeaderV1 {
		t.Fatalf("the longest header is %d bytes long", n)
	}
	for _, tt := range []struct{ name, in, want string }{
		{"v1", v1IPv4, ends4},
		{"v1, IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", "[2001:db8::1]:56324 [2001:db8::2]:443"},
		{"v1, IPv4 in IPv6", "PROXY TCP6 ::ffff:198.51.100.7 ::ffff:203.0.113.1 56324 443\r\n", ends4},
		{"v1, nobody's", "PROXY UNKNOWN\r\n", "local"},
		{"v1, the longest", longest(0), "local"},
		{"v1, longer", longest(1), "longer than"},
		{"v1, without an end", "PROXY " + strings.Repeat(" ", 200), "longer than"},
		{"v1, LF alone", "PROXY UNKNOWN\n", "must end with"},
		{"v1, another family", "PROXY UDP4 198.51.100.7 203.0.113.1 56324 443\r\n", "address family"},
		{"v1, no address", "PROXY TCP4 shop.test 203.0.113.1 56324 443\r\n", "invalid address"},
		{"v1, another family's address", "PROXY TCP4 2001:db8::1 203.0.113.1 56324 443\r\n", "invalid address"},
		{"v1, a port too high", "PROXY TCP4 198.51.100.7 203.0.113.1 65536 443\r\n", "port"},
		{"v1, lower case", "proxy TCP4 198.51.100.7 203.0.113.1 56324 443\r\n", "must begin with a PROXY header"},
		{"v1, joined", "PROXYTCP4 198.51.100.7 203.0.113.1 56324 443\r\n", "header"},
		{"v2", v2(0x21, 0x11, v2Ends4), ends4},
		{"v2, IPv6", v2(0x21, 0x21, v2Ends6), "[2001:db8::1]:56324 [2001:db8::2]:443"},
		{"v2 with extensions", v2(0x21, 0x11, v2Ends4+"\x01\x00\x02h2\x04\x00\x00"), ends4},
		{"v2 with what is no extension", v2(0x21, 0x11, v2Ends4+"\x01\xff\xff"), ends4},
		{"v2, as long as may be", v2(0x21, 0x11, v2Ends4+strings.Repeat("\x04", maxRestV2-12)), ends4},
		{"v2, longer", v2(0x21, 0x11, v2Ends4+strings.Repeat("\x04", maxRestV2-11)), "longer than"},
		{"v2, too short for its addresses", v2(0x21, 0x21, v2Ends4), "invalid length"},
		{"v2, local", v2(0x20, 0x00, ""), "local"},
		{"v2, local with addresses", v2(0x20, 0x11, v2Ends4), "local"},
		{"v2, nobody's", v2(0x21, 0x00, ""), "local"},
		{"v2, nobody's with extensions", v2(0x21, 0x00, "\x04\x00\x01x"), "local"},
		{"v2, UDP", v2(0x21, 0x12, v2Ends4), "local"},
		{"v2, a socket of Unix", v2(0x21, 0x31, strings.Repeat("/", 216)), "local"},
		{"v2, no family", v2(0x21, 0x43, v2Ends4), "address family"},
		{"v2, no transport", v2(0x21, 0x13, v2Ends4), "address family"},
		{"v2, no command", v2(0x22, 0x11, v2Ends4), "command"},
		{"version 3", v2(0x31, 0x11, v2Ends4), "command"},
		{"nearly the signature", "\r\n\r\n\x00\r\nQUIT\r" + v2Ends4, "must begin with a PROXY header"},
		{"HTTP", "GET / HTTP/1.1\r\n\r\n", "must begin with a PROXY header"},
		{"HTTP that begins alike", "PROPFIND / HTTP/1.1\r\n\r\n", "must begin with a PROXY header"},
		{"TLS", string(helloFor("a.test")), "must begin with a PROXY header"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, step := range []int{len(tt.in) + 4, 1, 7} { // however it comes in
				h, taken := feed(tt.in+"rest", step)
				got := "local"
				switch {
				case h.err != nil:
					got = h.err.Error()
				case h.told:
					got = h.ends.Client.String() + " " + h.ends.Local.String()
				}
				if !strings.Contains(got, tt.want) || tt.want == "" {
					t.Fatalf("in pieces of %d: got %q, want %q", step, got, tt.want)
				}
				if h.err == nil && taken != len(tt.in) {
					t.Errorf("in pieces of %d: took %d bytes of %d", step, taken, len(tt.in))
				}
			}
		})
	}
}

// feed has a header taken from in, which comes in pieces; 0: it was never whole.
func feed(in string, step int) (h header, taken int) {
	for end := 0; ; end = min(end+step, len(in)) {
		if n, whole := h.take([]byte(in[:end])); whole {
			return h, n
		}
		if end == len(in) {
			return h, 0
		}
	}
}

// FuzzHeader compares what we take for a header with what the library reads from a stream that
// goes on: the same verdict, the same ends, and not a byte more.
func FuzzHeader(f *testing.F) {
	for _, in := range []string{
		v1IPv4, longest(0), longest(1), v2(0x21, 0x11, v2Ends4), v2(0x21, 0x21, v2Ends6), v2(0x20, 0x00, ""), v2(0x21, 0x00, ""),
		v2(0x21, 0x11, v2Ends4+"\x04\x00\x01x"), "GET / HTTP/1.1\r\n\r\n", "PROXY UNKNOWN\r\n", v2(0x20, 0x11, "x"),
	} {
		f.Add([]byte(in+"rest"), uint8(5))
	}
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		h, taken := feed(string(in), int(step)+1)
		if taken > maxRestV2+fixedV2 && h.err == nil {
			t.Fatalf("a header of %d bytes", taken)
		}
		source := bytes.NewReader(in)
		reader := bufio.NewReaderSize(source, 1<<17)
		theirs, err := proxyproto.Read(reader)
		if len(in) > 13 && bytes.HasPrefix(in, proxyproto.SIGV2) && in[12] == 0x21 && in[13] == 0 {
			return // see parseHeader
		}
		if (err == nil) != (h.err == nil && taken > 0) {
			t.Fatalf("%q: we say %v (%d bytes), they %v", in, h.err, taken, err)
		}
		if err != nil {
			return
		}
		if used := len(in) - source.Len() - reader.Buffered(); used != taken {
			t.Errorf("%q: we take %d bytes, they %d", in, taken, used)
		}
		if client, _, ok := theirs.TCPAddrs(); h.told != (ok && theirs.Command.IsProxy()) || h.told && h.ends.Client != addrPort(client) {
			t.Errorf("%q: we read %v, they %v", in, h.ends, theirs.SourceAddr)
		}
	})
}

// whose answers with whose the connection is, and then as tell does.
func whose(c *Conn) transport.Instant {
	if c.Write(fmt.Appendf(nil, "%v %v|", c.Remote, c.LocalAddr()), transport.Wait{Gap: time.Second}) != nil {
		return 0
	}
	return tell(c)
}

// believes has a listener believe loopback.
func believes(l model.Listener) *model.Listener {
	l.Name, l.Address = "front", netip.MustParseAddrPort("127.0.0.1:0")
	l.Client.ProxyProtocol = true
	if l.Client.TrustAddresses == nil {
		l.Client.TrustAddresses = []netip.Prefix{netip.MustParsePrefix("::ffff:127.0.0.0/104")}
	}
	if l.Client.HeadTimeout == 0 {
		l.Client.HeadTimeout = handshakePatience
	}
	return &l
}

func newGate(t testing.TB, l model.Listener) *hall {
	h := newHall(t, nil, func(cfg *Config) {
		carriers(cfg)
		cfg.Handle = whose
	})
	h.follow(believes(l))
	return h
}

// TestHeaderThenBytes: what follows a header, at once or later, is what the connection is for.
func TestHeaderThenBytes(t *testing.T) {
	h := newGate(t, model.Listener{})
	for _, header := range []string{v1IPv4, v2(0x21, 0x11, v2Ends4), v2(0x21, 0x11, v2Ends4+strings.Repeat("\x04", 4000))} {
		for _, cut := range []int{1, 14, len(header), len(header) + 2} {
			c := h.dial()
			all := header + "body"
			if _, err := io.WriteString(c, all[:cut]); err != nil {
				t.Fatal(err)
			}
			if cut >= len(header) {
				hear(t, c, len(ends4)+1) // it has been read
			}
			if _, err := io.WriteString(c, all[cut:]); err != nil {
				t.Fatal(err)
			}
			if cut < len(header) {
				if got := hear(t, c, len(ends4)+1); got != ends4+"|" {
					t.Errorf("told %q", got)
				}
			}
			got := ""
			for !strings.HasSuffix(got, "y") {
				got += hear(t, c, 1)
			}
			if got = strings.ReplaceAll(got, "|", ""); got != "body" {
				t.Errorf("cut at %d: %q follows", cut, got)
			}
		}
	}
	c := h.dial()
	want := fmt.Sprintf("%v %v|", c.LocalAddr(), c.RemoteAddr())
	if _, err := io.WriteString(c, "PROXY UNKNOWN\r\n"); err != nil {
		t.Fatal(err)
	}
	if got := hear(t, c, len(want)); got != want {
		t.Errorf("nobody's connection: told %q, want %q", got, want)
	}
}

// TestHeaderBeforeTLS: in front of a handshake of ours, and of one that goes on to a host.
func TestHeaderBeforeTLS(t *testing.T) {
	spec := mixed(t)
	h := newGate(t, *spec)
	c := h.dial()
	if _, err := io.WriteString(c, v1IPv4); err != nil {
		t.Fatal(err)
	}
	secured := tls.Client(c, &tls.Config{ServerName: "www.example.com", InsecureSkipVerify: true})
	if got := hear(t, secured, len(ends4)+1); got != ends4+"|" {
		t.Errorf("over TLS: told %q", got)
	}
	for _, gap := range []bool{false, true} {
		c = h.dial()
		hello := string(helloFor("raw.example.com"))
		want := "passed|raw.example.com|" + hello
		if gap {
			if _, err := io.WriteString(c, v2(0x21, 0x11, v2Ends4)); err != nil {
				t.Fatal(err)
			}
		} else {
			hello = v2(0x21, 0x11, v2Ends4) + hello
		}
		if _, err := io.WriteString(c, hello); err != nil {
			t.Fatal(err)
		}
		if got := hear(t, c, len(want)); got != want {
			t.Errorf("passed through: %q, want %q", got, want)
		}
	}
	c = h.dial()
	if _, err := c.Write(helloFor("www.example.com")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
		t.Error("a handshake without a header was answered")
	}
	if r := <-h.refusals; !r.Unannounced {
		t.Errorf("refused as %+v", r)
	}
	if n := h.stats.Refused(telemetry.RefusedProxy); n != 1 {
		t.Errorf("%d counted", n)
	}
}

// TestHeaderBeforeStream has a listener that carries all connections as they are.
func TestHeaderBeforeStream(t *testing.T) {
	h := newGate(t, model.Listener{Streams: []model.StreamBinding{{Route: "r"}}})
	c := h.dial()
	if _, err := io.WriteString(c, v1IPv4+"bytes"); err != nil {
		t.Fatal(err)
	}
	if got := hear(t, c, len("r|-|bytes")); got != "r|-|bytes" {
		t.Errorf("carried %q", got)
	}
}

// TestHeadersOfStrangers: nobody outside the trusted addresses can say whose a connection is.
func TestHeadersOfStrangers(t *testing.T) {
	h := newGate(t, model.Listener{Client: model.Client{TrustAddresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}})
	c := h.dial()
	want := fmt.Sprintf("%v %v|", c.LocalAddr(), c.RemoteAddr())
	if _, err := io.WriteString(c, v1IPv4); err != nil {
		t.Fatal(err)
	}
	if got := hear(t, c, len(want)); got != want {
		t.Errorf("a stranger is %q, want %q", got, want)
	}
	if got := hear(t, c, 3+len(v1IPv4)); !strings.HasSuffix(got, v1IPv4) {
		t.Errorf("the header has not been taken for what is sent: %q", got)
	}
	h.follow(believes(model.Listener{}))
	c = h.dial()
	if _, err := io.WriteString(c, v1IPv4); err != nil {
		t.Fatal(err)
	}
	if got := hear(t, c, len(ends4)); got != ends4 {
		t.Errorf("trusted since: %q", got)
	}
}

// TestHeadersThatNeverEnd has peers that are too slow, leave, or probe, in a bubble.
func TestHeadersThatNeverEnd(t *testing.T) {
	for _, tt := range []struct {
		name string
		send string
		stop bool // it closes then
		want string
	}{
		{"silent", "", false, "within 3s"},
		{"half", v1IPv4[:20], false, "within 3s"},
		{"half, then gone", v2(0x21, 0x11, v2Ends4)[:20], true, "ended within its PROXY header"},
		{"a probe", "", true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newFake()
				s := newSet(l, func(*Conn) transport.Instant {
					t.Error("it was served")
					return 0
				}, 0)
				refused := make(chan error, 1)
				s.cfg.Refuse = func(_ *Conn, r Refusal) { refused <- r.Err }
				spec := believes(model.Listener{Client: model.Client{HeadTimeout: 3 * time.Second}})
				if err := s.Apply([]*model.Listener{spec}); err != nil {
					t.Fatal(err)
				}
				near, far := net.Pipe()
				l.come <- addressed{far}
				began := time.Now()
				if tt.send != "" {
					for i := range len(tt.send) { // bytes buy no time
						if _, err := near.Write([]byte(tt.send[i : i+1])); err != nil {
							t.Fatal(err)
						}
						synctest.Wait()
						if !tt.stop {
							time.Sleep(10 * time.Millisecond)
						}
					}
				}
				if tt.stop {
					_ = near.Close()
				}
				if _, err := near.Read(make([]byte, 1)); err == nil {
					t.Error("an answer")
				}
				synctest.Wait()
				took := time.Since(began)
				got := ""
				select {
				case err := <-refused:
					got = err.Error()
				default:
				}
				if !strings.Contains(got, tt.want) || got == "" != (tt.want == "") {
					t.Errorf("refused because %q, want %q", got, tt.want)
				}
				if !tt.stop && took != 3*time.Second {
					t.Errorf("after %v", took)
				}
				if n := s.cfg.Metrics.Listener("front").Refused(telemetry.RefusedProxy); (n == 1) != (tt.want != "") {
					t.Errorf("%d counted", n)
				}
				s.Drain(t.Context())
				_ = near.Close()
			})
		})
	}
}

// addressed is a pipe from a trusted address.
type addressed struct{ net.Conn }

func (addressed) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9} }

// TestDrainingDoesNotAwaitHeaders: who has not begun is not waited for.
func TestDrainingDoesNotAwaitHeaders(t *testing.T) {
	h := newGate(t, model.Listener{})
	c := h.dial()
	if _, err := io.WriteString(c, v1IPv4[:10]); err != nil {
		t.Fatal(err)
	}
	h.set.Drain(t.Context())
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, net.ErrClosed) {
		t.Errorf("after draining: %v", err)
	}
	if n := h.stats.Refused(telemetry.RefusedProxy); n != 0 {
		t.Errorf("%d counted as refused", n)
	}
}
