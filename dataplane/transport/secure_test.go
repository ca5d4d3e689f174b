package transport

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// trickle passes everything on a byte at a time.
type trickle struct{ net.Conn }

func (t trickle) Write(p []byte) (int, error) {
	for i := range p {
		if n, err := t.Conn.Write(p[i : i+1]); err != nil {
			return i + n, err
		}
	}
	return len(p), nil
}

// serverPair returns the server's end, after its handshake, and its client. own is what the
// server's end lies on.
func serverPair(t *testing.T, own, other net.Conn) (*Conn, *tls.Conn) {
	t.Helper()
	cert, pool := certificate(t)
	c := New(own)
	c.Secure(func(nc net.Conn) *tls.Conn {
		return tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{cert}, DynamicRecordSizingDisabled: true})
	})
	client := tls.Client(other, &tls.Config{ServerName: "a.test", RootCAs: pool})
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	if err := c.Handshake(Wait{By: Now().Add(20 * time.Second)}, nil); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		other.Close()
	})
	return c, client
}

// TestTimeoutsDoNotBreakTLS: reads that time out in the middle of records lose nothing.
func TestTimeoutsDoNotBreakTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		// A pipe's write returns when its bytes are read, so each waits for the next read.
		c, client := serverPair(t, near, trickle{far})
		text := make([]byte, 5000)
		_, _ = rand.Read(text)
		go func() {
			for rest := text; len(rest) > 0; {
				n := min(len(rest), 700)
				_, _ = client.Write(rest[:n])
				rest = rest[n:]
				time.Sleep(35 * time.Millisecond)
			}
			_ = client.CloseWrite()
		}()
		var got bytes.Buffer
		var b Buffer
		timeouts := 0
		for {
			n, err := c.ReadInto(&b, Wait{By: Now().Add(10 * time.Millisecond)})
			got.Write(b.Bytes())
			b.Consume(n)
			if errors.Is(err, ErrTimeout) {
				timeouts++
				continue
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Error(err)
				}
				break
			}
		}
		b.Release()
		if !bytes.Equal(got.Bytes(), text) || timeouts == 0 {
			t.Errorf("%d of %d bytes, %d timeouts", got.Len(), len(text), timeouts)
		}
	})
}

// TestWriteOverTLSWaitsForProgress: the gap counts from the last byte that the peer took, and
// ends the write when the peer takes nothing.
func TestWriteOverTLSWaitsForProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		slow := &slowReader{Conn: far, pause: 900 * time.Millisecond}
		c, client := serverPair(t, near, slow)
		text := make([]byte, 64<<10)
		_, _ = rand.Read(text)
		got := make(chan []byte, 1)
		slow.slow.Store(true)
		go func() {
			b := make([]byte, len(text))
			_, _ = io.ReadFull(client, b)
			got <- b
		}()
		start := time.Now()
		if err := c.Write(text, Wait{Gap: time.Second}); err != nil {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if !bytes.Equal(<-got, text) || time.Since(start) < 2*time.Second {
			t.Errorf("wrong bytes, or not slow: %v", time.Since(start))
		}
		start = time.Now() // nobody reads any more
		if err := c.Write(text, Wait{Gap: time.Second}); !errors.Is(err, ErrTimeout) || time.Since(start) != time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// TestEndOverTLSWaits: the end of a stream that cannot be told yet is told when the peer has
// taken what came before.
func TestEndOverTLSWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c, client := serverPair(t, near, far)
		end := make(chan error, 1)
		go func() {
			time.Sleep(5 * time.Second)
			_, err := client.Read(make([]byte, 1))
			end <- err
		}()
		if err := c.EndWrite(Wait{Gap: time.Minute}); err != nil {
			t.Error(err)
		}
		if err := <-end; !errors.Is(err, io.EOF) {
			t.Errorf("the client got %v, want the end", err)
		}
	})
}

// slowReader pauses before each read, and takes 10 KiB at a time.
type slowReader struct {
	net.Conn
	slow  atomic.Bool
	pause time.Duration
}

func (s *slowReader) Read(p []byte) (int, error) {
	if s.slow.Load() {
		time.Sleep(s.pause)
	}
	return s.Conn.Read(p[:min(len(p), 10<<10)])
}

// counting counts the bytes that come.
type counting struct {
	net.Conn
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n += n
	return n, err
}

// TestEndsOverTLS: an orderly end is said so, a broken off answer is not.
func TestEndsOverTLS(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(c *Conn)
		want error // nil: any but io.EOF
	}{
		{"close", func(c *Conn) { _ = c.Close() }, io.EOF},
		{"close write", func(c *Conn) { _ = c.CloseWrite() }, io.EOF},
		{"abort", (*Conn).Abort, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tcp, other := pairOfTCP(t)
			wire := &counting{Conn: other}
			c, client := serverPair(t, tcp.nc, wire)
			if err := c.Write([]byte("half an answer"), Wait{}); err != nil {
				t.Fatal(err)
			}
			var b [100]byte
			if _, err := client.Read(b[:]); err != nil {
				t.Fatal(err)
			}
			before := wire.n
			tt.end(c)
			_ = client.SetReadDeadline(time.Now().Add(20 * time.Second))
			if n, err := client.Read(b[:]); n != 0 || (tt.want != nil) != errors.Is(err, io.EOF) {
				t.Errorf("the client read %d bytes, %v", n, err)
			}
			// crypto/tls takes a stream that ends between records for an orderly end as well.
			if n := wire.n - before; n > 0 != (tt.want != nil) {
				t.Errorf("%d bytes told of the end", n)
			}
			if tt.name != "close write" {
				return
			}
			if _, err := client.Write([]byte("more")); err != nil { // the other direction goes on
				t.Fatal(err)
			}
			var in Buffer
			if n, err := c.ReadInto(&in, Wait{By: Now().Add(20 * time.Second)}); err != nil || string(in.Bytes()) != "more" {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
	}
}

// TestCloseOverTLSWaitsForNobody closes connections whose peers take nothing, with a write
// under way and without.
func TestCloseOverTLSWaitsForNobody(t *testing.T) {
	for _, writing := range []bool{false, true} {
		tcp, other := pairOfTCP(t)
		_ = tcp.nc.(*net.TCPConn).SetWriteBuffer(4 << 10)
		c, _ := serverPair(t, tcp.nc, other)
		big := make([]byte, 8<<20)
		if !writing { // leave the socket full
			if err := c.Write(big, Wait{Gap: 50 * time.Millisecond}); !errors.Is(err, ErrTimeout) {
				t.Fatal(err)
			}
		}
		var work sync.WaitGroup
		if writing {
			blocked := make(chan struct{})
			work.Go(func() {
				once := sync.OnceFunc(func() { close(blocked) })
				err := c.Write(big, Wait{Watch: func() error { once(); return nil }})
				if err == nil || errors.Is(err, ErrTimeout) {
					t.Errorf("the write ended with %v", err)
				}
			})
			<-blocked
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		work.Wait()
	}
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe() // takes nothing by itself
		c, _ := serverPair(t, near, far)
		start := time.Now()
		_ = c.Close()
		if took := time.Since(start); took > soon {
			t.Errorf("took %v", took)
		}
	})
}

// TestHandshakePauses: every wait for the peer is within pause, and nothing is computed there.
func TestHandshakePauses(t *testing.T) {
	cert, pool := certificate(t)
	near, far := net.Pipe()
	c := New(near)
	c.Secure(func(nc net.Conn) *tls.Conn { return tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{cert}}) })
	client := make(chan error, 1)
	go func() { client <- tls.Client(far, &tls.Config{ServerName: "a.test", RootCAs: pool}).Handshake() }()
	pauses := 0
	err := c.Handshake(Wait{}, func(wait func() error) error {
		pauses++
		return wait()
	})
	if err != nil || pauses < 2 {
		t.Errorf("%d pauses, %v", pauses, err)
	}
	if err := <-client; err != nil {
		t.Error(err)
	}
	if _, ok := c.TLS(); !ok {
		t.Error("no state")
	}
	_ = far.Close()
	_ = c.Close()

	near, far = net.Pipe()
	c = New(near)
	c.Secure(func(nc net.Conn) *tls.Conn { return tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{cert}}) })
	enough := errors.New("enough")
	if err := c.Handshake(Wait{}, func(func() error) error { return enough }); !errors.Is(err, enough) {
		t.Error(err)
	}
	_ = far.Close()
	_ = c.Close()
}

// TestClearTextToATLSPort: the peer can be told in clear text.
func TestClearTextToATLSPort(t *testing.T) {
	cert, _ := certificate(t)
	near, far := pairOfTCP(t)
	c := New(near.nc)
	c.Secure(func(nc net.Conn) *tls.Conn { return tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{cert}}) })
	if _, err := far.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	var alien tls.RecordHeaderError
	if err := c.Handshake(Wait{}, nil); !errors.As(err, &alien) {
		t.Fatal(err)
	}
	if err := c.Write([]byte("no"), Wait{}); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(far); err != nil || string(got) != "no" {
		t.Errorf("%q, %v", got, err)
	}
	_ = c.Close()
	_ = far.Close()
}

// counted counts the writes of a socket, and fails them from some number on.
type counted struct {
	net.Conn
	writes, most atomic.Int32
}

var errCounted = errors.New("one write too many")

func (c *counted) Write(p []byte) (int, error) {
	if c.writes.Add(1) > c.most.Load() {
		return 0, errCounted
	}
	return c.Conn.Write(p)
}

// TestRecordsLeaveTogether: a large write is few writes of the socket, and one that failed half
// way is the last.
func TestRecordsLeaveTogether(t *testing.T) {
	ours, theirs := net.Pipe()
	own := &counted{Conn: ours}
	own.most.Store(1000)
	c, client := serverPair(t, own, theirs)
	sent := make([]byte, 200_000)
	_, _ = rand.Read(sent)
	own.writes.Store(0)
	done := make(chan error, 1)
	go func() { done <- c.Write(sent, Wait{}) }()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("other bytes, %v", err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := own.writes.Load(); n > 4 { // 13 records
		t.Errorf("%d writes of the socket", n)
	}
	own.most.Store(own.writes.Load())
	if err := c.Write(sent[:maxRecord+1], Wait{}); !errors.Is(err, errCounted) {
		t.Fatalf("got %v", err)
	}
	own.most.Store(1000)
	if err := c.Write(sent[:1], Wait{}); !errors.Is(err, errCounted) {
		t.Errorf("behind a hole in the stream: %v", err)
	}
}
