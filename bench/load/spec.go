// Package load is the two ends of a benchmark: a generator that plays clients
// and an upstream that answers for the proxies. Each is one thread with one
// epoll set that allocates nothing while it measures, so that on the core they
// share they cost a fraction of what any proxy costs.
//
// The generator reads every answer to its end and refuses a run in which one
// failed; it is not a general HTTP client.
package load

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Spec is one run of the generator, as JSON on its standard input.
type Spec struct {
	Address     string        // host:port to connect to
	Connections int           // kept open for the whole run
	Warmup      time.Duration // load that is not measured
	Window      time.Duration // load that is measured
	Rate        int           // requests per second, evenly spaced; 0: each connection sends when it may
	Pipeline    int           // requests in flight on a connection, at least 1; with Rate always 1
	Client      Client        // who plays the clients
	Request     Request
	Watch       map[string]int // process trees whose CPU time is read at both ends of the window
}

// Client is a kind of client.
type Client string

// The clients. All but the first are by others, because they speak what this package does not.
const (
	Plain      Client = ""           // HTTP/1.1 in clear text, by this package
	TLS        Client = "tls"        // HTTP/1.1 over TLS, by h2load
	HTTP2      Client = "http2"      // HTTP/2 over TLS, by h2load; Pipeline is the streams of a connection
	GRPC       Client = "grpc"       // unary calls over HTTP/2 in clear text, by h2load; Pipeline as before
	GRPCStream Client = "grpcstream" // one call a connection slot, a message after the other, by net/http
	Handshakes Client = "handshakes" // a connection a request, full handshakes of TLS 1.3, by crypto/tls
	HTTP3      Client = "http3"      // by quic-go; Pipeline as before
)

// Request is what every request of a run looks like.
type Request struct {
	Path    string // names the answer, as Upstream reads it
	Answer  int    // bytes that the answer's body must have
	Hosts   int    // number of hosts to spread requests over, as Host names them; 0 is one fixed host
	Headers int    // extra header fields
	Body    int    // bytes of a body; more than 0 makes the method POST
}

// Host names the i-th of many hosts.
func Host(i int) string { return fmt.Sprintf("h%05d.bench.test", i) }

// plainHost is the host when a Request has no Hosts.
const plainHost = "bench.test"

// Result is what a run found, as JSON on the generator's standard output.
type Result struct {
	Completed  uint64                   // answers inside the window
	Total      uint64                   // answers in the whole run
	Elapsed    time.Duration            // the true length of the window
	BadStatus  uint64                   // answers other than 2xx, warm-up included
	BadLength  uint64                   // answers with a body of another length
	Broken     uint64                   // connections that failed or that the other end closed
	Unfinished uint64                   // paced requests without an answer at the end
	Why        string                   // the first failure in words
	Latency    Quantiles                // from the intended send time of a paced request, else from its sending
	Late       Quantiles                // how late the generator woke up for its paced requests
	CPU        map[string]time.Duration // per name in Spec.Watch, inside the window
	Generator  time.Duration            // the generator's own CPU time inside the window
	Machine    time.Duration            // of all cores and programs together
}

// Failed says why a result must not be used; it is empty for a clean run.
func (r *Result) Failed() string {
	if r.BadStatus+r.BadLength+r.Broken+r.Unfinished == 0 {
		if r.Completed == 0 {
			return "no request completed"
		}
		return ""
	}
	return fmt.Sprintf("%d bad status, %d wrong length, %d broken connections, %d unfinished: %s",
		r.BadStatus, r.BadLength, r.Broken, r.Unfinished, r.Why)
}

// wires returns the bytes of one request per host, in an order that is
// shuffled but the same in every run.
func (r Request) wires() [][]byte {
	hosts := []string{plainHost}
	if r.Hosts > 0 {
		hosts = hosts[:0]
		for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(r.Hosts) {
			hosts = append(hosts, Host(i))
		}
	}
	all := make([][]byte, len(hosts))
	for i, host := range hosts {
		all[i] = r.wire(host)
	}
	return all
}

func (r Request) wire(host string) []byte {
	var b bytes.Buffer
	method := "GET"
	if r.Body > 0 {
		method = "POST"
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, r.Path, host)
	b.WriteString("User-Agent: weir-bench/1\r\nAccept: */*\r\nAccept-Language: en\r\nX-Client: bench\r\n")
	b.WriteString(fields(r.Headers))
	if r.Body > 0 {
		fmt.Fprintf(&b, "Content-Type: application/octet-stream\r\nContent-Length: %d\r\n", r.Body)
	}
	b.WriteString("\r\n")
	b.WriteString(strings.Repeat("p", r.Body))
	return b.Bytes()
}

// fields returns n header fields of about 45 bytes.
func fields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "X-Bench-Field-%02d: %s\r\n", i, strings.Repeat("v", 26))
	}
	return b.String()
}
