package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/model"
)

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Path", r.URL.RequestURI())
	w.Header().Set("X-Host", r.Host)
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "Via", "X-Request-Id", "X-Weir-Shadow", "X-A"} {
		w.Header().Set("Got-"+name, r.Header.Get(name))
	}
	fmt.Fprintf(w, "%s %d %s", r.Method, len(body), body)
}

func TestPlain(t *testing.T) {
	r := newRig(t, map[string]string{"up": serveHTTP(t, echo)}, to("up"))
	c := r.dial()
	for range 3 {
		resp := c.send("GET /a/../b?q=1 HTTP/1.1\nHost: Example.COM:80\n\n").want(200, "", "GET 0")
		if got := resp.Header.Get("X-Path"); got != "/b?q=1" {
			t.Errorf("forwarded %q", got)
		}
		if resp.Header.Get("Got-X-Forwarded-For") != "127.0.0.1" || resp.Header.Get("Got-Via") != "1.1 weir" ||
			len(resp.Header.Get("Got-X-Request-Id")) != 36 || resp.Header.Get("X-Host") != "Example.COM:80" {
			t.Errorf("forwarded headers: %v", resp.Header)
		}
	}
}

func TestPipelining(t *testing.T) {
	r := newRig(t, map[string]string{"up": serveHTTP(t, echo)}, to("up"))
	c := r.dial().send("GET /1 HTTP/1.1\nHost: h\n\nPOST /2 HTTP/1.1\nHost: h\nContent-Length: 3\n\nabcGET /3 HTTP/1.1\nHost: h\n\n")
	for i, want := range []string{"GET 0 ", "POST 3 abc", "GET 0 "} {
		if resp := c.want(200, "", want); resp.Header.Get("X-Path") != fmt.Sprintf("/%d", i+1) {
			t.Fatalf("answer %d is for %s", i+1, resp.Header.Get("X-Path"))
		}
	}
}

func TestBodies(t *testing.T) {
	r := newRig(t, map[string]string{"up": serveHTTP(t, echo)}, to("up"))
	for _, size := range []int{0, 1, 1000, 20_000, 70_000, 3 << 20} {
		body := strings.Repeat("x", size)
		c := r.dial()
		for range 2 {
			c.send(fmt.Sprintf("PUT / HTTP/1.1\nHost: h\nContent-Length: %d\n\n%s", size, body))
			c.want(200, "", fmt.Sprintf("PUT %d ", size))
			c.send(fmt.Sprintf("PUT / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n%x\n%s\n0\n\n", max(size, 1), body+strings.Repeat("y", max(1-size, 0))))
			c.want(200, "", fmt.Sprintf("PUT %d ", max(size, 1)))
		}
	}
}

func TestTrailers(t *testing.T) {
	up := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprintf(w, "trailer %s", r.Trailer.Get("X-Sum"))
		w.(http.Flusher).Flush()
		w.Header().Set("X-Sum", "42")
	})
	r := newRig(t, map[string]string{"up": up}, to("up"))
	c := r.dial().send("POST / HTTP/1.1\nHost: h\nTrailer: X-Sum\nTransfer-Encoding: chunked\n\n3\nabc\n0\nX-Sum: 7\n\n")
	resp, body := c.answer("POST")
	if resp.Trailer.Get("X-Sum") != "42" {
		t.Errorf("answer's trailers: %v, body %q", resp.Trailer, body)
	}
}

func TestHeadAndOldClients(t *testing.T) {
	up := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			for range 3 {
				fmt.Fprint(w, "piece ")
				w.(http.Flusher).Flush()
			}
			return
		}
		w.Header().Set("Content-Length", "5")
		fmt.Fprint(w, "hello")
	})
	r := newRig(t, map[string]string{"up": up}, to("up"))
	c := r.dial().send("HEAD / HTTP/1.1\nHost: h\n\n")
	if resp, _ := c.answer("HEAD"); resp.ContentLength != 5 {
		t.Errorf("HEAD: length %d", resp.ContentLength)
	}
	c.send("GET / HTTP/1.0\nHost: h\nConnection: keep-alive\n\n").want(200, "", "hello")
	c.send("GET /stream HTTP/1.0\nHost: h\nConnection: keep-alive\n\n")
	if resp := c.want(200, "", "piece piece piece "); len(resp.TransferEncoding) != 0 {
		t.Error("chunks for an HTTP/1.0 client")
	}
	c.ended()
}

func TestUntilClose(t *testing.T) {
	up := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			fmt.Fprint(c, "HTTP/1.0 200 OK\r\n\r\nold ")
			fmt.Fprint(c, "style")
		}
	})
	r := newRig(t, map[string]string{"up": up}, to("up"))
	c := r.dial()
	for range 2 {
		c.send("GET / HTTP/1.1\nHost: h\n\n").want(200, "", "old style")
	}
}

func TestContinue(t *testing.T) {
	r := newRig(t, map[string]string{"up": serveHTTP(t, echo)}, to("up"))
	c := r.dial().send("PUT / HTTP/1.1\nHost: h\nExpect: 100-continue\nContent-Length: 5\n\n")
	if line, err := c.r.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	if line, _ := c.r.ReadString('\n'); line != "\r\n" {
		t.Fatalf("got %q", line)
	}
	c.send("hello").want(200, "", "PUT 5 hello")
	c.send("GET / HTTP/1.1\nHost: h\n\n").want(200, "", "GET")
}

func TestEarlyAnswerIsHeard(t *testing.T) {
	up := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			fmt.Fprint(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
			_, _ = io.Copy(io.Discard, r)
		}
	})
	r := newRig(t, map[string]string{"up": up}, to("up"))
	c := r.dial().send("PUT / HTTP/1.1\nHost: h\nContent-Length: 1000000\n\nstart")
	if resp := c.want(413, "", "big"); !resp.Close {
		t.Error("the connection should close: its request was not read")
	}
	c.ended()
}

func TestUpgrade(t *testing.T) {
	up := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil || req.Header.Get("Upgrade") != "echo" || !strings.EqualFold(req.Header.Get("Connection"), "upgrade") {
			fmt.Fprint(c, "HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")
			return
		}
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nfirst ")
		_, _ = io.Copy(c, r)
		fmt.Fprint(c, "last")
	})
	r := newRig(t, map[string]string{"up": up}, to("up"))
	c := r.dial().send("GET / HTTP/1.1\nHost: h\nConnection: Upgrade\nUpgrade: echo\n\nsecond ")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatal(resp, err)
	}
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil { // half-close passes through
		t.Fatal(err)
	}
	if all, err := io.ReadAll(c.r); err != nil || string(all) != "first second last" {
		t.Errorf("tunnel carried %q, %v", all, err)
	}
}

func TestClientThatLeavesCancels(t *testing.T) {
	cancelled := make(chan error, 1)
	up := serveHTTP(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
			cancelled <- nil
		case <-time.After(10 * time.Second):
			cancelled <- fmt.Errorf("not cancelled")
		}
	})
	r := newRig(t, map[string]string{"up": up}, to("up"))
	for _, sent := range []string{
		"GET / HTTP/1.1\nHost: h\n\n",
		"GET / HTTP/1.1\nHost: h\n\nGET /next HTTP/1.1\nHost: h\n\n", // bytes stand before its end
	} {
		r.dial().send(sent).Close()
		if err := <-cancelled; err != nil {
			t.Errorf("after %q: %v", sent, err)
		}
	}
}

func TestHalfClosedClientGetsItsAnswer(t *testing.T) {
	r := newRig(t, map[string]string{"up": serveHTTP(t, echo)}, to("up"))
	c := r.dial().send("GET / HTTP/1.1\nHost: h\n\n")
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.want(200, "", "GET")
}

func TestKeepAliveRace(t *testing.T) {
	var served int
	up := serveRaw(t, func(c net.Conn, r *bufio.Reader) { // one request a connection, unannounced
		if _, err := http.ReadRequest(r); err == nil {
			served++
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	r := newRig(t, map[string]string{"up": up}, to("up"))
	c := r.dial()
	for range 20 {
		c.send("GET / HTTP/1.1\nHost: h\n\n").want(200, "", "ok")
	}
}

func TestFlags(t *testing.T) {
	closed := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}()
	slow := serveHTTP(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	cut := serveRaw(t, func(_ net.Conn, r *bufio.Reader) { _, _ = http.ReadRequest(r) })
	junk := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")
	})
	own := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "mine", http.StatusServiceUnavailable) })
	hosts := map[string]string{"closed": closed, "slow": slow, "cut": cut, "junk": junk, "own": own, "none": ""}
	route := func(path, cluster string, change func(*model.Route)) *model.Route {
		r := to(cluster)
		r.Name = path
		r.Matches = []model.Match{{Path: model.PathMatch{Type: model.MatchPrefix, Value: path}}}
		if change != nil {
			change(r)
		}
		return r
	}
	r := newRig(t, hosts,
		route("/uf", "closed", nil), route("/uc", "cut", nil), route("/upe", "junk", nil),
		route("/uh", "none", nil), route("/own", "own", nil),
		route("/pt", "slow", func(r *model.Route) { r.Timeouts.Request = 50 * time.Millisecond }),
		route("/ut", "slow", func(r *model.Route) { r.Timeouts.PerTry = 50 * time.Millisecond }),
		route("/nc", "own", func(r *model.Route) { r.Refusal = &model.Refusal{Status: 500, Flag: "NC"} }),
		route("/arm", "own", func(r *model.Route) {
			r.Split.Arms[0].Cluster, r.Split.Arms[0].Refusal = "", &model.Refusal{Status: 500, Flag: "NC"}
		}),
	)
	for _, test := range []struct {
		path   string
		status int
		flag   string
		blame  string
	}{
		{"/uf", 503, "UF", "upstream"},
		{"/uc", 502, "UC", "upstream"},
		{"/upe", 502, "UPE", "upstream"},
		{"/uh", 503, "UH", "upstream"},
		{"/own", 503, "", ""},
		{"/pt", 504, "PT", "policy"},
		{"/ut", 504, "UT", "upstream"},
		{"/nc", 500, "NC", "policy"},
		{"/arm", 500, "NC", "policy"},
		{"/nowhere", 404, "NR", "policy"},
	} {
		c := r.dial()
		for range 2 { // the connection survives
			resp := c.send("GET "+test.path+" HTTP/1.1\nHost: h\n\n").want(test.status, test.flag, "")
			if got := resp.Header.Get("X-Weir-Blame"); got != test.blame {
				t.Errorf("%s: blame %q, want %q", test.path, got, test.blame)
			}
		}
	}
}

func TestBadRequests(t *testing.T) {
	var forwarded bool
	up := serveHTTP(t, func(http.ResponseWriter, *http.Request) { forwarded = true })
	r := newRig(t, map[string]string{"up": up}, to("up"))
	for _, test := range []struct {
		request string
		status  int
	}{
		{"GET / HTTP/1.1\nHost: h\nContent-Length: 3\nTransfer-Encoding: chunked\n\n0\n\n", 400},
		{"GET / HTTP/1.1\nHost: h\nTransfer-Encoding: gzip, chunked\n\n0\n\n", 501},
		{"POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\nzz\n", 400},
		{"POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n5;a=b\nhello\n0\n\n", 400},
		{"GET / HTTP/1.1\n\n", 400},
		{"GET / HTTP/2.0\nHost: h\n\n", 505},
		{"GET / HTTP/1.1\nHost: h\nX: " + strings.Repeat("x", 20<<10) + "\n\n", 431},
		{"GET /" + strings.Repeat("x", 20<<10) + " HTTP/1.1\nHost: h\n\n", 414},
	} {
		c := r.dial().send(test.request)
		c.want(test.status, "DPE", "")
		c.ended()
	}
	if forwarded {
		t.Error("something was forwarded")
	}
}

func TestUpgradesToHTTP2AreNotPassedOn(t *testing.T) {
	for upgrade, want := range map[string]bool{
		"h2c": true, "H2C": true, "websocket, h2c": true, ",h2c": true, "h2": true, "websocket": false, "": false, "xh2": false,
	} {
		if got := isH2C([]byte(upgrade)); got != want {
			t.Errorf("%q: %v", upgrade, got)
		}
	}
}
