package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"weir.dev/weir/dataplane/policy"
	"weir.dev/weir/model"
)

var codings = []model.Coding{model.CodingZstd, model.CodingBrotli, model.CodingGzip}

// compressing returns a route whose answers are compressed.
func compressing() *model.Route {
	r := to("up")
	r.Compression = &model.Compression{Algorithms: codings, MinSize: 1 << 10, Types: []string{"text/*", "text/event-stream"}}
	return r
}

func accepting(coding model.Coding, path string) string {
	return "GET " + path + " HTTP/1.1\nHost: h\nAccept-Encoding: " + string(coding) + "\n\n"
}

// decoder returns what r stands for, piece by piece as it can be decoded.
func decoder(t testing.TB, coding model.Coding, r io.Reader) io.Reader {
	t.Helper()
	switch coding {
	case model.CodingZstd:
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.Close)
		return d
	case model.CodingBrotli:
		return brotli.NewReader(r)
	case model.CodingGzip:
		d, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	return r
}

// article is text of about n bytes that is not the same all over.
func article(n int) string {
	var b strings.Builder
	for i := uint32(1); b.Len() < n; i++ {
		fmt.Fprintf(&b, "<p>line %d of %x</p>\n", i, i*2654435761)
	}
	return b.String()
}

// framings are the ways in which the upstream of articles delimits a body.
var framings = []string{"length", "chunked", "close"}

// articles answers /framing/bytes with an article.
func articles(c net.Conn, r *bufio.Reader) {
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		var framing string
		var size int
		_, _ = fmt.Sscanf(strings.ReplaceAll(req.URL.Path[1:], "/", " "), "%s %d", &framing, &size)
		body := article(size)
		head := "HTTP/1.1 200 OK\nContent-Type: text/html; charset=utf-8\nETag: \"e\"\nAccept-Ranges: bytes\n"
		switch framing {
		case "length":
			fmt.Fprintf(c, "%sContent-Length: %d\r\n\r\n", lines(head), len(body))
			if req.Method != http.MethodHead {
				_, _ = io.WriteString(c, body)
			}
		case "chunked":
			_, _ = io.WriteString(c, lines(head+"Trailer: X-Sum\nTransfer-Encoding: chunked\n\n"))
			for rest := body; rest != ""; {
				n := min(len(rest), 7000)
				fmt.Fprintf(c, "%x\r\n%s\r\n", n, rest[:n])
				rest = rest[n:]
			}
			_, _ = io.WriteString(c, lines("0\nX-Sum: 42\n\n"))
		default:
			_, _ = io.WriteString(c, lines(head+"\n")+body)
			return
		}
	}
}

// TestCompressedAnswers carries answers of every framing, size and coding, and looks that
// the connection is good for the next one.
func TestCompressedAnswers(t *testing.T) {
	for _, tcp := range []bool{true, false} {
		test := func(t *testing.T, r *rig) {
			var sent, received int64
			c := r.dial()
			for _, coding := range codings {
				for _, framing := range framings {
					for _, size := range []int{1024, 20_000, 300_000} {
						c.send(accepting(coding, fmt.Sprintf("/%s/%d", framing, size)))
						resp, err := http.ReadResponse(c.r, nil)
						if err != nil {
							t.Fatal(err)
						}
						want := article(size)
						encoded, err := io.ReadAll(resp.Body)
						if err != nil {
							t.Fatal(err)
						}
						got, err := io.ReadAll(decoder(t, coding, bytes.NewReader(encoded)))
						if err != nil || string(got) != want {
							t.Fatalf("%s, %s, %d: %d bytes of %d, %v", coding, framing, size, len(got), len(want), err)
						}
						if len(encoded) > len(want)*3/4 {
							t.Errorf("%s, %s, %d: still %d bytes", coding, framing, size, len(encoded))
						}
						h := resp.Header
						if h.Get("Content-Encoding") != string(coding) || h.Get("Vary") != "Accept-Encoding" || h.Get("ETag") != `W/"e"` ||
							resp.ContentLength != -1 || h.Get("Content-Length")+h.Get("Accept-Ranges") != "" || resp.Close {
							t.Errorf("%s, %s, %d: %v", coding, framing, size, resp)
						}
						sent += int64(len(encoded))
						received += int64(len(want))
						if framing == "chunked" && resp.Trailer.Get("X-Sum") != "42" {
							t.Errorf("%s, %d: trailer %v", coding, size, resp.Trailer)
						}
					}
				}
			}
			r.stop()
			// Heads, framing and trailers come on top, some hundred bytes an answer.
			most := int64(300 * len(codings) * len(framings) * 3)
			if n := int64(r.metrics.Route("ns/to-up/0").Snapshot().BytesOut); n < sent || n > sent+sent/100+most {
				t.Errorf("%d bytes are counted as sent, of %d with framing", n, sent)
			}
			if n := int64(r.metrics.Cluster("up").Snapshot().BytesOut); n < received || n > received+received/100+most {
				t.Errorf("%d bytes are counted as received, of %d with framing", n, received)
			}
		}
		if tcp {
			t.Run("TCP", func(t *testing.T) {
				test(t, newRig(t, map[string]string{"up": serveRaw(t, articles)}, compressing()))
			})
			continue
		}
		t.Run("memory", func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				n.upstream(t, upA, articles)
				test(t, n.rig(t, snapshotOf(map[string]string{"up": upA}, compressing()), Config{}))
			})
		})
	}
}

// TestCompressionByOthers has net/http ask for gzip and undo it, over HTTP/1.1 and HTTP/2.
func TestCompressionByOthers(t *testing.T) {
	r := newRig(t, map[string]string{"up": serveRaw(t, articles)}, compressing())
	http1 := &http.Client{Transport: &http.Transport{}}
	defer http1.CloseIdleConnections()
	h2 := r.h2()
	h2.Transport.(*http.Transport).DisableCompression = false
	for name, client := range map[string]*http.Client{"HTTP/1.1": http1, "HTTP/2": h2} {
		for _, framing := range framings {
			resp, err := client.Do(r.request(http.MethodGet, "/"+framing+"/100000", nil))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || string(body) != article(100_000) || !resp.Uncompressed {
				t.Errorf("%s, %s: %d bytes, %v, compressed %v", name, framing, len(body), err, resp.Uncompressed)
			}
			if framing == "chunked" && resp.Trailer.Get("X-Sum") != "42" {
				t.Errorf("%s: trailer %v", name, resp.Trailer)
			}
		}
	}
}

// TestNotCompressed has answers that stay as they are, though another client would get them
// compressed.
func TestNotCompressed(t *testing.T) {
	r := newRig(t, map[string]string{"up": serveRaw(t, articles)}, compressing())
	for name, request := range map[string]string{
		"not asked":   "GET /length/5000 HTTP/1.1\nHost: h\n",
		"identity":    "GET /length/5000 HTTP/1.1\nHost: h\nAccept-Encoding: gzip;q=0.5, identity\n",
		"a secret":    "GET /length/5000 HTTP/1.1\nHost: h\nAccept-Encoding: gzip\nCookie: a=b\n",
		"chunked":     "GET /chunked/5000 HTTP/1.1\nHost: h\nAccept-Encoding: gzip\nAuthorization: Basic eA==\n",
		"HTTP/1.0":    "GET /length/5000 HTTP/1.0\nHost: h\nAccept-Encoding: gzip\n",
		"1.0 decoded": "GET /chunked/5000 HTTP/1.0\nHost: h\nAccept-Encoding: gzip\n",
	} {
		resp, body := r.dial().send(request + "\n").answer(http.MethodGet)
		if body != article(5000) || resp.Header.Get("Content-Encoding") != "" || resp.Header.Get("ETag") != `"e"` ||
			resp.Header.Get("Vary") != "Accept-Encoding" || resp.Header.Get("Accept-Ranges") != "bytes" {
			t.Errorf("%s: %v with %d bytes", name, resp, len(body))
		}
	}
	resp, body := r.dial().send("HEAD /length/5000 HTTP/1.1\nHost: h\nAccept-Encoding: br\n\n").answer(http.MethodHead)
	if h := resp.Header; body != "" || h.Get("Content-Encoding") != "br" || h.Get("ETag") != `W/"e"` || h.Get("Vary") == "" || h.Get("Content-Length") != "" {
		t.Errorf("HEAD: %v", resp)
	}
}

// TestUpstreamSeesWhatIsAccepted looks that the upstream may encode as the client asked, and
// that nobody touches that.
func TestUpstreamSeesWhatIsAccepted(t *testing.T) {
	up := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("ETag", `"strong"`)
		_, _ = io.WriteString(w, "not really, asked for "+r.Header.Get("Accept-Encoding")+strings.Repeat(".", 5000))
	})
	c := newRig(t, map[string]string{"up": up}, compressing()).dial()
	resp := c.send("GET / HTTP/1.1\nHost: h\nAccept-Encoding: gzip;q=0.7, br\n\n").want(200, "", "asked for gzip;q=0.7, br...")
	if h := resp.Header; h.Get("Content-Encoding") != "gzip" || h.Get("ETag") != `"strong"` || h.Get("Vary") != "" {
		t.Errorf("%v", resp)
	}
}

// TestCompressionFlushes has an upstream that says the next word only once the client has
// got the last one.
func TestCompressionFlushes(t *testing.T) {
	for _, kind := range []string{"text/event-stream\nTransfer-Encoding: chunked", "text/plain\nContent-Length: 5000", "text/plain"} {
		for _, coding := range codings {
			t.Run(fmt.Sprintf("%.20s %s", kind, coding), func(t *testing.T) {
				heard := make(chan struct{})
				chunked := strings.Contains(kind, "chunked")
				words := 10
				up := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
					if _, err := http.ReadRequest(r); err != nil {
						return
					}
					fmt.Fprint(c, lines("HTTP/1.1 200 OK\nContent-Type: "+kind+"\n\n"))
					for i := range words {
						<-heard
						if word := fmt.Sprintf("%0500d", i); chunked {
							fmt.Fprintf(c, "1f4\r\n%s\r\n", word)
						} else {
							fmt.Fprint(c, word)
						}
					}
					<-heard
					if chunked {
						fmt.Fprint(c, "0\r\n\r\n")
					}
				})
				c := newRig(t, map[string]string{"up": up}, compressing()).dial().send(accepting(coding, "/"))
				resp, err := http.ReadResponse(c.r, nil) // the head comes before the first word
				if err != nil || resp.Header.Get("Content-Encoding") != string(coding) {
					t.Fatal(resp, err)
				}
				heard <- struct{}{}
				body := decoder(t, coding, resp.Body)
				for i := range words {
					word := make([]byte, 500)
					if _, err := io.ReadFull(body, word); err != nil || string(word) != fmt.Sprintf("%0500d", i) {
						t.Fatalf("word %d: %q, %v", i, word, err)
					}
					heard <- struct{}{}
				}
				if rest, err := io.ReadAll(body); len(rest) > 0 || err != nil {
					t.Errorf("%q, %v behind the end", rest, err)
				}
			})
		}
	}
}

// TestTrailersComeLate looks that the content does not wait for the trailer section.
func TestTrailersComeLate(t *testing.T) {
	heard := make(chan struct{})
	up := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			fmt.Fprint(c, lines("HTTP/1.1 200 OK\nContent-Type: text/plain\nTransfer-Encoding: chunked\n\n5\nhello\n0\nX-"))
			<-heard
			fmt.Fprint(c, lines("One: 1\n"))
			<-heard
			fmt.Fprint(c, lines("X-Two: 2\n\n"))
		}
	})
	c := newRig(t, map[string]string{"up": up}, compressing()).dial().send(accepting(model.CodingGzip, "/"))
	line := func() string {
		t.Helper()
		line, err := c.r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSuffix(line, "\r\n")
	}
	for line() != "" {
	}
	var encoded []byte
	for {
		var size int
		if _, err := fmt.Sscanf(line(), "%x", &size); err != nil {
			t.Fatal(err)
		}
		if size == 0 {
			break
		}
		chunk := make([]byte, size+2)
		if _, err := io.ReadFull(c.r, chunk); err != nil {
			t.Fatal(err)
		}
		encoded = append(encoded, chunk[:size]...)
	}
	if got, err := io.ReadAll(decoder(t, model.CodingGzip, bytes.NewReader(encoded))); string(got) != "hello" || err != nil {
		t.Errorf("%q, %v before the trailer", got, err)
	}
	for _, want := range []string{"X-One: 1", "X-Two: 2"} {
		heard <- struct{}{}
		if got := line(); got != want {
			t.Errorf("%q in the trailer, want %q", got, want)
		}
	}
	if got := line(); got != "" {
		t.Errorf("%q at the end", got)
	}
}

// TestCompressionBreaks has upstreams that break off. No client may take that for the end,
// and every encoder comes back.
func TestCompressionBreaks(t *testing.T) {
	const head = "HTTP/1.1 200 OK\nContent-Type: text/plain\n"
	for name, test := range map[string]struct {
		answer string
		flag   model.Flag
	}{
		"short":             {head + "Content-Length: 5000\n\nhalf", model.FlagUC},
		"between chunks":    {head + "Transfer-Encoding: chunked\n\n5\nhello\n", model.FlagUC},
		"no chunk":          {head + "Transfer-Encoding: chunked\n\n5\nhello\nrubbish\n", model.FlagUPE},
		"within a trailer":  {head + "Transfer-Encoding: chunked\n\n5\nhello\n0\nX-A: 1\n", model.FlagUC},
		"forbidden trailer": {head + "Transfer-Encoding: chunked\n\n5\nhello\n0\nContent-Length: 1\n\n", model.FlagUPE},
	} {
		for _, coding := range codings {
			up := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
				if _, err := http.ReadRequest(r); err == nil {
					fmt.Fprint(c, lines(test.answer))
				}
			})
			r := newRig(t, map[string]string{"up": up}, compressing())
			c := r.dial().send(accepting(coding, "/"))
			if resp, err := http.ReadResponse(c.r, nil); err == nil {
				if p, err := io.ReadAll(resp.Body); err == nil {
					t.Errorf("%s, %s: %q looks complete", name, coding, p)
				}
			}
			r.stop()
			if flags := r.metrics.Totals().Flags; flags[test.flag] != 1 {
				t.Errorf("%s, %s: counted %v", name, coding, flags)
			}
			allGiven(t, r.proxy)
		}
	}
}

// allGiven checks that no encoder is in use.
func allGiven(t *testing.T, p *Proxy) {
	t.Helper()
	if n := p.encoders.InUse(); n != 0 {
		t.Errorf("encoders of %d bytes are still in use", n)
	}
}

// TestCompressionForClientsThatLeave gives encoders back when clients leave or read nothing.
func TestCompressionForClientsThatLeave(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		n.upstream(t, upA, articles)
		r := n.rig(t, snapshotOf(map[string]string{"up": upA}, compressing()), Config{})
		for i, coding := range codings {
			c := r.patient().send(accepting(coding, "/"+framings[i]+"/1000000"))
			if _, err := http.ReadResponse(c.r, nil); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				c.Close()
			} else {
				time.Sleep(time.Minute) // the network in memory has no buffers of its own
			}
		}
		r.stop()
		if flags := r.metrics.Totals().Flags; flags[model.FlagDC] != 3 {
			t.Errorf("counted %v", flags)
		}
		allGiven(t, r.proxy)
	})
}

// TestCompressionIsBounded sends answers as they are while the memory for encoders is taken.
func TestCompressionIsBounded(t *testing.T) {
	r := newRig(t, map[string]string{"up": serveRaw(t, articles)}, compressing())
	var taken []*policy.Encoder
	for _, coding := range []model.Coding{model.CodingBrotli, model.CodingGzip, model.CodingZstd} { // the largest first
		for e := r.proxy.encoders.Take(coding, nil); e != nil; e = r.proxy.encoders.Take(coding, nil) {
			taken = append(taken, e)
		}
	}
	c := r.dial()
	for _, coding := range codings {
		resp := c.send(accepting(coding, "/length/5000")).want(200, "", article(5000))
		if h := resp.Header; h.Get("Content-Encoding") != "" || h.Get("ETag") != `"e"` || resp.ContentLength < 5000 || h.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: %v", coding, resp)
		}
	}
	if n := r.metrics.Uncompressed.Load(); n != uint64(len(codings)) {
		t.Errorf("%d are counted", n)
	}
	for _, e := range taken {
		r.proxy.encoders.Give(e)
	}
	if resp, _ := c.send(accepting(model.CodingZstd, "/length/5000")).answer(http.MethodGet); resp.Header.Get("Content-Encoding") != "zstd" {
		t.Errorf("not compressed again: %v", resp)
	}
}

// TestPanicWhileEncoding looks that what is lost in a panic does not count as used for ever.
func TestPanicWhileEncoding(t *testing.T) {
	p := idleProxy()
	x := newExchange().(*exchange)
	x.p = p
	x.coding.encoder = p.encoders.Take(model.CodingGzip, func([]byte) error { return errors.ErrUnsupported })
	x.release()
	allGiven(t, p)
}
