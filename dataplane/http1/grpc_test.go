package http1

import "testing"

func TestGRPC(t *testing.T) {
	for kind, want := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "Application/GRPC+json": true, "application/grpc;x=y": true, "application/grpc ; x=y": true,
		"application/grpc-web": false, "application/grpc-web+proto": false, "application/grpcx": false, "application/json": false, "": false,
	} {
		if got := IsGRPC([]byte(kind)); got != want {
			t.Errorf("%q: %v", kind, got)
		}
		var resp Response
		head := "HTTP/1.1 200 OK\r\nContent-Type: " + kind + "\r\nContent-Length: 0\r\n\r\n"
		if _, err := resp.Parse([]byte(head), &Limits{}, []byte("POST")); err != nil || resp.GRPC != want {
			t.Errorf("answer with %q: %v, %v", kind, resp.GRPC, err)
		}
	}
	for line, want := range map[string]bool{"POST / HTTP/1.1": true, "GET / HTTP/1.1": false, "POST / HTTP/1.0": false} {
		var req Request
		head := line + "\r\nHost: h\r\nContent-Type: application/grpc\r\n\r\n"
		if _, err := req.Parse([]byte(head), &Limits{}); err != nil || req.GRPC != want {
			t.Errorf("%s: %v, %v", line, req.GRPC, err)
		}
		if req.Reset(); req.GRPC {
			t.Errorf("%s: a call after Reset", line)
		}
	}
}
