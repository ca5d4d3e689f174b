package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"weir.dev/weir/model"
)

// framed is a client of HTTP/2 that sees frames.
type framed struct {
	*http2.Framer
	t    testing.TB
	conn net.Conn
	last uint32
}

// dialFramed opens a connection and waits for the server's greeting.
func (r *rig) dialFramed() *framed {
	r.t.Helper()
	f := &framed{t: r.t, conn: r.dial().Conn}
	if _, err := io.WriteString(f.conn, http2.ClientPreface); err != nil {
		r.t.Fatal(err)
	}
	f.Framer = http2.NewFramer(f.conn, f.conn)
	if err := errors.Join(f.WriteSettings(), f.WriteSettingsAck()); err != nil {
		r.t.Fatal(err)
	}
	return f
}

// until reads frames up to one that want takes, or the end, nil.
func (f *framed) until(want func(http2.Frame) bool) http2.Frame {
	f.t.Helper()
	for {
		frame, err := f.ReadFrame()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			f.t.Fatal(err)
		}
		if want(frame) {
			return frame
		}
	}
}

// get sends a request and wants its path back.
func (f *framed) get(path string) {
	f.t.Helper()
	f.last += 2
	if f.last == 2 {
		f.last = 1
	}
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, field := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "h"}, {":path", path}} {
		_ = e.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}) // to memory
	}
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: f.last, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true}); err != nil {
		f.t.Fatal(err)
	}
	var body []byte
	f.until(func(frame http2.Frame) bool {
		d, ok := frame.(*http2.DataFrame)
		if ok {
			body = append(body, d.Data()...)
		}
		return ok && d.StreamEnded()
	})
	if string(body) != path {
		f.t.Fatalf("got %q for %s", body, path)
	}
}

// farewell wants a GOAWAY without an error, and then the end.
func (f *framed) farewell() {
	f.t.Helper()
	last := http2.ErrCodeInternal
	f.until(func(frame http2.Frame) bool {
		switch frame := frame.(type) {
		case *http2.GoAwayFrame:
			last = frame.ErrCode
		case *http2.PingFrame:
			if err := f.WritePing(true, frame.Data); err != nil {
				f.t.Fatal(err)
			}
		}
		return false
	})
	if last != http2.ErrCodeNo {
		f.t.Errorf("ended with %v", last)
	}
}

func TestParkedHTTP2(t *testing.T) {
	r := newParkingRig(t, nil)
	f := r.dialFramed()
	r.parked(1) // before its first request
	for _, path := range []string{"/a", "/b"} {
		f.get(path)
		r.parked(1)
	}
	if err := f.WritePing(false, [8]byte{1}); err != nil {
		t.Fatal(err)
	}
	f.until(func(frame http2.Frame) bool { p, ok := frame.(*http2.PingFrame); return ok && p.IsAck() })
	f.get("/c")
	r.parked(1)
	stopped := make(chan struct{})
	go func() { r.stop(); close(stopped) }()
	f.farewell()
	_ = f.conn.Close()
	<-stopped
}

// TestParkedHTTP2KeepsItsTime: a parked connection whose time is up is told so.
func TestParkedHTTP2KeepsItsTime(t *testing.T) {
	r := newParkingRig(t, func(c *model.Client) { c.KeepAlive = 50 * time.Millisecond })
	f := r.dialFramed()
	f.get("/a")
	r.parked(1)
	f.farewell()
}
