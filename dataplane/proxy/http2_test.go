package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"weir.dev/weir/model"
	"weir.dev/weir/telemetry"
)

// h2 returns a client that others wrote, which speaks HTTP/2 in clear text.
func (r *rig) h2() *http.Client {
	t := &http.Transport{DisableCompression: true, Protocols: new(http.Protocols)}
	t.Protocols.SetUnencryptedHTTP2(true)
	r.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{
		Transport: t, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func ask(t testing.TB, c *http.Client, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("body: %v", err)
	}
	return resp, string(body)
}

func (r *rig) request(method, path string, body io.Reader) *http.Request {
	r.t.Helper()
	req, err := http.NewRequest(method, "http://"+r.addr+path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	return req
}

func TestHTTP2RequestReachesTheUpstreamAsHTTP1(t *testing.T) {
	got := make(chan *http.Request, 1)
	up := serveHTTP(t, func(w http.ResponseWriter, req *http.Request) {
		got <- req
		w.Header().Set("X-From", "upstream")
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "short and stout")
	})
	r := newRig(t, map[string]string{"up": up}, to("up"))
	req := r.request("GET", "/a/../b?c=d", nil)
	req.Host = "shop.example.com:81"
	req.Header["Cookie"] = []string{"a=1", "b=2"}
	req.Header.Set("Te", "trailers")
	resp, body := ask(t, r.h2(), req)
	if resp.ProtoMajor != 2 || resp.StatusCode != 418 || resp.Header.Get("X-From") != "upstream" || body != "short and stout" {
		t.Errorf("got %s %d %v %q", resp.Proto, resp.StatusCode, resp.Header, body)
	}
	saw := <-got
	if saw.Proto != "HTTP/1.1" || saw.Host != "shop.example.com:81" || saw.RequestURI != "/b?c=d" {
		t.Errorf("upstream saw %s %s %s", saw.Proto, saw.Host, saw.RequestURI)
	}
	for name, want := range map[string]string{
		"Via": "2.0 weir", "X-Forwarded-Proto": "http", "X-Forwarded-For": "127.0.0.1", "Cookie": "a=1; b=2", "Te": "",
	} {
		if v := saw.Header.Get(name); v != want {
			t.Errorf("upstream saw %s %q, want %q", name, v, want)
		}
	}
	if len(saw.TransferEncoding) > 0 || saw.ContentLength != 0 {
		t.Errorf("a body that is not there: %v %d", saw.TransferEncoding, saw.ContentLength)
	}
}

// mix answers with the hash of what it got, as many bytes as asked for, and trailers.
func mix(w http.ResponseWriter, req *http.Request) {
	sum := sha256.New()
	io.Copy(sum, req.Body)
	w.Header().Set("Trailer", "X-Sum, X-Got-Trailer")
	var size int
	fmt.Sscan(req.URL.Query().Get("size"), &size)
	if req.URL.Query().Has("length") {
		w.Header().Set("Content-Length", fmt.Sprint(size))
	} else if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	w.Write(bytes.Repeat([]byte("weir"), size/4+1)[:size])
	w.Header().Set("X-Sum", fmt.Sprintf("%x", sum.Sum(nil)))
	w.Header().Set("X-Got-Trailer", req.Trailer.Get("X-Sent"))
}

// TestHTTP2Bodies compares what a client of net/http's gets through the proxy with what was
// sent: with and without lengths, both ways, with trailers, many streams at once.
func TestHTTP2Bodies(t *testing.T) {
	carriesBodies(t, snapshotOf(map[string]string{"up": serveHTTP(t, mix)}, to("up")))
}

func carriesBodies(t *testing.T, s *model.Snapshot) {
	s.Clusters[0].ConnectTimeout, s.Listeners[0].Client.BodyTimeout = patience, patience // so many at once take their time
	r := startRig(t, s, Config{})
	c := r.h2()
	noise := make([]byte, 4_000_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	sizes := []int{0, 1, 100, 16383, 16384, 16385, 65535, 65536, 200_000, 3_000_000}
	var wait sync.WaitGroup
	for i := range 120 {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			up, down := sizes[i%len(sizes)], sizes[random.IntN(len(sizes))]
			data := noise[i : i+up]
			var body io.Reader = bytes.NewReader(data)
			unsized := i%3 == 0
			if unsized {
				body = io.MultiReader(body) // hides the length
			}
			path := fmt.Sprintf("/?size=%d", down)
			if i%2 == 0 {
				path += "&length"
			}
			req := r.request("POST", path, body)
			if unsized {
				req.Trailer = http.Header{"X-Sent": {"yes"}}
			}
			resp, err := c.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if err != nil || len(got) != down || resp.StatusCode != 200 {
				t.Errorf("stream %d: %d with %d bytes, want %d: %v %.200q", i, resp.StatusCode, len(got), down, err, got)
			}
			if i%2 == 0 {
				return // an answer with a length has no trailers in HTTP/1.1
			}
			if want := fmt.Sprintf("%x", sha256.Sum256(data)); resp.Trailer.Get("X-Sum") != want {
				t.Errorf("stream %d: the upstream got another body of %d bytes: %v", i, up, resp.Trailer)
			}
			if sent := resp.Trailer.Get("X-Got-Trailer"); unsized && sent != "yes" {
				t.Errorf("stream %d: the upstream got no trailer", i)
			}
		})
	}
	wait.Wait()
}

func TestHTTP2HeadAndInterimAnswers(t *testing.T) {
	up := serveHTTP(t, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Content-Length", "5")
		if req.Method != "HEAD" {
			io.Copy(io.Discard, req.Body)
			io.WriteString(w, "hello")
		}
	})
	r := newRig(t, map[string]string{"up": up}, to("up"))
	resp, body := ask(t, r.h2(), r.request("HEAD", "/", nil))
	if resp.StatusCode != 200 || resp.ContentLength != 5 || body != "" {
		t.Errorf("HEAD: %d, length %d, %q", resp.StatusCode, resp.ContentLength, body)
	}
	req := r.request("POST", "/", strings.NewReader("body"))
	req.Header.Set("Expect", "100-continue")
	if resp, body = ask(t, r.h2(), req); resp.StatusCode != 200 || body != "hello" {
		t.Errorf("POST: %d %q", resp.StatusCode, body)
	}
}

// TestHTTP2RefusalsCarryFlags: our own answers are the same as over HTTP/1.1.
func TestHTTP2RefusalsCarryFlags(t *testing.T) {
	route := to("up")
	route.Matches = []model.Match{{Path: model.PathMatch{Type: model.MatchPrefix, Value: "/here"}}}
	r := newRig(t, map[string]string{"up": "127.0.0.1:1"}, route)
	c := r.h2()
	connect := r.request("CONNECT", "", nil)
	connect.Host = "inside:22"
	for _, test := range []struct {
		req    *http.Request
		status int
		flag   string
	}{
		{r.request("GET", "/there", nil), 404, "NR"},
		{r.request("GET", "/here", nil), 503, "UF"},
		{connect, 501, "DPE"},
		{r.request("GET", "/here/%2f", nil), 400, "DPE"},
	} {
		resp, body := ask(t, c, test.req)
		if resp.StatusCode != test.status || resp.Header.Get("X-Weir-Flag") != test.flag {
			t.Errorf("%s %s: %d %s %q, want %d %s", test.req.Method, test.req.URL.Path, resp.StatusCode, resp.Header.Get("X-Weir-Flag"), body, test.status, test.flag)
		}
	}
}

// TestHTTP2BrokenAnswerResetsOneStream: its neighbours do not notice.
func TestHTTP2BrokenAnswerResetsOneStream(t *testing.T) {
	release := make(chan struct{})
	up := serveHTTP(t, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		if req.URL.Path == "/broken" {
			panic(http.ErrAbortHandler)
		}
		<-release
		io.WriteString(w, "whole!")
	})
	r := newRig(t, map[string]string{"up": up}, to("up"))
	c := r.h2()
	good, err := c.Do(r.request("GET", "/good", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer good.Body.Close()
	bad, err := c.Do(r.request("GET", "/broken", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer bad.Body.Close()
	if _, err := io.ReadAll(bad.Body); err == nil || !strings.Contains(err.Error(), "INTERNAL_ERROR") {
		t.Errorf("the broken answer ended with %v", err)
	}
	close(release)
	if body, err := io.ReadAll(good.Body); err != nil || string(body) != "halfwhole!" {
		t.Errorf("its neighbour: %q %v", body, err)
	}
}

// TestHTTP2ResetEndsTheTry: a request that the client has given up is given up upstream, and
// blamed on the client.
func TestHTTP2ResetEndsTheTry(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	up := serveHTTP(t, func(_ http.ResponseWriter, req *http.Request) {
		close(began)
		<-req.Context().Done()
		close(ended)
	})
	r := newRig(t, map[string]string{"up": up}, to("up"))
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-began
		cancel()
	}()
	if resp, err := r.h2().Do(r.request("GET", "/", nil).WithContext(ctx)); err == nil {
		resp.Body.Close()
		t.Fatal("an answer")
	}
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the upstream still works for nobody")
	}
}

// TestHTTP2SlowStreamHoldsNobody: a client that does not read one answer gets the others.
func TestHTTP2SlowStreamHoldsNobody(t *testing.T) {
	r := newRig(t, map[string]string{"up": serveHTTP(t, mix)}, to("up"))
	c := r.h2()
	slow, err := c.Do(r.request("GET", "/?size=50000000", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Body.Close()
	for range 20 {
		if _, body := ask(t, c, r.request("GET", "/?size=300000", nil)); len(body) != 300_000 {
			t.Fatalf("%d bytes", len(body))
		}
	}
}

// TestHTTP2Drains: requests under way are answered, the connection ends in order, and the
// client's next request goes to a new one.
func TestHTTP2Drains(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	up := serveHTTP(t, func(w http.ResponseWriter, req *http.Request) {
		close(began)
		<-release
		io.WriteString(w, "done")
	})
	r := startRig(t, snapshotOf(map[string]string{"up": up}, to("up")), Config{DrainTimeout: patience})
	answer := make(chan string, 1)
	go func() {
		_, body := ask(t, r.h2(), r.request("GET", "/", nil))
		answer <- body
	}()
	<-began
	stopped := make(chan struct{})
	go func() {
		r.stop()
		close(stopped)
	}()
	close(release)
	if body := <-answer; body != "done" {
		t.Errorf("got %q", body)
	}
	select {
	case <-stopped:
	case <-time.After(patience):
		t.Fatal("the drain has not ended")
	}
}

// TestHTTP2WebSocket opens a tunnel by extended CONNECT (RFC 8441) to an upstream that knows
// Upgrade only.
func TestHTTP2WebSocket(t *testing.T) {
	up := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil || req.Method != "GET" || req.Header.Get("Upgrade") != "websocket" || len(req.Header.Get("Sec-Websocket-Key")) != 24 {
			fmt.Fprintf(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nhello ")
		io.Copy(c, r)
	})
	newRig(t, map[string]string{"up": up}, to("up")).opensWebSocket(t)
}

// opensWebSocket opens a tunnel over HTTP/2 to a host that says hello and echoes.
func (r *rig) opensWebSocket(t *testing.T) {
	t.Helper()
	c := r.dial()
	fmt.Fprint(c, http2.ClientPreface)
	framer := http2.NewFramer(c, c.r)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range [][2]string{
		{":method", "CONNECT"},
		{":protocol", "websocket"},
		{":scheme", "http"},
		{":path", "/chat"},
		{":authority", "a"},
		{"sec-websocket-version", "13"},
	} {
		encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	framer.WriteSettings()
	framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
	framer.WriteData(1, false, []byte("world"))
	var got []byte
	for ended := false; !ended; {
		f, err := framer.ReadFrame()
		if err != nil {
			t.Fatalf("%v after %q", err, got)
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			if f.PseudoValue("status") != "200" || len(f.RegularFields()) > 0 {
				t.Fatalf("got %v", f.Fields)
			}
		case *http2.DataFrame:
			got = append(got, f.Data()...)
			ended = f.StreamEnded()
			if string(got) == "hello world" && !ended {
				framer.WriteData(1, true, nil)
			}
		case *http2.RSTStreamFrame:
			t.Fatalf("reset after %q: %v", got, f.ErrCode)
		}
	}
	if string(got) != "hello world" {
		t.Errorf("got %q", got)
	}
}

// TestWhatIsNoHTTPIsNotAnswered: the first line of a connection that names no version of HTTP
// may be a broken preface; a later one is a broken request.
func TestWhatIsNoHTTPIsNotAnswered(t *testing.T) {
	r := newRig(t, map[string]string{"up": serveHTTP(t, mix)}, to("up"))
	r.dial().send("INVALID CONNECTION PREFACE\n\n").ended()
	r.dial().send("PRI * HTTP/2.0\n\nXX\n\n").want(505, "DPE", "")
	c := r.dial().send("GET / HTTP/1.1\nHost: a\n\n")
	c.want(200, "", "")
	c.send("INVALID CONNECTION PREFACE\n\n").want(400, "DPE", "")
}

// TestHTTP2IsLogged: the access log says what was spoken.
func TestHTTP2IsLogged(t *testing.T) {
	var out bytes.Buffer
	log := telemetry.NewAccessLog(telemetry.AccessLogConfig{Writer: &out, Shards: 2})
	up := serveHTTP(t, func(http.ResponseWriter, *http.Request) {})
	r := startRig(t, snapshotOf(map[string]string{"up": up}, to("up")), Config{AccessLog: log})
	ask(t, r.h2(), r.request("GET", "/logged", nil))
	r.stop()
	if err := log.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if line := out.String(); !strings.Contains(line, `"protocol":"HTTP/2"`) || !strings.Contains(line, "/logged") {
		t.Errorf("logged %s", line)
	}
}
