package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"weir.dev/weir/model"
)

// unavailable has calls tried again that end so, as a TrafficPolicy would.
func unavailable() *model.Retry {
	return &model.Retry{
		Attempts: 2, On: []model.RetryOn{}, GRPCCodes: []model.GRPCCode{model.GRPCUnavailable},
		BackoffBase: 100 * time.Millisecond, BackoffMax: time.Second,
	}
}

func TestRetriesOfCalls(t *testing.T) {
	const busy = trailerOnly + "Grpc-Status: 14\n"
	classes := &model.Retry{Attempts: 2, On: []model.RetryOn{model.RetryReset, model.RetryPerTryTimeout}, Codes: []int{503}, BackoffMax: time.Second}
	post := *classes
	post.Methods = []string{"POST"}
	for _, test := range []struct {
		name  string
		steps []string
		retry *model.Retry
		code  string
		flag  string
		alone bool
		tries int
		took  time.Duration // exactly, but for back-offs; -1: any
	}{
		{"once", []string{busy + "\n"}, unavailable(), "0", "", false, 2, -1},
		{"to the end", []string{busy + "\n", busy + "\n", busy + "\n"}, unavailable(), "14", "", true, 3, -1},
		{"another code", []string{trailerOnly + "Grpc-Status: 8\n\n"}, unavailable(), "8", "", true, 1, 0},
		{"success", []string{trailerOnly + "Grpc-Status: 0\n\n"}, unavailable(), "0", "", true, 1, 0},
		{"a message came first", []string{messageAnd + "Grpc-Status: 14\n\n"}, unavailable(), "14", "", false, 1, 0},
		{"a status of HTTP that means the same", []string{"HTTP/1.1 502 No\nContent-Length: 0\n\n"}, unavailable(), "0", "", false, 2, -1},
		{"a cut that means the same", []string{"cut"}, unavailable(), "0", "", false, 2, -1},
		{"no policy", []string{busy + "\n"}, nil, "14", "", true, 1, 0},
		{"told to wait", []string{busy + "Grpc-Retry-Pushback-Ms: 700\n\n"}, unavailable(), "0", "", false, 2, 700 * time.Millisecond},
		{"told to wait too long", []string{busy + "Grpc-Retry-Pushback-Ms: 1001\n\n"}, unavailable(), "14", "", true, 1, 0},
		{"told not to", []string{busy + "Grpc-Retry-Pushback-Ms: -1\n\n"}, unavailable(), "14", "", true, 1, 0},
		{"told by HTTP to wait", []string{busy + "Retry-After: 1\n\n"}, unavailable(), "0", "", false, 2, time.Second},
		{"classes do not mean POST", []string{"cut"}, classes, "14", "UC", true, 1, 0},
		{"unless it is named", []string{"cut", "HTTP/1.1 503 No\nContent-Length: 0\n\n"}, &post, "0", "", false, 3, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				for i := range test.steps {
					test.steps[i] = strings.ReplaceAll(test.steps[i], "\r", "")
				}
				s := n.script(t, append(test.steps, messageAnd+"Grpc-Status: 0\n\n"), upA, upB)
				route := to("up")
				route.Retry = test.retry
				r := n.rig(t, snapshotOf(map[string]string{"up": upA + "," + upB}, route), Config{})
				began := time.Now()
				r.patient().send(aCall("")).wantCall(test.code, test.flag, test.alone)
				if took := time.Since(began); test.took >= 0 && took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				synctest.Wait()
				if len(s.hosts) != test.tries {
					t.Fatalf("tries at %v, want %d", s.hosts, test.tries)
				}
				for i, got := range s.got {
					if got != "\x00\x00\x00\x00\x02hi" {
						t.Errorf("try %d got %q", i, got)
					}
				}
				stats := r.metrics.Cluster("up").Snapshot()
				if test.tries == 3 && test.code == "14" && calls(stats)["UNAVAILABLE"] != 3 {
					t.Errorf("cluster counted %v", calls(stats))
				}
			})
		})
	}
}

// stream begins a call whose messages come one by one.
func (r *rig) stream() *client {
	head, _, _ := strings.Cut(aCall(""), "\n\n")
	return r.patient().send(head + "\n\n")
}

// TestStreamsAreNotGathered: a route with retries, or with a mirror, does not wait for the end
// of a call whose client waits for answers.
func TestStreamsAreNotGathered(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			fmt.Fprint(c, lines("HTTP/1.1 200 OK\nContent-Type: application/grpc\nTransfer-Encoding: chunked\n\n"))
			var b [1]byte
			for {
				if _, err := io.ReadFull(req.Body, b[:]); err != nil {
					break
				}
				fmt.Fprintf(c, "1\r\n%s\r\n", b[:])
			}
			fmt.Fprint(c, lines("0\nGrpc-Status: 0\n\n"))
		})
		n.upstream(t, upB, hello)
		route := to("up")
		route.Retry = unavailable()
		route.Timeouts.Idle = time.Minute
		route.Mirrors = []model.Mirror{{Name: "m", Cluster: "mirror", Numerator: 1, Denominator: 1}}
		r := n.rig(t, snapshotOf(map[string]string{"up": upA, "mirror": upB}, route), Config{})
		c := r.stream()
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		for i := range 70_000 { // beyond what is kept
			message := string(rune('a' + i%26))
			c.send("1\n" + message + "\n")
			if _, err := io.ReadFull(resp.Body, b[:]); err != nil || string(b[:]) != message {
				t.Fatalf("message %d: %q, %v", i, b, err)
			}
			if i == 3 {
				time.Sleep(40 * time.Second) // longer than the gap that other bodies may have
			}
		}
		c.send("0\n\n")
		if _, err := io.ReadAll(resp.Body); err != nil || resp.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("ended with %v, %v", resp.Trailer, err)
		}
	})
}

// TestStreamsAreTriedAgain: with what has come of them, while that is not too much.
func TestStreamsAreTriedAgain(t *testing.T) {
	const size = 1000
	const chunks = replayLimit / (size + 7) // with their framing
	for _, test := range []struct {
		name   string
		chunks int // that come before the first answer
		code   string
	}{{"little", 1, "0"}, {"as much as is kept", chunks, "0"}, {"too much", chunks + 1, "14"}} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				got, tries := int64(0), 0
				n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					if tries++; tries == 1 {
						_, _ = io.CopyN(io.Discard, req.Body, int64(test.chunks)*size)
						fmt.Fprint(c, lines(trailerOnly+"Grpc-Status: 14\n\n"))
						_, _ = r.WriteTo(discard{})
						return
					}
					got, _ = io.Copy(io.Discard, req.Body)
					fmt.Fprint(c, lines(messageAnd+"Grpc-Status: 0\n\n"))
				})
				route := to("up")
				route.Retry = unavailable()
				r := n.rig(t, snapshotOf(map[string]string{"up": upA}, route), Config{})
				c := r.stream()
				for range test.chunks {
					c.send(fmt.Sprintf("%x\n%s\n", size, strings.Repeat("m", size)))
				}
				synctest.Wait()
				if test.code == "0" {
					time.Sleep(time.Second) // the back-off
					c.send("3\nend\n0\n\n")
				}
				c.wantCall(test.code, "", test.code != "0")
				if want := int64(test.chunks)*size + 3; test.code == "0" && got != want {
					t.Errorf("the second try got %d bytes, want %d", got, want)
				}
				if (tries == 2) != (test.code == "0") {
					t.Errorf("%d tries", tries)
				}
			})
		})
	}
}

// TestRefusedCallsAreMadeAgain: a host that goes away while calls are on their way has not
// looked at them, and no policy is needed to make them anew, with what has come of them.
func TestRefusedCallsAreMadeAgain(t *testing.T) {
	went := make(chan struct{})
	away := sync.OnceFunc(func() { close(went) })
	leaving := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = io.CopyN(io.Discard, r, int64(len(http2.ClientPreface)))
		f := http2.NewFramer(c, r)
		_ = f.WriteSettings()
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			if data, ok := frame.(*http2.DataFrame); ok && len(data.Data()) > 0 {
				_ = f.WriteGoAway(0, http2.ErrCodeNo, nil)
				away()
			}
		}
	})
	staying := serveH2C(t, func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status, X-Got")
		_, _ = w.Write([]byte("\x00\x00\x00\x00\x02yo"))
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set("X-Got", fmt.Sprintf("%q te=%s", body, req.Header.Get("Te")))
	})
	var dialled atomic.Int32
	dial := func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		address := to.String()
		if address == leaving && dialled.Add(1) > 1 {
			address = staying
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	r := startRig(t, speaking(snapshotOf(map[string]string{"up": leaving}, to("up")), model.ProtocolH2C), Config{Dial: dial})
	head, _, _ := strings.Cut(aCall(""), "\n\n")
	c := r.dial().send(head + "\n\n2\nhi\n")
	<-went
	c.send("3\nend\n0\n\n")
	resp, _ := c.answer("POST")
	if got := resp.Trailer.Get("X-Got"); got != `"hiend" te=trailers` {
		t.Errorf("got %v, %s", resp.Header, got)
	}
}
