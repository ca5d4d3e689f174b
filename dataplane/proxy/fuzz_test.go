package proxy

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// FuzzRequests sends raw bytes through a whole proxy and compares what it answered with what
// reached the upstream, which takes nothing that net/http does not. Nothing may hang (the
// bubble's clock passes every time-out), panic, or leave a count unbalanced; no more
// requests arrive than were answered with 200 or cut short; a refused one does not arrive.
func FuzzRequests(f *testing.F) {
	for _, seed := range []string{
		get("/"), get("/a") + get("/b"),
		"POST / HTTP/1.1\nHost: h\nContent-Length: 3\n\nabc" + get("/next"),
		"POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n" + get("/next"),
		"POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n3\nabc\n0\nX: y\n\n" + get("/next"),
		"POST / HTTP/1.1\nHost: h\nContent-Length: 3\nTransfer-Encoding: chunked\n\n0\n\n" + get("/smuggled"),
		"POST / HTTP/1.1\nHost: h\nTransfer-Encoding : chunked\n\n0\n\n" + get("/smuggled"),
		"POST / HTTP/1.1\nHost: h\nTransfer-Encoding: xchunked\n\n0\n\n" + get("/smuggled"),
		"POST / HTTP/1.1\nHost: h\nContent-Length: 3\nContent-Length: 5\n\nabc" + get("/smuggled"),
		"POST / HTTP/1.1\nHost: h\nContent-Length: +3\n\nabc", "POST / HTTP/1.1\nHost: h\nContent-Length: 10\n\nabc",
		"GET / HTTP/1.0\n\n" + get("/no"), "GET / HTTP/1.1\nHost: h\nConnection: close\n\n" + get("/no"),
		"PUT / HTTP/1.1\nHost: h\nExpect: 100-continue\nContent-Length: 2\n\nhi" + get("/x"),
		"GET / HTTP/1.1\nHost: h\nConnection: upgrade\nUpgrade: x\n\ntunnelled",
		"HEAD / HTTP/1.1\nHost: h\n\n" + get("/a"), "OPTIONS * HTTP/1.1\nHost: h\n\n", "CONNECT h:1 HTTP/1.1\nHost: h:1\n\n",
		"GET http://other/ HTTP/1.1\nHost: h\n\n", "GET / HTTP/1.1\nHost: h\nX: a\n b\n\n", "\n\n" + get("/"), "PRI * HTTP/2.0\n\nSM\n\n",
		"POST / HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\nffffffffffffffffff\nabc", "GET /%00 HTTP/1.1\nHost: h\n\n",
	} {
		f.Add([]byte(lines(seed)))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		synctest.Test(t, func(t *testing.T) { throughProxy(t, newNetwork(), raw) })
	})
}

func throughProxy(t *testing.T, n *network, raw []byte) {
	var whole, broken, odd atomic.Int64
	n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
		for {
			if _, err := r.Peek(1); err != nil {
				return
			}
			req, err := http.ReadRequest(r)
			if err != nil {
				odd.Add(1)
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				broken.Add(1)
				return
			}
			whole.Add(1)
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Up: y\r\nContent-Length: 0\r\n\r\n"); err != nil {
				return
			}
		}
	})
	r := n.rig(t, snapshotOf(map[string]string{"up": upA}, to("up")), Config{})
	c := r.patient()
	go func() { _, _ = c.Write(raw) }()
	answers, _ := io.ReadAll(c.r) // ends: the connection is idle in the end, or broken
	synctest.Wait()
	r.stop()
	stats := r.metrics.Totals()
	ok, refused := stats.Classes[2], stats.Requests-stats.Classes[2]
	if got := uint64(whole.Load()); got != ok && !bytes.Contains(raw, []byte("pgrade")) {
		t.Errorf("%d whole requests reached the upstream, %d were answered", got, ok)
	}
	if got := uint64(broken.Load()); got > refused || got > 1 {
		t.Errorf("%d broken requests reached the upstream, %d were refused", got, refused)
	}
	if odd.Load() > 0 {
		t.Errorf("something reached the upstream that is no request")
	}
	if up := uint64(strings.Count(string(answers), "\r\nX-Up: y\r\n")); up != ok {
		t.Errorf("%d answers of the upstream reached the client, %d were counted", up, ok)
	}
}
