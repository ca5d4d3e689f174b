// Package peer writes the configuration of Weir and of the proxies that it is
// compared with, as equal as they allow, and knows how each is started.
//
// Equal means: keep-alive on both sides, four upstream ports by least requests,
// X-Forwarded-For, X-Forwarded-Proto and X-Request-Id added, no compression, no
// access log unless asked for, bodies streamed, the same number of workers.
// Differences says what could not be made equal.
package peer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"weir.dev/weir/bench/load"
)

// Setup is what a proxy has to do.
type Setup struct {
	Dir       string // an empty folder for its files, absolute
	Port      int    // to listen on, at 127.0.0.1
	AdminPort int    // for Weir
	Upstream  []int  // ports at 127.0.0.1
	Routes    int    // one per host, as load.Host names them; 0 is one route for everything
	Workers   int    // at least 1
	Log       string // access log, JSON, one line a request; empty is none
	Guarded   bool   // Weir: with every protection on
	Copied    bool   // Weir: a tenth of the requests are copied
	Front     Wire   // what clients speak
	Back      Wire   // what upstreams speak: HTTP1, H2C or GRPC
	Cert, Key string // PEM files, for fronts with TLS
}

// Wire is what is spoken on one side of a proxy.
type Wire string

// The wires.
const (
	HTTP1 Wire = ""      // HTTP/1.1 in clear text
	TLS   Wire = "tls"   // HTTP/2 or HTTP/1.1 over TLS 1.3, as the client likes
	H2C   Wire = "h2c"   // HTTP/2 in clear text
	GRPC  Wire = "grpc"  // the same, for calls
	HTTP3 Wire = "http3" // over QUIC
	Bytes Wire = "bytes" // whatever it is: TCP, both sides
)

// ErrCannot is why a proxy is left out: it does not do what the setup asks for.
var ErrCannot = errors.New("it does not do this")

// Start is how to run a proxy.
type Start struct {
	Args   []string
	Env    []string
	Stdout string // a file to append standard output to; empty is the proxy's own log
}

// Proxy is one of the compared programs.
type Proxy struct {
	Name       string   // as in the tables
	Program    string   // looked up on PATH
	Version    []string // arguments that print its version
	Difference string   // what is not equal to the others, in one sentence
	Configure  func(Setup) (Start, error)
}

// Peers returns the proxies that Weir is compared with.
func Peers() []Proxy {
	return []Proxy{
		{Name: "nginx", Program: "nginx", Version: []string{"-v"}, Configure: nginx, Difference: "one process without a master " +
			"(two workers: a master and reuseport); buffers of 16 KiB, eight a request; no temporary files; its access log is buffered, 64 KiB or one second"},
		{Name: "haproxy", Program: "haproxy", Version: []string{"-v"}, Configure: haproxy, Difference: "buffers of 16 KiB (its default); " +
			"no access log to a file of its own: lines go to standard output, which is the file, one write each"},
		{Name: "envoy", Program: "envoy", Version: []string{"--version"}, Configure: envoy, Difference: "one worker thread beside its main " +
			"thread, both on the core; circuit breakers raised out of the way; its own x-envoy headers stay on"},
		{Name: "caddy", Program: "caddy", Version: []string{"version"}, Configure: caddy, Difference: "also adds X-Forwarded-Host and Via; " +
			"matches hosts one after the other"},
	}
}

// Weir returns Weir as the program at path. Extra arguments go behind its own;
// in logArgs, which are used when there is an access log, {file} is its path.
func Weir(path string, extra, logArgs []string) Proxy {
	return Proxy{
		Name: "weir", Program: path, Version: []string{"version"},
		Difference: "counters and histograms as they are by default; its admin port is open",
		Configure: func(s Setup) (Start, error) {
			return weir(s, extra, logArgs)
		},
	}
}

// hosts returns the host names of a setup, none for a single route.
func (s Setup) hosts() []string {
	var all []string
	for i := range s.Routes {
		all = append(all, load.Host(i))
	}
	return all
}

// each formats every upstream port with format and joins them.
func (s Setup) each(format, between string) string {
	var all []string
	for _, port := range s.Upstream {
		all = append(all, fmt.Sprintf(format, port))
	}
	return strings.Join(all, between)
}

// write creates a file in the folder of s and returns its path.
func (s Setup) write(name, text string) (string, error) {
	path := filepath.Join(s.Dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}
