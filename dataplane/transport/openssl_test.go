package transport

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sServer is `openssl s_server`: what it is sent comes out of it, and what is typed is sent,
// or is a command.
type sServer struct {
	t     *testing.T
	typed io.Writer
	lines *bufio.Scanner
}

// expect reads on until a line begins with s, and returns the line.
func (s *sServer) expect(prefix string) string {
	s.t.Helper()
	for s.lines.Scan() {
		if line := s.lines.Text(); strings.HasPrefix(line, prefix) {
			return line
		}
	}
	s.t.Fatalf("openssl never said %q: %v", prefix, s.lines.Err())
	return ""
}

func (s *sServer) enter(line string) {
	s.t.Helper()
	if _, err := io.WriteString(s.typed, line+"\n"); err != nil {
		s.t.Fatal(err)
	}
}

// startOpenSSL returns a running server and a connection to it after the handshake.
func startOpenSSL(t *testing.T, args ...string) (*sServer, *Conn) {
	t.Helper()
	pair, pool := certificate(t)
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pair.pem")
	both := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	if err := os.WriteFile(file, both, 0o600); err != nil {
		t.Fatal(err)
	}
	program := exec.CommandContext(t.Context(), "openssl", append([]string{"s_server", "-accept", "127.0.0.1:0", "-cert", file, "-key", file}, args...)...)
	program.WaitDelay = 10 * time.Second
	typed, err := program.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatalf("make deps installs it: %v", err)
	}
	s := &sServer{t, typed, bufio.NewScanner(out)}
	address := strings.TrimPrefix(s.expect("ACCEPT "), "ACCEPT ")
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c := New(nc)
	t.Cleanup(func() {
		c.Close()
		typed.Close()
		_ = program.Process.Kill()
		_ = program.Wait()
	})
	c.Secure(func(nc net.Conn) *tls.Conn {
		return tls.Client(nc, &tls.Config{ServerName: "a.test", RootCAs: pool})
	})
	if err := c.Handshake(Wait{By: Now().Add(20 * time.Second)}, nil); err != nil {
		t.Fatal(err)
	}
	return s, c
}

// ping makes one exchange, in which the test is the server.
func (s *sServer) ping(c *Conn) {
	s.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s.lines.Scan() && s.lines.Text() != "ping" { // it says more than that
		}
		_, _ = io.WriteString(s.typed, "pong\n")
	}()
	var b Buffer
	defer b.Release()
	c.Rested = true
	_, sent, err := c.Exchange([]byte("ping\n"), &b, Wait{By: Now().Add(20 * time.Second)})
	if <-done; !sent || err != nil || string(b.Bytes()) != "pong\n" {
		s.t.Fatalf("got %v %v %q", sent, err, b.Bytes())
	}
}

// TestOpenSSLOnIdleConnections has another implementation send what is no answer: tickets after
// the handshake, and new keys whenever it likes. Then it ends the connection.
func TestOpenSSLOnIdleConnections(t *testing.T) {
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		t.Run(version[1:], func(t *testing.T) {
			s, c := startOpenSSL(t, version, "-num_tickets", "4")
			for range 3 {
				if c.Stale() {
					t.Fatal("stale after the handshake")
				}
				s.ping(c)
			}
			if version == "-tls1_3" {
				for _, command := range []string{"k", "K"} { // new keys of its, and of both
					s.enter(command)
					arrived(c)
					if c.Stale() {
						t.Fatal("stale after new keys")
					}
					s.ping(c)
					s.ping(c)
				}
			}
			s.enter("Q")
			arrived(c)
			if !c.Stale() {
				t.Error("not stale after the end")
			}
		})
	}
}
