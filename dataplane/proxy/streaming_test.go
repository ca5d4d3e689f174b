package proxy

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"weir.dev/weir/model"
)

// TestEchoWhileUploading carries large bodies both ways at once.
func TestEchoWhileUploading(t *testing.T) {
	const size = 32 << 20
	up := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		if r.ContentLength > 0 && r.Header.Get("Plain") != "" {
			w.Header().Set("Content-Length", fmt.Sprint(r.ContentLength))
		}
		_, _ = io.Copy(w, r.Body)
	})
	r := newRig(t, map[string]string{"up": up}, to("up"))
	for _, head := range []string{
		fmt.Sprintf("PUT / HTTP/1.1\nHost: h\nPlain: y\nContent-Length: %d\n\n", size),
		fmt.Sprintf("PUT / HTTP/1.1\nHost: h\nContent-Length: %d\n\n", size),
		"PUT / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n",
	} {
		c := r.dial().send(head)
		go func() {
			piece := []byte(strings.Repeat("0123456789abcdef", 4096))
			for sent := 0; sent < size; sent += len(piece) {
				if strings.Contains(head, "chunked") {
					fmt.Fprintf(c, "%x\r\n%s\r\n", len(piece), piece)
				} else if _, err := c.Write(piece); err != nil {
					return
				}
			}
			if strings.Contains(head, "chunked") {
				fmt.Fprint(c, "0\r\n\r\n")
			}
		}()
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(&pattern{}, resp.Body)
		if n != size || err != nil {
			t.Errorf("%.60q: %d bytes back, %v", head, n, err)
		}
		c.Close()
	}
}

// pattern checks that it is written the hexadecimal digits over and over.
type pattern struct{ at int }

func (p *pattern) Write(b []byte) (int, error) {
	const digits = "0123456789abcdef"
	for i := range b {
		if b[i] != digits[(p.at+i)%16] {
			return i, fmt.Errorf("byte %d is %q", p.at+i, b[i])
		}
	}
	p.at += len(b)
	return len(b), nil
}

// TestBackPressure counts what a client can send to an upstream that reads nothing. The
// network in memory has no buffers of its own, so all of it is in the proxy.
func TestBackPressure(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
			_, _ = http.ReadRequest(r)
			<-t.Context().Done()
		})
		route := to("up")
		route.Timeouts = model.Timeouts{Idle: time.Minute}
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, route), Config{})
		c := r.patient().send("PUT / HTTP/1.1\nHost: h\nContent-Length: 100000000\n\n")
		var sent atomic.Int64
		go func() {
			piece := make([]byte, 1000)
			for {
				m, err := c.Write(piece)
				sent.Add(int64(m))
				if err != nil {
					return
				}
			}
		}()
		time.Sleep(30 * time.Second)
		if got := sent.Load(); got > 256<<10 {
			t.Errorf("%d bytes are held for an upstream that reads nothing", got)
		}
		c.want(504, "UT", "") // after the idle time: nothing will come of it
	})
}

func TestUpstreamLeavesDuringUpload(t *testing.T) {
	for _, answer := range []string{"", "HTTP/1.1 507 Full\nContent-Length: 4\nConnection: close\n\nfull"} {
		up := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
			if _, err := http.ReadRequest(r); err == nil {
				_, _ = io.CopyN(io.Discard, r, 1000)
				fmt.Fprint(c, lines(answer))
				if answer != "" {
					_ = c.(*net.TCPConn).CloseWrite()
					_, _ = io.Copy(io.Discard, r)
				}
			}
		})
		r := newRig(t, map[string]string{"up": up}, to("up"))
		c := r.dial().send("PUT / HTTP/1.1\nHost: h\nContent-Length: 100000000\n\n")
		stop := make(chan struct{})
		go func() {
			defer close(stop)
			for {
				if _, err := c.Write(make([]byte, 10000)); err != nil {
					return
				}
			}
		}()
		if resp, err := http.ReadResponse(c.r, nil); err != nil {
			t.Errorf("no answer: %v", err)
		} else if want := map[bool]int{true: 502, false: 507}[answer == ""]; resp.StatusCode != want || !resp.Close {
			t.Errorf("got %d, close %v", resp.StatusCode, resp.Close)
		}
		c.Close()
		<-stop
	}
}

func TestClientLeavesDuringUpload(t *testing.T) {
	for _, how := range []string{"close", "reset", "half-close"} {
		ended := make(chan error, 1)
		up := serveRaw(t, func(_ net.Conn, r *bufio.Reader) {
			req, err := http.ReadRequest(r)
			if err == nil {
				_, err = io.Copy(io.Discard, req.Body)
			}
			ended <- err
		})
		r := newRig(t, map[string]string{"up": up}, to("up"))
		c := r.dial().send("PUT / HTTP/1.1\nHost: h\nContent-Length: 1000000\n\nstart")
		tcp := c.Conn.(*net.TCPConn)
		switch how {
		case "reset":
			_ = tcp.SetLinger(0)
			tcp.Close()
		case "close":
			tcp.Close()
		default:
			_ = tcp.CloseWrite()
			c.want(400, "DC", "")
		}
		if err := <-ended; err == nil {
			t.Errorf("%s: the upstream took half a body for a whole one", how)
		}
		r.stop()
		if stats := r.metrics.Totals(); stats.Flags[model.FlagDC] != 1 {
			t.Errorf("%s: counted %v", how, stats.Flags)
		}
	}
}

func TestExpect(t *testing.T) {
	for _, test := range []struct {
		name, request, answer string
		early, late           bool // the upstream answers before, after the body
		interim               bool // the client is told to go on
	}{
		{"refused", "PUT / HTTP/1.1\nHost: h\nExpect: 100-continue\nContent-Length: 5\n\n", "417 No", true, false, false},
		{"unauthorised", "PUT / HTTP/1.1\nHost: h\nExpect: 100-continue\nTransfer-Encoding: chunked\n\n", "401 Who", true, false, false},
		{"body not waited with", "PUT / HTTP/1.1\nHost: h\nExpect: 100-continue\nContent-Length: 5\n\nhello", "200 OK", false, true, false},
		{"HTTP/1.0", "PUT / HTTP/1.0\nHost: h\nExpect: 100-continue\nContent-Length: 5\n\nhello", "200 OK", false, true, false},
		{"no body", "GET / HTTP/1.1\nHost: h\nExpect: 100-continue\n\n", "200 OK", false, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			up := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
				for {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					if !test.early {
						_, _ = io.Copy(io.Discard, req.Body)
					}
					fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n", test.answer)
					if test.early {
						_, _ = io.Copy(io.Discard, r)
						return
					}
				}
			})
			r := newRig(t, map[string]string{"up": up}, to("up"))
			c := r.dial().send(test.request)
			resp, _ := c.answer("PUT")
			if !strings.HasPrefix(resp.Status, test.answer[:3]) {
				t.Errorf("got %s", resp.Status)
			}
			if test.early != resp.Close && !strings.Contains(test.name, "1.0") {
				t.Errorf("close %v", resp.Close)
			}
			if !resp.Close {
				c.send(get("/")).want(200, "", "")
			}
		})
	}
}

// TestReuseAfterEarlyAnswers looks that a connection whose request was cut short is not used again.
func TestReuseAfterEarlyAnswers(t *testing.T) {
	up := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(req.URL.Path), req.URL.Path)
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
		}
	})
	r := newRig(t, map[string]string{"up": up}, to("up"))
	for i := range 50 {
		c := r.dial().send(fmt.Sprintf("PUT /a%d HTTP/1.1\nHost: h\nContent-Length: %d\n\nsome", i, 1<<uint(i%20+3)))
		c.want(200, "", fmt.Sprintf("/a%d", i))
		if i%2 == 0 {
			c.Close()
		}
		r.dial().send(get(fmt.Sprintf("/b%d", i))).want(200, "", fmt.Sprintf("/b%d", i))
	}
}

func TestOldUpstreamAndBodilessAnswers(t *testing.T) {
	up := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			switch req.URL.Path {
			case "/old":
				fmt.Fprint(c, lines("HTTP/1.0 200 OK\nContent-Length: 3\nConnection: keep-alive\n\nold"))
			case "/204":
				fmt.Fprint(c, lines("HTTP/1.1 204 No\n\n"))
			case "/304":
				fmt.Fprint(c, lines("HTTP/1.1 304 Same\nContent-Length: 1000\nETag: x\n\n"))
			case "/head":
				fmt.Fprint(c, lines("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n"))
			case "/empty":
				fmt.Fprint(c, lines("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n0\n\n"))
			case "/hints":
				fmt.Fprint(c, lines("HTTP/1.1 103 Early Hints\nLink: </a>\n\nHTTP/1.1 200 OK\nContent-Length: 2\n\nok"))
			}
		}
	})
	r := newRig(t, map[string]string{"up": up}, to("up"))
	c := r.dial()
	for range 2 {
		c.send(get("/old")).want(200, "", "old")
		c.send(get("/204")).want(204, "", "")
		if resp := c.send(get("/304")).want(304, "", ""); resp.Header.Get("ETag") != "x" {
			t.Error("fields of 304 are lost")
		}
		c.send("HEAD /head HTTP/1.1\nHost: h\n\n")
		if resp, body := c.answer("HEAD"); resp.StatusCode != 200 || body != "" {
			t.Errorf("HEAD: %v %q", resp, body)
		}
		c.send(get("/empty")).want(200, "", "")
		c.send(get("/hints"))
		if resp, err := http.ReadResponse(c.r, nil); err != nil || resp.StatusCode != 103 || resp.Header.Get("Link") != "</a>" {
			t.Fatal(resp, err)
		}
		c.want(200, "", "ok")
	}
	c.send("GET /hints HTTP/1.0\nHost: h\nConnection: keep-alive\n\n").want(200, "", "ok") // HTTP/1.0 has no hints
	c.send("HEAD /head HTTP/1.0\nHost: h\n\n")
	c.answer("HEAD")
	c.ended()
}

// TestTunnels covers the ends of tunnels.
func TestTunnels(t *testing.T) {
	const ask = "GET / HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: echo\n\n"
	errReset := errors.New("reset")
	for _, test := range []struct {
		name   string
		client func(c *client) error // what the client does once it is in the tunnel
		want   string                // of what the upstream gets
	}{
		{"client closes", func(c *client) error { return c.Close() }, "early"},
		{"client resets", func(c *client) error {
			_ = c.Conn.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
			return errReset
		}, "early"},
		{"client half-closes, then resets", func(c *client) error {
			_ = c.Conn.(*net.TCPConn).CloseWrite()
			_, _ = c.r.Peek(3) // the upstream has seen the end
			_ = c.Conn.(*net.TCPConn).SetLinger(0)
			return c.Close()
		}, "early"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := make(chan string, 1)
			hold := make(chan struct{})
			t.Cleanup(func() { close(hold) })
			up := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
				if _, err := http.ReadRequest(r); err != nil {
					return
				}
				fmt.Fprint(c, lines("HTTP/1.1 101 Go\nConnection: upgrade\nUpgrade: echo\n\n"))
				all, _ := io.ReadAll(r)
				got <- string(all)
				fmt.Fprint(c, "eof")
				if strings.Contains(test.name, "then") {
					<-hold
				}
			})
			route := to("up")
			route.Timeouts.Idle = time.Hour
			r := newRig(t, map[string]string{"up": up}, route)
			c := r.dial().send(ask + "early")
			if resp, err := http.ReadResponse(c.r, nil); err != nil || resp.StatusCode != 101 {
				t.Fatal(resp, err)
			}
			reset := errors.Is(test.client(c), errReset)
			if all := <-got; all != test.want && !reset {
				t.Errorf("the upstream got %q", all)
			}
			ticks := time.NewTicker(10 * time.Millisecond)
			defer ticks.Stop()
			for limit := time.Now().Add(patience); r.proxy.Hosts()[0].Open > 0; <-ticks.C {
				if time.Now().After(limit) {
					t.Fatal("the tunnel outlives its client")
				}
			}
		})
	}
}

// TestBulkTunnel: many bytes both ways at once, from the first ones on that come with the request
// and with the answer, arrive as they were sent, and are counted.
func TestBulkTunnel(t *testing.T) {
	const size = 32 << 20
	up := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, lines("HTTP/1.1 101 Go\nConnection: upgrade\nUpgrade: echo\n\n")+"early ")
		_, _ = io.Copy(c, r)
		_ = c.(*net.TCPConn).CloseWrite()
	})
	r := newRig(t, map[string]string{"up": up}, to("up"))
	c := r.dial().send("GET / HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: echo\n\n")
	if resp, err := http.ReadResponse(c.r, nil); err != nil || resp.StatusCode != 101 {
		t.Fatal(resp, err)
	}
	sent, got := sha256.New(), sha256.New()
	_, _ = io.WriteString(sent, "early ")
	var work sync.WaitGroup
	work.Go(func() {
		if _, err := io.CopyN(io.MultiWriter(sent, c.Conn), rand.NewChaCha8([32]byte{}), size); err != nil {
			t.Error(err)
		}
		_ = c.Conn.(*net.TCPConn).CloseWrite()
	})
	n, err := io.Copy(got, c.r)
	work.Wait()
	if err != nil || n != size+6 || !bytes.Equal(got.Sum(nil), sent.Sum(nil)) {
		t.Errorf("%d bytes came back, %v; the same: %v", n, err, bytes.Equal(got.Sum(nil), sent.Sum(nil)))
	}
	r.stop()
	if in := r.metrics.Totals().BytesIn; in < size || in > size+1000 {
		t.Errorf("%d bytes counted of %d", in, size)
	}
}

// TestTunnelIsCutOffWithAReset: when the time for draining is up, neither side may take that for
// the end of what the other has to say.
func TestTunnelIsCutOffWithAReset(t *testing.T) {
	ended := make(chan error, 1)
	up := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		fmt.Fprint(c, lines("HTTP/1.1 101 Go\nConnection: upgrade\nUpgrade: echo\n\n"))
		_, err := r.ReadByte()
		ended <- err
	})
	r := startRig(t, snapshotOf(map[string]string{"up": up}, to("up")), Config{DrainTimeout: 50 * time.Millisecond})
	c := r.dial().send("GET / HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: echo\n\n")
	if resp, err := http.ReadResponse(c.r, nil); err != nil || resp.StatusCode != 101 {
		t.Fatal(resp, err)
	}
	r.stop()
	if err := <-ended; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the host got %v, want a reset", err)
	}
	if _, err := c.r.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client got %v, want a reset", err)
	}
}

func TestIdleTunnelEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
			if _, err := http.ReadRequest(r); err == nil {
				fmt.Fprint(c, lines("HTTP/1.1 101 Go\nConnection: upgrade\nUpgrade: echo\n\n"))
				_, _ = io.Copy(c, r)
			}
		})
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, to("up")), Config{})
		c := r.patient().send("GET / HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: echo\n\n")
		if resp, err := http.ReadResponse(c.r, nil); err != nil || resp.StatusCode != 101 {
			t.Fatal(resp, err)
		}
		for range 5 { // one way or the other: not idle
			time.Sleep(9 * time.Second)
			c.send("x")
			if b, err := c.r.ReadByte(); b != 'x' || err != nil {
				t.Fatal(b, err)
			}
		}
		after(t, 10*time.Second, c.ended)
		synctest.Wait()
		if hosts := r.proxy.Hosts(); hosts[0].Open != 0 || hosts[0].InFlight != 0 {
			t.Errorf("%+v", hosts)
		}
	})
}
