package stream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weir.dev/weir/model"
)

// TestBytesGoBothWays says something, ends its side, and still gets the answer: half-close.
func TestBytesGoBothWays(t *testing.T) {
	at := host(t, func(c *net.TCPConn) {
		all, err := io.ReadAll(c) // ends only if the client's end is passed on
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(c, "got %d: %s", len(all), all)
	})
	r := newRig(t, []string{at}, nil)
	c := r.connect()
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil || string(answer) != "got 5: hello" {
		t.Fatalf("got %q, %v", answer, err)
	}
	rec := r.record()
	if rec.Flag != "" || rec.Route != name || rec.Cluster != "db" || rec.Upstream != at || rec.Protocol != "TCP" ||
		rec.BytesIn != 5 || rec.BytesOut != 12 || rec.Client != c.LocalAddr().String() {
		t.Errorf("logged %+v", rec)
	}
	stats, _ := r.metrics.StreamStats(name)
	if stats.Requests != 1 || stats.BytesIn != 5 || stats.BytesOut != 12 || stats.Retries != 0 {
		t.Errorf("counted %+v", stats)
	}
}

// TestHostSpeaksFirst: no byte of the client is waited for.
func TestHostSpeaksFirst(t *testing.T) {
	r := newRig(t, []string{host(t, func(c *net.TCPConn) { _, _ = io.WriteString(c, "220 ready") })}, nil)
	got, err := io.ReadAll(r.connect())
	if err != nil || string(got) != "220 ready" {
		t.Fatalf("got %q, %v", got, err)
	}
}

// TestHostEndsFirst has the host end its side before the client has sent all.
func TestHostEndsFirst(t *testing.T) {
	sum := make(chan string, 1)
	r := newRig(t, []string{host(t, func(c *net.TCPConn) {
		_ = c.CloseWrite()
		h := sha256.New()
		_, err := io.Copy(h, c)
		sum <- fmt.Sprintf("%x %v", h.Sum(nil), err)
	})}, nil)
	c := r.connect()
	if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
		t.Fatalf("got %q, %v", b, err)
	}
	data := bytes.Repeat([]byte("0123456789"), 300_000)
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := <-sum, fmt.Sprintf("%x <nil>", sha256.Sum256(data)); got != want {
		t.Fatalf("the host got %s, want %s", got, want)
	}
	if rec := r.record(); rec.Flag != "" {
		t.Errorf("logged %+v", rec)
	}
}

// TestResetsArePassedOn: who cannot have all that was sent must not think that it has.
func TestResetsArePassedOn(t *testing.T) {
	for _, bulk := range []bool{false, true} {
		part := "part"
		if bulk { // so that it is spliced
			part = strings.Repeat("part", 1<<20)
		}
		t.Run(fmt.Sprintf("host, bulk %v", bulk), func(t *testing.T) {
			got := make(chan struct{})
			r := newRig(t, []string{host(t, func(c *net.TCPConn) {
				_, _ = io.WriteString(c, part)
				<-got
				_ = c.SetLinger(0)
			})}, nil)
			c := r.connect()
			if _, err := io.CopyN(io.Discard, c, int64(len(part))); err != nil {
				t.Fatal(err)
			}
			close(got)
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client got %v, want a reset", err)
			}
			if rec := r.record(); rec.Flag != "UR" || rec.Blame != "upstream" || rec.BytesOut != int64(len(part)) {
				t.Errorf("logged %+v", rec)
			}
		})
		t.Run(fmt.Sprintf("client, bulk %v", bulk), func(t *testing.T) {
			got, end := make(chan struct{}), make(chan error, 1)
			r := newRig(t, []string{host(t, func(c *net.TCPConn) {
				_, _ = io.CopyN(io.Discard, c, int64(len(part)))
				close(got)
				_, err := c.Read(make([]byte, 1))
				end <- err
			})}, nil)
			c := r.connect()
			if _, err := io.WriteString(c, part); err != nil {
				t.Fatal(err)
			}
			<-got
			_ = c.SetLinger(0)
			_ = c.Close()
			if err := <-end; !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the host got %v, want a reset", err)
			}
			if rec := r.record(); rec.Flag != "DC" || rec.Blame != "client" || rec.BytesIn != int64(len(part)) {
				t.Errorf("logged %+v", rec)
			}
		})
	}
}

// TestResetAfterHalfClose: the host resets when the client's stream has long ended, and then
// the other way round. Nobody reads from who has ended, and it must be seen all the same.
func TestResetAfterHalfClose(t *testing.T) {
	t.Run("client", func(t *testing.T) {
		got, end := make(chan struct{}), make(chan error, 1)
		r := newRig(t, []string{host(t, func(c *net.TCPConn) {
			_, _ = io.ReadAll(c) // the client has ended, and the host thinks
			close(got)
			for { // until writing fails
				if _, err := c.Write([]byte("x")); err != nil {
					end <- err
					return
				}
				time.Sleep(time.Millisecond)
			}
		})}, func(_ *rig, s *model.Snapshot) { s.Streams[0].Idle = 0 })
		c := r.connect()
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		<-got
		_ = c.SetLinger(0)
		_ = c.Close()
		if err := <-end; err == nil {
			t.Error("the host was not told")
		}
		if rec := r.record(); rec.Flag != "DC" {
			t.Errorf("logged %+v", rec)
		}
	})
	t.Run("silent", func(t *testing.T) {
		got, end := make(chan struct{}), make(chan error, 1)
		r := newRig(t, []string{host(t, func(c *net.TCPConn) {
			_, _ = io.ReadAll(c)
			close(got)
			raw, _ := c.SyscallConn()
			looked := false
			_ = raw.Read(func(uintptr) bool { // until there is something new: the reset
				again := looked
				looked = true
				return again
			})
			_, err := c.Read(make([]byte, 1))
			_, again := c.Write([]byte("x"))
			end <- errors.Join(err, again)
		})}, func(_ *rig, s *model.Snapshot) { s.Streams[0].Idle = 0 })
		c := r.connect()
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		<-got
		_ = c.SetLinger(0)
		_ = c.Close()
		// Nobody sends anything: only looking after the client's connection shows its end.
		if rec := r.record(); rec.Flag != "DC" {
			t.Errorf("logged %+v", rec)
		}
		<-end
	})
}

// TestAGigabyte goes both ways at once, by other ways (splice, buffers) and in other pieces, and
// arrives as it was sent.
func TestAGigabyte(t *testing.T) {
	total := int64(1 << 30)
	if testing.Short() || raceEnabled {
		total = 64 << 20
	}
	const long = 5 * time.Minute
	at := host(t, func(c *net.TCPConn) {
		_ = c.SetDeadline(time.Now().Add(long))
		echo(c)
	})
	r := newRig(t, []string{at}, nil)
	c := r.connect()
	_ = c.SetDeadline(time.Now().Add(long))
	sent, got := sha256.New(), sha256.New()
	var work sync.WaitGroup
	work.Go(func() {
		random := rand.NewChaCha8([32]byte{1})
		sizes := rand.New(rand.NewPCG(1, 2))
		piece := make([]byte, 1<<20)
		for left := total; left > 0; {
			n := min(left, 1+sizes.Int64N(int64(len(piece))))
			if sizes.IntN(4) == 0 {
				n = min(n, 1+sizes.Int64N(3000))
			}
			_, _ = random.Read(piece[:n])
			sent.Write(piece[:n])
			if _, err := c.Write(piece[:n]); err != nil {
				t.Error(err)
				return
			}
			left -= n
		}
		_ = c.CloseWrite()
	})
	n, err := io.Copy(struct{ hash.Hash }{got}, c)
	work.Wait()
	if err != nil || n != total || !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		t.Fatalf("%d of %d bytes came back, %v; the same: %v", n, total, err, bytes.Equal(sent.Sum(nil), got.Sum(nil)))
	}
	if rec := r.record(); rec.Flag != "" || rec.BytesIn != total || rec.BytesOut != total {
		t.Errorf("logged %+v", rec)
	}
	stats, _ := r.metrics.StreamStats(name)
	if stats.BytesIn != uint64(total) || stats.BytesOut != uint64(total) {
		t.Errorf("counted %d and %d bytes, want %d", stats.BytesIn, stats.BytesOut, total)
	}
	if hs, _ := r.metrics.HostStats("db", at); hs.BytesIn != uint64(total) {
		t.Errorf("counted %d bytes to the host, want %d", hs.BytesIn, total)
	}
}

// TestThousandConnections has them all open at once, each with its own bytes.
func TestThousandConnections(t *testing.T) {
	n := 1000
	if raceEnabled {
		n = 200
	}
	r := newRig(t, []string{host(t, echo), host(t, echo)}, nil)
	conns := make([]*net.TCPConn, n)
	for i := range conns {
		conns[i] = r.connect()
	}
	for round := range 3 {
		for i, c := range conns {
			text := fmt.Sprintf("connection %d, round %d", i, round)
			if got := say(t, c, text); got != text {
				t.Fatalf("got %q, want %q", got, text)
			}
		}
	}
	loads := []int64{}
	for _, h := range r.clusters.Hosts() {
		loads = append(loads, h.InFlight)
	}
	if loads[0]+loads[1] != int64(n) || loads[0] < int64(n/3) || loads[1] < int64(n/3) {
		t.Errorf("the hosts have %v connections of %d: LeastRequest should share them out", loads, n)
	}
	for _, c := range conns {
		_ = c.Close()
	}
	if got := len(r.records()); got != n {
		t.Errorf("%d records of %d connections", got, n)
	}
}

// TestOtherHostIsTried: what has not been sent is not lost with a host that is not there.
func TestOtherHostIsTried(t *testing.T) {
	gone, there := dead(t), host(t, echo)
	r := newRig(t, []string{gone, there}, nil)
	for i := range 20 {
		c := r.connect()
		if got := say(t, c, "hello"); got != "hello" {
			t.Fatalf("connection %d: %q", i, got)
		}
		_ = c.Close()
	}
	list := r.records()
	tried := 0
	for _, rec := range list {
		if rec.Flag != "" || rec.Upstream != there {
			t.Errorf("logged %+v", rec)
		}
		for _, a := range rec.Attempts {
			tried++
			if a.Host != gone || a.Flag != "UF" || !strings.Contains(a.Error, "refused") {
				t.Errorf("attempt %+v", a)
			}
		}
	}
	stats, _ := r.metrics.StreamStats(name)
	if tried == 0 || stats.Retries != uint64(tried) {
		t.Errorf("%d tries failed, %d retries counted", tried, stats.Retries)
	}
}

// TestRefusals: each is a reset, told in log and metrics.
func TestRefusals(t *testing.T) {
	for want, tc := range map[string]struct {
		hosts  []string
		change func(r *rig, s *model.Snapshot)
		detail string
	}{
		"UF": {[]string{dead(t), dead(t), dead(t), dead(t)}, nil, "refused"},
		"UH": {nil, nil, "cluster db: no host"},
		"NR": {nil, func(_ *rig, s *model.Snapshot) { s.Listeners[0].Streams[0].Route = "" }, "no route"},
		"PA": {nil, func(_ *rig, s *model.Snapshot) {
			s.Streams[0].Refusal = &model.Refusal{Flag: "PA", Reason: "an AccessPolicy is not served yet"}
		}, "AccessPolicy"},
		"NC": {nil, func(_ *rig, s *model.Snapshot) {
			s.Streams[0].Split.Arms[0] = model.Arm{Weight: 1, Refusal: &model.Refusal{Flag: "NC", Reason: "no Service ns/db"}}
		}, "no Service"},
		"weight": {nil, func(_ *rig, s *model.Snapshot) { s.Streams[0].Split.Arms[0].Weight = 0 }, "weight"},
	} {
		t.Run(want, func(t *testing.T) {
			r := newRig(t, tc.hosts, tc.change)
			c, err := net.Dial("tcp", r.addr)
			if err == nil { // else the reset has come at once
				_, err = c.Read(make([]byte, 1))
				_ = c.Close()
			}
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("got %v, want a reset", err)
			}
			rec := r.record()
			flag, route := want, name
			switch want {
			case "weight":
				flag = "NC"
			case "NR":
				route = ""
			case "UF":
				if len(rec.Attempts) != maxTries {
					t.Errorf("%d tries, want %d", len(rec.Attempts), maxTries)
				}
			}
			if rec.Flag != flag || rec.Route != route || !strings.Contains(rec.Detail, tc.detail) {
				t.Errorf("logged %+v", rec)
			}
			series := "unmatched"
			if route != "" {
				series = route
			}
			stats, _ := r.metrics.StreamStats(series)
			if stats.Requests != 1 || stats.Flags[model.ParseFlag(flag)] != 1 {
				t.Errorf("counted %+v", stats)
			}
		})
	}
}

// TestWeights: arms get their shares of connections.
func TestWeights(t *testing.T) {
	count := map[string]int{}
	var mu sync.Mutex
	named := func(name string) string {
		return host(t, func(c *net.TCPConn) {
			mu.Lock()
			count[name]++
			mu.Unlock()
		})
	}
	a, b := named("a"), named("b")
	r := newRig(t, []string{a}, func(_ *rig, s *model.Snapshot) {
		s.Clusters = append(s.Clusters, &model.Cluster{Name: "eb", ConnectTimeout: time.Second, Balancing: model.Balancing{Algorithm: model.Random}})
		s.Endpoints = append(s.Endpoints, &model.EndpointSet{Cluster: "eb", Endpoints: []model.Endpoint{{Address: netip.MustParseAddrPort(b), Weight: 1}}})
		s.Streams[0].Split.Arms[0].Weight = 3
		s.Streams[0].Split.Arms = append(s.Streams[0].Split.Arms, model.Arm{Name: "b", Weight: 1, Cluster: "eb"})
	})
	for range 200 {
		if _, err := io.ReadAll(r.connect()); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if count["a"] < 120 || count["a"] > 180 || count["a"]+count["b"] != 200 {
		t.Errorf("shares %v, want about 150 and 50", count)
	}
}

// TestHashByClient: with an algorithm that hashes, a client comes to the same host as often as it
// comes, which need not be another client's.
func TestHashByClient(t *testing.T) {
	var hosts []string
	for i := range 5 {
		hosts = append(hosts, host(t, func(c *net.TCPConn) { fmt.Fprint(c, i) }))
	}
	r := newRig(t, hosts, func(_ *rig, s *model.Snapshot) { s.Clusters[0].Balancing.Algorithm = model.Maglev })
	seen := map[string]bool{}
	for client := range 20 {
		from := &net.TCPAddr{IP: net.IPv4(127, 0, 3, byte(client+1))}
		var answer string
		for i := range 3 {
			c, err := (&net.Dialer{LocalAddr: from}).DialContext(context.Background(), "tcp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(c)
			_ = c.Close()
			if err != nil || i > 0 && string(got) != answer {
				t.Fatalf("client %d came to host %s and then to %s, %v", client, answer, got, err)
			}
			answer = string(got)
		}
		seen[answer] = true
	}
	if len(seen) < 3 {
		t.Errorf("20 clients came to the hosts %v only", seen)
	}
}

// TestBytesAreNotHTTP: whatever the host of a backend is said to speak, what a stream route
// carries to it is what the client says, inside TLS where the backend has it, and nothing is
// agreed on in the client's name.
func TestBytesAreNotHTTP(t *testing.T) {
	own, ca := certificate(t)
	for _, protocol := range []model.Protocol{model.ProtocolAuto, model.ProtocolHTTP1, model.ProtocolHTTP2, model.ProtocolH2C, model.ProtocolTCP} {
		for _, secured := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, TLS %v", protocol, secured), func(t *testing.T) {
				agreed := make(chan string, 1)
				at := host(t, func(c *net.TCPConn) {
					if !secured {
						echo(c)
						return
					}
					s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{own}, NextProtos: []string{"h2", "http/1.1"}})
					if err := s.Handshake(); err != nil {
						t.Error(err)
						return
					}
					agreed <- s.ConnectionState().NegotiatedProtocol
					_, _ = io.Copy(s, s)
					_ = s.CloseWrite()
				})
				r := newRig(t, []string{at}, func(_ *rig, s *model.Snapshot) {
					s.Clusters[0].Protocol = protocol
					if secured {
						s.Clusters[0].TLS = &model.UpstreamTLS{Hostname: "example.com", CAs: ca}
					}
				})
				c := r.connect()
				const text = "GET / HTTP/1.1\r\nHost: h\r\n\r\nPRI * HTTP/2.0 and what not"
				if got := say(t, c, text); got != text {
					t.Errorf("got %q", got)
				}
				if secured {
					if got := <-agreed; got != "" {
						t.Errorf("%q has been agreed on", got)
					}
				}
				_ = c.CloseWrite()
				if _, err := io.ReadAll(c); err != nil {
					t.Error(err)
				}
				if rec := r.record(); rec.Flag != "" || rec.BytesIn != int64(len(text)) || rec.BytesOut != int64(len(text)) {
					t.Errorf("logged %+v", rec)
				}
			})
		}
	}
}

// TestPassthroughCountsTheHello: what was read of a handshake to see where it goes has been
// carried like the rest.
func TestPassthroughCountsTheHello(t *testing.T) {
	own, chain := certificate(t)
	came := make(chan int64, 1)
	at := host(t, func(c *net.TCPConn) {
		counted := &counter{Conn: c}
		s := tls.Server(counted, &tls.Config{Certificates: []tls.Certificate{own}})
		_, _ = io.Copy(s, s)
		_ = s.CloseWrite()
		came <- counted.read
	})
	r := newRig(t, []string{at}, func(_ *rig, s *model.Snapshot) { s.Listeners[0].Streams[0].Hostname = "example.com" })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(chain))
	c := tls.Client(r.connect(), &tls.Config{ServerName: "example.com", RootCAs: roots})
	if got := say(t, c, "hello"); got != "hello" {
		t.Errorf("got %q", got)
	}
	_ = c.CloseWrite()
	if _, err := io.ReadAll(c); err != nil {
		t.Error(err)
	}
	_ = c.Close()
	rec := r.record()
	if want := <-came; rec.BytesIn != want || rec.Host != "example.com" || rec.Flag != "" {
		t.Errorf("the host got %d bytes; logged %+v", want, rec)
	}
	if stats, _ := r.metrics.StreamStats(name); int64(stats.BytesIn) != rec.BytesIn {
		t.Errorf("counted %d bytes, logged %d", stats.BytesIn, rec.BytesIn)
	}
}

// counter counts what is read.
type counter struct {
	net.Conn
	read int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read += int64(n)
	return n, err
}
