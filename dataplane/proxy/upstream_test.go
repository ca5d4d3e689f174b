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
)

// tell is how a test's upstream sends pieces: "|" stands for a pause that lets what came
// before arrive alone, "\n" for CRLF.
func tell(c net.Conn, s string) {
	for i, piece := range strings.Split(s, "|") {
		if i > 0 {
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			_, _ = c.Read(make([]byte, 1))
		}
		_, _ = io.WriteString(c, lines(piece))
	}
}

// TestBrokenAnswers gives answers that are wrong, and looks that whatever the client gets is
// right or visibly broken, and that nothing of it ends up in the answers after.
func TestBrokenAnswers(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\nContent-Length: 3\n\nabc"
	for _, test := range []struct {
		name, method, answer string
		status               int    // 0: the answer breaks off, or none comes
		flag, body           string // of the answer
	}{
		{"nothing", "GET", "", 502, "UC", ""},
		{"half a status line", "GET", "HTTP/1.1 20", 502, "UC", ""},
		{"half a head", "GET", "HTTP/1.1 200 OK\nContent-Le", 502, "UC", ""},
		{"junk", "GET", "SSH-2.0-OpenSSH\n", 502, "UPE", ""},
		{"status of two digits", "GET", "HTTP/1.1 20 OK\n\n", 502, "UPE", ""},
		{"status 099", "GET", "HTTP/1.1 099 OK\n\n", 502, "UPE", ""},
		{"status 700", "GET", "HTTP/1.1 700 OK\n\n", 502, "UPE", ""},
		{"status of letters", "GET", "HTTP/1.1 2x0 OK\n\n", 502, "UPE", ""},
		{"HTTP/2", "GET", "HTTP/2.0 200 OK\n\n", 502, "UPE", ""},
		{"NUL in reason", "GET", "HTTP/1.1 200 O\x00K\n\n", 502, "UPE", ""},
		{"two lengths", "GET", "HTTP/1.1 200 OK\nContent-Length: 3\nContent-Length: 4\n\nabcd", 502, "UPE", ""},
		{"length and chunked", "GET", "HTTP/1.1 200 OK\nContent-Length: 3\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n", 502, "UPE", ""},
		{"negative length", "GET", "HTTP/1.1 200 OK\nContent-Length: -3\n\nabc", 502, "UPE", ""},
		{"huge length", "GET", "HTTP/1.1 200 OK\nContent-Length: 99999999999999999999\n\nabc", 502, "UPE", ""},
		{"unknown coding", "GET", "HTTP/1.1 200 OK\nTransfer-Encoding: gzip\n\nabc", 502, "UPE", ""},
		{"chunked in HTTP/1.0", "GET", "HTTP/1.0 200 OK\nTransfer-Encoding: chunked\n\n0\n\n", 502, "UPE", ""},
		{"folded field", "GET", "HTTP/1.1 200 OK\nX: a\n b\nContent-Length: 3\n\nabc", 502, "UPE", ""},
		{"space before colon", "GET", "HTTP/1.1 200 OK\nX : a\nContent-Length: 3\n\nabc", 502, "UPE", ""},
		{"no colon", "GET", "HTTP/1.1 200 OK\nnonsense\n\n", 502, "UPE", ""},
		{"huge head", "GET", "HTTP/1.1 200 OK\nX: " + strings.Repeat("x", 80<<10) + "\n\n", 502, "UPE", ""},
		{"endless informing", "GET", strings.Repeat("HTTP/1.1 100 Continue\n\n", 40), 502, "UPE", ""},
		{"switched unasked", "GET", "HTTP/1.1 101 Go\nConnection: upgrade\nUpgrade: x\n\n", 502, "UPE", ""},
		{"switched to nothing", "GET", "HTTP/1.1 101 Go\n\n", 502, "UPE", ""},
		{"204 with a length", "GET", "HTTP/1.1 204 No\nContent-Length: 3\n\nabc", 502, "UPE", ""},
		{"truncated", "GET", "HTTP/1.1 200 OK\nContent-Length: 10\n\nabc", 0, "", ""},
		{"truncated after a pause", "GET", "HTTP/1.1 200 OK\nContent-Length: 10\n\n|abc|", 0, "", ""},
		{"chunks cut", "GET", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n|", 0, "", ""},
		{"chunk cut", "GET", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n10\nabc|", 0, "", ""},
		{"bad chunk later", "GET", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n|zz\nab\n0\n\n", 0, "", ""},
		{"bad trailer", "GET", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n0\n|Content-Length: 5\n\n", 0, "", ""},
		{"bytes behind the body", "GET", ok + "HTTP/1.1 200 OK\nContent-Length: 4\n\nevil", 200, "", "abc"},
		{"bytes behind the body, late", "GET", ok + "|HTTP/1.1 200 OK\nContent-Length: 4\n\nevil", 200, "", "abc"},
		{"bytes behind chunks", "GET", "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\nevil", 200, "", "abc"},
		{"body for HEAD", "HEAD", ok, 200, "", ""},
		{"body for HEAD, late", "HEAD", "HTTP/1.1 200 OK\nContent-Length: 3\n\n|abc", 200, "", ""},
		{"body for 204", "GET", "HTTP/1.1 204 No\n\nevil", 204, "", ""},
		{"body for 304", "GET", "HTTP/1.1 304 Same\nContent-Length: 4\n\nevil", 304, "", ""},
		{"no reason", "GET", "HTTP/1.1 200\nContent-Length: 3\n\nabc", 200, "", "abc"},
		{"hints first", "GET", "HTTP/1.1 103 Hints\nLink: a\n\n" + ok, 200, "", "abc"},
		{"100 unasked", "GET", "HTTP/1.1 100 Continue\n\n|" + ok, 200, "", "abc"},
		{"the same length twice", "GET", "HTTP/1.1 200 OK\nContent-Length: 3\nX: y\n\nabc", 200, "", "abc"},
	} {
		for _, keep := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,keep=%v", test.name, keep), func(t *testing.T) {
				told := make(chan struct{}, 10) // a try that fails is made again
				up := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
					for {
						_ = c.SetReadDeadline(time.Now().Add(patience))
						req, err := http.ReadRequest(r)
						if err != nil {
							return
						}
						if req.URL.Path == "/good" {
							_, _ = io.WriteString(c, lines("HTTP/1.1 200 OK\nContent-Length: 4\n\ngood"))
							continue
						}
						tell(c, test.answer)
						told <- struct{}{}
						if !keep {
							return
						}
						if test.flag == "UC" || test.status == 0 { // not without an end
							return
						}
					}
				})
				r := newRig(t, map[string]string{"up": up}, to("up"))
				c := r.dial()
				c.send(get("/good")).want(200, "", "good") // so that the broken one meets a pooled connection
				c.send(strings.Replace(get("/broken"), "GET", test.method, 1))
				if test.status == 0 {
					resp, err := http.ReadResponse(c.r, nil)
					if err == nil {
						var all []byte
						if all, err = io.ReadAll(resp.Body); err == nil {
							t.Errorf("a broken answer looks complete: %q", all)
						}
					}
					c = r.dial()
				} else {
					for {
						resp, body := c.answer(test.method)
						if resp.StatusCode < 200 {
							continue
						}
						if resp.StatusCode != test.status || resp.Header.Get("X-Weir-Flag") != test.flag || test.flag == "" && body != test.body {
							t.Errorf("got %d flag %q %q", resp.StatusCode, resp.Header.Get("X-Weir-Flag"), body)
						}
						break
					}
				}
				<-told // bytes that come with the next request on its way are past telling
				for range 3 {
					c.send(get("/good")).want(200, "", "good")
				}
			})
		}
	}
}

// TestServerThatSpeaksFirst has bytes on the connection before a request.
func TestServerThatSpeaksFirst(t *testing.T) {
	up := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
		fmt.Fprint(c, lines("220 smtp.example.com\n"))
		_, _ = io.Copy(io.Discard, r)
	})
	r := newRig(t, map[string]string{"up": up}, to("up"))
	r.dial().send(get("/")).want(502, "UPE", "")
}
