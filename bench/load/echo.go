package load

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// Echo is an upstream of gRPC over HTTP/2 in clear text: it sends every message of a call back
// at once. It is net/http's server, which costs more than any proxy here, on the other core.
type Echo struct {
	listener net.Listener
	server   *http.Server
}

// NewEcho listens on a free port.
func NewEcho() (*Echo, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &Echo{listener, &http.Server{
		Handler: http.HandlerFunc(echo), Protocols: protocols, ReadHeaderTimeout: time.Minute,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 1000},
	}}, nil
}

// Port is where it listens, at 127.0.0.1.
func (e *Echo) Port() int { return e.listener.Addr().(*net.TCPAddr).Port }

// Serve answers until ctx ends.
func (e *Echo) Serve(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { _ = e.server.Close() })()
	if err := e.server.Serve(e.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// maxMessage bounds the messages that come back, in bytes.
const maxMessage = 1 << 20

func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	flusher := w.(http.Flusher)
	flusher.Flush()
	buf := make([]byte, 5+4096)
	for {
		if _, err := io.ReadFull(r.Body, buf[:5]); err != nil {
			break
		}
		n := int(binary.BigEndian.Uint32(buf[1:5]))
		if n > maxMessage {
			break
		}
		if 5+n > len(buf) {
			buf = append(buf[:5], make([]byte, n)...)
		}
		if _, err := io.ReadFull(r.Body, buf[5:5+n]); err != nil {
			break
		}
		if _, err := w.Write(buf[:5+n]); err != nil {
			break
		}
		flusher.Flush()
	}
	w.Header().Set("Grpc-Status", "0")
}
