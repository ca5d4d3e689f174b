package proxy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/pires/go-proxyproto"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// told is an upstream whose connections begin with a PROXY header. It answers with whose the
// connection is, where that client connected to, which request of the connection it is, and
// X-Forwarded-For.
func told(t testing.TB) (address string, ended chan string) {
	ended = make(chan string, 100)
	return serveRaw(t, func(c net.Conn, r *bufio.Reader) {
		h, err := proxyproto.Read(r)
		if err != nil {
			t.Errorf("the header: %v", err)
			return
		}
		whose := "nobody"
		if source, destination, ok := h.TCPAddrs(); ok {
			whose = fmt.Sprintf("%v>%v", source, destination)
		}
		for n := 1; ; n++ {
			req, err := http.ReadRequest(r)
			if err != nil {
				ended <- whose
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			text := fmt.Sprintf("%s %d v%d %s", whose, n, h.Version, req.Header.Get("X-Forwarded-For"))
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
		}
	}), ended
}

// tells has a rig with one upstream that is told.
func tells(t testing.TB, change func(s *model.Snapshot), cfg Config) (r *rig, ended chan string) {
	up, ended := told(t)
	s := snapshotOf(map[string]string{"up": up}, to("up"))
	s.Clusters[0].ProxyProtocol = model.ProxyProtocolV2
	if change != nil {
		change(s)
	}
	return startRig(t, s, cfg), ended
}

const plainGet = "GET / HTTP/1.1\nHost: h\n\n"

func ends(c *client) string { return fmt.Sprintf("%v>%v", c.LocalAddr(), c.RemoteAddr()) }

// TestHostsAreTold: each client's requests share a connection, which ends with the client's.
func TestHostsAreTold(t *testing.T) {
	for _, version := range []model.ProxyProtocol{model.ProxyProtocolV1, model.ProxyProtocolV2} {
		r, ended := tells(t, func(s *model.Snapshot) { s.Clusters[0].ProxyProtocol = version }, Config{})
		a, b := r.dial(), r.dial()
		for n := 1; n <= 3; n++ {
			for _, c := range []*client{a, b} {
				c.send(plainGet).want(200, "", fmt.Sprintf("%s %d %s", ends(c), n, strings.ToLower(string(version))))
			}
		}
		gone := ends(a)
		a.Close()
		if got := <-ended; got != gone {
			t.Errorf("%s has left, and the connection of %s ended", gone, got)
		}
		b.send(plainGet).want(200, "", ends(b)+" 4")
	}
}

// TestHostsAreToldOverHTTP2: all streams of a client's connection are that client's.
func TestHostsAreToldOverHTTP2(t *testing.T) {
	r, ended := tells(t, nil, Config{})
	c := r.h2()
	_, first := ask(t, c, r.request("GET", "/", nil))
	_, second := ask(t, c, r.request("GET", "/", nil))
	whose, _, _ := strings.Cut(first, " ")
	if !strings.HasPrefix(first, whose+" 1 ") || !strings.HasPrefix(second, whose+" 2 ") || !strings.HasSuffix(whose, ">"+r.addr) {
		t.Errorf("%q, then %q", first, second)
	}
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if _, got := ask(t, c, r.request("POST", "/", strings.NewReader("body"))); !strings.HasPrefix(got, whose+" ") {
				t.Errorf("%q is not %s", got, whose)
			}
		})
	}
	wait.Wait()
	c.CloseIdleConnections()
	if got := <-ended; got != whose {
		t.Errorf("%s ended", got)
	}
}

// TestCopiesAreTold: a mirror is told who sent the request that was copied.
func TestCopiesAreTold(t *testing.T) {
	mirror, ended := told(t)
	up := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	route := to("up")
	route.Mirrors = []model.Mirror{{Name: "m", Cluster: "mirror", Numerator: 1, Denominator: 1}}
	s := snapshotOf(map[string]string{"up": up, "mirror": mirror}, route)
	for _, c := range s.Clusters {
		if c.Name == "mirror" {
			c.ProxyProtocol = model.ProxyProtocolV1
		}
	}
	r := startRig(t, s, Config{})
	c := r.dial()
	c.send(plainGet).want(200, "", "hello")
	whose := ends(c)
	c.Close()
	if got := <-ended; got != whose { // when the copy is done with, because its client has left
		t.Errorf("the mirror heard of %s, want %s", got, whose)
	}
}

// trusting has the listener believe loopback, and want headers from there.
func trusting(s *model.Snapshot) {
	client := &s.Listeners[0].Client
	client.ProxyProtocol = true
	client.TrustAddresses = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
}

// TestWhoseConnectionItIs: what a header says is what the host is told, what goes into
// X-Forwarded-For and into the log; and the forwarded fields are believed of that client, not of
// who has passed the connection on.
func TestWhoseConnectionItIs(t *testing.T) {
	var out bytes.Buffer
	log := telemetry.NewAccessLog(telemetry.AccessLogConfig{Writer: &out, Shards: 2})
	r, _ := tells(t, trusting, Config{AccessLog: log})
	for _, tt := range []struct{ header, forwarded, want string }{
		{"PROXY TCP4 198.51.100.7 203.0.113.1 5555 443\n", "", "198.51.100.7:5555>203.0.113.1:443 1 v2 198.51.100.7"},
		{"PROXY TCP6 2001:db8::1 2001:db8::2 5555 443\n", "", "[2001:db8::1]:5555>[2001:db8::2]:443 1 v2 2001:db8::1"},
		{"PROXY TCP4 198.51.100.7 203.0.113.1 5556 443\n", "192.0.2.66", "198.51.100.7:5556>203.0.113.1:443 1 v2 198.51.100.7"},
		{"PROXY TCP4 10.0.0.9 203.0.113.1 5557 443\n", "192.0.2.66", "10.0.0.9:5557>203.0.113.1:443 1 v2 192.0.2.66, 10.0.0.9"},
		{"PROXY UNKNOWN\n", "", "127.0.0.1:"},
	} {
		c := r.dial()
		head := "GET /" + tt.header[6:10] + " HTTP/1.1\nHost: h\n"
		if tt.forwarded != "" {
			head += "X-Forwarded-For: " + tt.forwarded + "\n"
		}
		c.send(tt.header+head+"\n").want(200, "", tt.want)
		c.Close()
	}
	bad := r.dial().send(plainGet)
	bad.ended()
	r.stop()
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var clients []string
	for line := range bytes.Lines(out.Bytes()) {
		var rec struct{ Client, Flag, Blame, Detail string }
		if err := json.Unmarshal(line, &rec); err != nil {
			t.Fatal(err)
		}
		if rec.Flag != "" {
			rec.Client = rec.Flag + " " + rec.Blame + " " + rec.Detail[:8]
		}
		clients = append(clients, rec.Client)
	}
	all := strings.Join(clients, "\n")
	for _, want := range []string{"198.51.100.7:5555", "[2001:db8::1]:5555", "198.51.100.7:5556", "192.0.2.66", "DPE client the peer"} {
		if !strings.Contains(all, want) {
			t.Errorf("nothing of %s in the log:\n%s", want, all)
		}
	}
	if n := r.metrics.Listener("front").Refused(telemetry.RefusedProxy); n != 1 {
		t.Errorf("%d counted", n)
	}
}

// TestStrangersCannotSayWhoTheyAre: the header of somebody who is not trusted is no request.
func TestStrangersCannotSayWhoTheyAre(t *testing.T) {
	r, _ := tells(t, func(s *model.Snapshot) {
		trusting(s)
		s.Listeners[0].Client.TrustAddresses = s.Listeners[0].Client.TrustAddresses[1:]
	}, Config{})
	for header, answered := range map[string]bool{
		"PROXY TCP4 198.51.100.7 203.0.113.1 5555 443\r\n":                                            false, // not even HTTP
		string(proxyproto.SIGV2) + "\x21\x11\x00\x0c\xc6\x33\x64\x07\xcb\x00\x71\x01\xdc\x04\x01\xbb": true,
	} {
		c := r.dial()
		if _, err := io.WriteString(c, header+"GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if answered {
			c.want(400, "DPE", "")
		}
		c.ended()
	}
	c := r.dial()
	c.send(plainGet).want(200, "", ends(c)+" 1")
}

// TestHostsAreToldOverHTTP3: a client of QUIC has an address, too, and comes without a header.
func TestHostsAreToldOverHTTP3(t *testing.T) {
	up, ended := told(t)
	ca, s := secureOne(t, up)
	trusting(s)
	s.Listeners[0].Client.HTTP3 = true
	s.Clusters[0].ProxyProtocol = model.ProxyProtocolV2
	r := startHTTP3(t, s, Config{})
	transport := r.h3(ca.config("a.test", nil))
	c := &http.Client{Transport: transport, Timeout: patience}
	_, first := ask(t, c, request(t, "GET", "https://a.test/", nil))
	_, second := ask(t, c, request(t, "GET", "https://a.test/", nil))
	whose, _, _ := strings.Cut(first, " ")
	if !strings.HasPrefix(first, whose+" 1 ") || !strings.HasPrefix(second, whose+" 2 ") ||
		!strings.HasPrefix(whose, "127.0.0.1:") || !strings.HasSuffix(whose, ">"+r.addr) {
		t.Errorf("%q, then %q", first, second)
	}
	_ = transport.Close()
	if got := <-ended; got != whose {
		t.Errorf("%s ended", got)
	}
}
