package e2e_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// download is what clients get, and upload: bytes that no coding makes smaller.
var download = sync.OnceValue(func() []byte {
	data := make([]byte, 8<<20)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(data) // never fails
	return data
})

func sum(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

// clientHost is a host that serves what the suites ask for, and returns its address.
func clientHost(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "enough bytes for windows of one")
	})
	mux.HandleFunc("/whole", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "whole.bin", time.Unix(1e9, 0), bytes.NewReader(download()))
	})
	mux.HandleFunc("/pieces", func(w http.ResponseWriter, _ *http.Request) {
		for rest := download(); len(rest) > 0; {
			n := min(100_000, len(rest))
			_, _ = w.Write(rest[:n])
			rest = rest[n:]
			_ = http.NewResponseController(w).Flush()
		}
	})
	mux.HandleFunc("/middling", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(download()[:100_000]) })
	mux.HandleFunc("/sum", func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		_, _ = io.Copy(sum, r.Body)
		fmt.Fprintf(w, "%x", sum.Sum(nil))
	})
	mux.HandleFunc("/page", hello)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// TestSuiteH2Load has nghttp2's client ask for very much: in many connections and in many
// streams of few, with windows of a kilobyte, and with bodies.
func TestSuiteH2Load(t *testing.T) {
	t.Parallel()
	program := need(t, "h2load")
	f := startSuite(t, []suiteHost{{kind: "HTTPRoute", address: clientHost(t)}})
	body := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(body, download()[:100_000], 0o600); err != nil {
		t.Fatal(err)
	}
	scale := 10 // quick
	if *conformance {
		scale = 100
	}
	for _, load := range []struct {
		name, path string
		requests   int // times scale
		flags      []string
	}{
		{"connections", "/", 1000, []string{"-c", "100", "-m", "10"}},
		{"streams", "/", 1000, []string{"-c", "2", "-m", "1000"}},
		{"tiny windows", "/middling", 10, []string{"-c", "5", "-m", "20", "-w", "10", "-W", "16"}},
		{"bodies", "/sum", 20, []string{"-c", "5", "-m", "20", "-d", body}},
		{"HTTP/1.1", "/", 200, []string{"-c", "50", "--h1"}},
	} {
		for over, scheme := range map[string]string{"clear": "http", "tls": "https"} {
			n := load.requests * scale
			ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
			out, err := exec.CommandContext(ctx, program, append(load.flags, "-n", strconv.Itoa(n), f.url(scheme)+load.path)...).CombinedOutput()
			cancel()
			v := verdict{suite: "h2load, " + load.name, over: fmt.Sprintf("%s, %d requests", over, n), passed: 1}
			if want := fmt.Sprintf("%d succeeded, 0 failed, 0 errored, 0 timeout\nstatus codes: %[1]d 2xx", n); err != nil || !strings.Contains(string(out), want) {
				v.passed, v.failed = 0, 1
				t.Errorf("%v\n%s", err, out)
			}
			v.record()
		}
	}
}

// curl is one way to use it.
type curl struct {
	t       *testing.T
	program string
	flags   []string
	url     string
	version string // what it must say that it spoke
	dir     string
}

// do runs curl, with a file for each of n answers. It returns what it says of versions and
// statuses, and the answers.
func (c *curl) do(n int, path string, args ...string) (said string, answers [][]byte) {
	c.t.Helper()
	args = append(append([]string{"--silent", "--show-error", "--max-time", "60", "--write-out", "%{http_version} %{response_code}\n"}, c.flags...), args...)
	for i := range n {
		args = append(args, c.url+path, "--output", filepath.Join(c.dir, strconv.Itoa(i)))
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.program, args...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("%v\n%s\n%s", err, complaints.String(), out)
	}
	for i := range n {
		data, err := os.ReadFile(filepath.Join(c.dir, strconv.Itoa(i)))
		if err != nil {
			c.t.Fatal(err)
		}
		answers = append(answers, data)
	}
	return string(out), answers
}

// gets wants n answers that are the same.
func (c *curl) gets(n int, status, want, path string, args ...string) {
	c.t.Helper()
	said, answers := c.do(n, path, args...)
	if said != strings.Repeat(c.version+" "+status+"\n", n) {
		c.t.Errorf("%s: spoke %q, want %s and %s", path, said, c.version, status)
	}
	for _, a := range answers {
		if got := sum(a); got != want {
			c.t.Errorf("%s: got %d bytes with sum %s, want %s", path, len(a), got, want)
		}
	}
}

// TestSuiteCurl has curl fetch and send, in each version of HTTP that it has.
func TestSuiteCurl(t *testing.T) {
	t.Parallel()
	program := need(t, "curl")
	f := startSuite(t, []suiteHost{{kind: "HTTPRoute", address: clientHost(t)}})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, download(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, way := range []struct{ over, scheme, flag, version string }{
		{"HTTP/1.1, clear", "http", "--http1.1", "1.1"},
		{"HTTP/1.1, tls", "https", "--http1.1", "1.1"},
		{"HTTP/2 by prior knowledge", "http", "--http2-prior-knowledge", "2"},
		{"HTTP/2, tls", "https", "--http2", "2"},
		{"HTTP/1.1, Upgrade: h2c", "http", "--http2", "1.1"}, // which nobody must take up (RFC 9113 section 3.1)
		{"HTTP/2, TLS 1.2", "https", "--tls-max=1.2", "2"},
	} {
		with := func(check func(c *curl)) func(t *testing.T) {
			return func(t *testing.T) {
				check(&curl{
					t: t, program: program, url: f.url(way.scheme), version: way.version, dir: t.TempDir(),
					flags: append([]string{"--cacert", f.roots}, strings.Split(way.flag, "=")...),
				})
			}
		}
		cases := map[string]func(t *testing.T){
			"download": with(func(c *curl) { c.gets(1, "200", sum(download()), "/whole") }),
			"pieces":   with(func(c *curl) { c.gets(1, "200", sum(download()), "/pieces") }),
			"range":    with(func(c *curl) { c.gets(1, "206", sum(download()[5e6:6e6]), "/whole", "--range", "5000000-5999999") }),
			"parallel": with(func(c *curl) { c.gets(8, "200", sum(download()[:100_000]), "/middling", "--parallel") }),
			"in turn":  with(func(c *curl) { c.gets(8, "200", sum(download()[:100_000]), "/middling") }),
			"upload":   with(func(c *curl) { c.gets(1, "200", sum([]byte(sum(download()))), "/sum", "--upload-file", file) }),
			"upload of unknown length": with(func(c *curl) {
				c.gets(1, "200", sum([]byte(sum(download()))), "/sum", "--header", "Content-Length:", "--header", "Transfer-Encoding: chunked", "--upload-file", file)
			}),
			"expect": with(func(c *curl) {
				c.gets(1, "200", sum([]byte(sum(download()))), "/sum", "--header", "Expect: 100-continue", "--expect100-timeout", "30", "--data-binary", "@"+file)
			}),
			"head": with(func(c *curl) {
				said, answers := c.do(1, "/whole", "--head")
				if said != c.version+" 200\n" || !bytes.Contains(bytes.ToLower(answers[0]), []byte("content-length: 8388608")) {
					c.t.Errorf("%q\n%s", said, answers[0])
				}
			}),
			"slow reader": with(func(c *curl) { c.gets(1, "200", sum(download()[:100_000]), "/middling", "--limit-rate", "400k") }),
		}
		if way.flag == "--http2-prior-knowledge" {
			// curl 7.88 cannot use such a connection again, whoever serves.
			delete(cases, "in turn")
			delete(cases, "parallel")
		}
		judged(t, "curl", way.over, cases)
	}
	if out, err := exec.Command(program, "--version").Output(); err == nil && !bytes.Contains(out, []byte(" HTTP3")) {
		verdict{suite: "curl", over: "HTTP/3", note: "this curl has no HTTP/3; Chromium and quic-go speak it instead"}.record()
	}
}

// spki is what a browser knows a certificate's key by.
func spki(t *testing.T, certificate string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(certificate))
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(key[:])
}

// echoes opens WebSockets from a page, sends text and bytes, and gives what came back.
const echoes = `Promise.all([1, 2, 3].map(n => new Promise((yes, no) => {
	const s = new WebSocket("wss://" + location.host + "/socket"), got = [];
	const bytes = new Uint8Array(300000).map((_, i) => i * n);
	s.binaryType = "arraybuffer";
	s.onopen = () => { s.send("hello " + n); s.send(bytes); };
	s.onerror = () => no(new Error("socket " + n));
	s.onmessage = e => {
		got.push(typeof e.data == "string" ? e.data : new Uint8Array(e.data).every((b, i) => b == bytes[i]) && e.data.byteLength);
		if (got.length == 2) s.close(1000, "bye");
	};
	s.onclose = e => yes(got + " " + e.code + " " + e.wasClean);
}))).then(a => a.join("; "))`

// TestSuiteBrowser loads a page in a real browser over HTTP/2, which opens WebSockets on the
// same connection (RFC 8441).
func TestSuiteBrowser(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "access.log")
	f := startSuite(t, []suiteHost{
		{kind: "HTTPRoute", match: "{path: {value: /page}}", address: clientHost(t)},
		{kind: "HTTPRoute", match: "{path: {value: /socket}}", address: startWSEcho(t)},
	}, "--access-log", "json:"+log)
	var mu sync.Mutex
	var statuses []int
	b := newChromium(t, func(method string, params json.RawMessage) {
		var event struct{ Response struct{ Status int } }
		if method == "Network.webSocketHandshakeResponseReceived" && json.Unmarshal(params, &event) == nil {
			mu.Lock()
			defer mu.Unlock()
			statuses = append(statuses, event.Response.Status)
		}
	}, "--ignore-certificate-errors-spki-list="+spki(t, f.certificate))
	b.call("Page.navigate", map[string]any{"url": f.url("https") + "/page"}, nil)
	b.until("document.title == 'hello'")
	is := func(got, want string) func(t *testing.T) {
		return func(t *testing.T) {
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	}
	protocol := b.eval("performance.getEntriesByType('navigation')[0].nextHopProtocol")
	heard := b.eval(echoes)
	mu.Lock()
	defer mu.Unlock()
	clients := map[string][]string{} // by path
	eventually(t, func() (bool, string) {
		data, err := os.ReadFile(log)
		clear(clients)
		for _, m := range loggedHTTP2.FindAllSubmatch(data, -1) {
			clients[string(m[2])] = append(clients[string(m[2])], string(m[1]))
		}
		return len(clients["/page"]) > 0 && len(clients["/socket"]) == 3, fmt.Sprintf("%v\n%s", err, data)
	})
	judged(t, "Chromium", "HTTP/2, tls", map[string]func(t *testing.T){
		"page":           is(protocol, "h2"),
		"WebSockets":     is(heard, "hello 1,300000 1000 true; hello 2,300000 1000 true; hello 3,300000 1000 true"),
		"by CONNECT":     is(fmt.Sprint(statuses), "[200 200 200]"), // HTTP/1.1 answers 101
		"one connection": is(fmt.Sprint(slices.Compact(slices.Concat(clients["/page"], clients["/socket"]))), fmt.Sprint(clients["/page"][:1])),
	})
}

// loggedHTTP2 finds in the access log who asked for what over HTTP/2.
var loggedHTTP2 = regexp.MustCompile(`(?m)^\{.*"client":"([^"]+)".*"path":"([^"]+)","protocol":"HTTP/2",`)
