package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/http2"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// TestHeadsTooLongForTheHost: a host that says how long a head it takes is not sent longer ones, which
// some end the connection for, with all the requests on it. The client is told, and nobody is blamed
// but the client.
func TestHeadsTooLongForTheHost(t *testing.T) {
	const most = 2000
	var asked, connections atomic.Int32
	up := serveFrames(t, func(h *frames) {
		connections.Add(1)
		for {
			stream, _ := h.request()
			if stream == 0 {
				return
			}
			asked.Add(1)
			h.ok(stream, "fine")
		}
	}, http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: most})
	r := startRig(t, speaking(snapshotOf(map[string]string{"up": up}, to("up")), model.ProtocolH2C), Config{})
	c := r.dial()
	c.send("GET / HTTP/1.1\nHost: h\nX-A: "+strings.Repeat("a", most/2)+"\n\n").want(200, "", "fine")
	c.send("GET / HTTP/1.1\nHost: h\nX-A: "+strings.Repeat("a", most)+"\n\n").want(431, "DPE", "")
	// Fields count for more than their bytes.
	r.dial().send("POST / HTTP/1.1\nHost: h\nContent-Length: 2\n"+strings.Repeat("X-A: a\n", 50)+"\nhi").want(431, "DPE", "")
	c.send("GET / HTTP/1.1\nHost: h\n\n").want(200, "", "fine")
	if asked.Load() != 2 || connections.Load() != 1 {
		t.Errorf("the host was asked %d times on %d connections, want 2 on 1", asked.Load(), connections.Load())
	}
}

// TestLongHeadsBeside: a host that is asked beside another one, by a hedge or with a copy, and takes no
// head so long, is blamed no more than one that is asked first.
func TestLongHeadsBeside(t *testing.T) {
	for name, route := range map[string]*model.Route{"hedge": hedged(1), "copy": shadowingRoute()} {
		inBubble(t, func(t *testing.T, n *network) {
			answer := func(h *frames) {
				for {
					stream, path := h.request()
					switch path {
					case "":
						return
					case "/slow":
						time.Sleep(200 * time.Millisecond)
					}
					h.ok(stream, "fine")
				}
			}
			n.upstream(t, upA, framing(answer))
			n.upstream(t, upB, framing(answer, http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: 2000}))
			clusters := map[string]string{"up": upA + "," + upB}
			if name == "copy" {
				clusters = map[string]string{"up": upA, "shadow": upB}
			}
			r := n.rig(t, speaking(snapshotOf(clusters, route), model.ProtocolH2C), Config{})
			c := r.patient()
			for range 10 { // so that each host has said what it takes
				c.send(get("/")).want(200, "", "fine")
			}
			for range 20 {
				resp, _ := c.send("GET /slow HTTP/1.1\nHost: h\nX-A: " + strings.Repeat("a", 2000) + "\n\n").answer("GET")
				if resp.StatusCode != 200 && (name == "copy" || resp.StatusCode != 431) {
					t.Errorf("%s: %d", name, resp.StatusCode)
				}
				synctest.Wait()
			}
			for _, h := range r.proxy.Hosts() {
				if h.InFlight != 0 || h.Failures != 0 || h.Races != 0 || h.Opened != 1 {
					t.Errorf("%s: %+v", name, h)
				}
			}
			if name == "copy" {
				if got := fates(r.proxy.Shadows()[0]); !strings.HasPrefix(got, "10 answered, 0 failed, 20 body;") {
					t.Error(got)
				}
			}
		})
	}
}

// TestWebSocketOfStreamsIsLogged: a WebSocket over HTTP/2 is answered with 200, and the log says so.
func TestWebSocketOfStreamsIsLogged(t *testing.T) {
	var out bytes.Buffer
	log := telemetry.NewAccessLog(telemetry.AccessLogConfig{Writer: &out, Shards: 2})
	up := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		fmt.Fprint(c, lines("HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: upgrade\nSec-WebSocket-Accept: x\n\n")+"hello ")
		_, _ = io.Copy(c, r)
	})
	r := startRig(t, snapshotOf(map[string]string{"up": up}, to("up")), Config{AccessLog: log})
	r.opensWebSocket(t)
	r.stop()
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if line := out.String(); !strings.Contains(line, `"protocol":"HTTP/2"`) || !strings.Contains(line, `"status":200`) {
		t.Errorf("logged %s", line)
	}
}

// TestHTTP3HandshakesAreBounded: as many of one client as the listener says, and no more.
func TestHTTP3HandshakesAreBounded(t *testing.T) {
	const most, half = 8, 4
	ca, s := secureOne(t, serveHTTP(t, mix))
	s.Listeners[0].TLS.MaxHandshakes = most
	r := startHTTP3(t, s, Config{})
	config := ca.config("a.test", nil)
	config.NextProtos = []string{"h3"}
	stalling, begun, release := config.Clone(), make(chan struct{}, half), make(chan struct{})
	stalling.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error {
		begun <- struct{}{}
		<-release
		return nil
	}
	dial := func(config *tls.Config) error {
		c, err := quic.DialAddr(t.Context(), r.addr, config, nil)
		if err == nil {
			err = c.CloseWithError(0, "")
		}
		return err
	}
	var work sync.WaitGroup
	for range half {
		work.Go(func() { _ = dial(stalling) })
	}
	for range half {
		<-begun
	}
	if err := dial(config); err == nil {
		t.Error("one more is served")
	}
	if n := r.metrics.Listener("front").Handshakes(telemetry.HandshakeBusy); n == 0 { // a hello may have two packets
		t.Error("none counted as refused")
	}
	close(release)
	work.Wait()
	until(t, "room when the others have ended", func() bool { return dial(config) == nil })
}
