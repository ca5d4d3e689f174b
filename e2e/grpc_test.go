package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"weir.dev/weir/app"
)

const grpcResources = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weir
  listeners:
  - {name: clear, protocol: HTTP, port: 80}
  - {name: tls, protocol: HTTPS, port: 443, tls: {certificateRefs: [{name: cert}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge}]
  hostnames: [shop.test]
  rules:
  - name: test
    matches: [{method: {service: grpc.testing.TestService}}]
    backendRefs: [{group: weir.dev, kind: Backend, name: up}]
  - name: dead
    matches: [{method: {service: grpc.testing.UnimplementedService}}]
    backendRefs: [{group: weir.dev, kind: Backend, name: dead}]
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: retries}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: GRPCRoute, name: shop, sectionName: test}]
  retries: {attempts: 2, retryOn: [UNAVAILABLE], backoff: {base: 1ms}}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: up}
spec: {protocol: GRPC, endpoints: [{address: 10.0.0.1, port: 50051}]}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: dead}
spec: {protocol: GRPC, endpoints: [{address: 192.0.2.1, port: 50051}]}
`

// grpcShop is a server of gRPC that others wrote, with handlers of ours.
type grpcShop struct {
	testgrpc.UnimplementedTestServiceServer
	flaky    atomic.Int32 // calls that are yet to fail
	canceled chan error
}

// UnaryCall answers with as many bytes as asked for, and what metadata came.
func (g *grpcShop) UnaryCall(ctx context.Context, req *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if g.flaky.Add(-1) >= 0 {
		return nil, status.Error(codes.Unavailable, "not yet")
	}
	header, trailer := metadata.MD{}, metadata.MD{}
	for name, values := range md {
		if strings.HasPrefix(name, "x-header") {
			header[name] = values
		}
		if strings.HasPrefix(name, "x-trailer") {
			trailer[name] = values
		}
	}
	header["x-attempts"] = md["grpc-previous-rpc-attempts"]
	if len(md["x-underscore"]) > 0 {
		header["x_header"], trailer["x_trailer"] = []string{"1"}, []string{"2"}
	}
	_ = grpc.SetHeader(ctx, header)
	_ = grpc.SetTrailer(ctx, trailer)
	if s := req.ResponseStatus; s != nil {
		failure, err := status.New(codes.Code(s.Code), s.Message).WithDetails(&testgrpc.Payload{Body: []byte("details")})
		if err != nil {
			return nil, err
		}
		return nil, failure.Err()
	}
	return &testgrpc.SimpleResponse{Payload: &testgrpc.Payload{Body: bytes.Repeat([]byte("w"), int(req.ResponseSize))}}, nil
}

// EmptyCall waits for the end of the call and tells why it came.
func (g *grpcShop) EmptyCall(ctx context.Context, _ *testgrpc.Empty) (*testgrpc.Empty, error) {
	if _, ok := ctx.Deadline(); !ok {
		return nil, status.Error(codes.FailedPrecondition, "no deadline came")
	}
	<-ctx.Done()
	return nil, status.FromContextError(ctx.Err()).Err()
}

func (g *grpcShop) StreamingOutputCall(req *testgrpc.StreamingOutputCallRequest, out grpc.ServerStreamingServer[testgrpc.StreamingOutputCallResponse]) error {
	for _, p := range req.ResponseParameters {
		if err := out.Send(&testgrpc.StreamingOutputCallResponse{Payload: &testgrpc.Payload{Body: make([]byte, p.Size)}}); err != nil {
			return err
		}
	}
	return nil
}

func (g *grpcShop) StreamingInputCall(in grpc.ClientStreamingServer[testgrpc.StreamingInputCallRequest, testgrpc.StreamingInputCallResponse]) error {
	sum := 0
	for {
		req, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return in.SendAndClose(&testgrpc.StreamingInputCallResponse{AggregatedPayloadSize: int32(sum)})
		}
		if err != nil {
			return err
		}
		sum += len(req.Payload.Body)
	}
}

func (g *grpcShop) FullDuplexCall(both grpc.BidiStreamingServer[testgrpc.StreamingOutputCallRequest, testgrpc.StreamingOutputCallResponse]) error {
	for {
		req, err := both.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			g.canceled <- err
			return err
		}
		if err := both.Send(&testgrpc.StreamingOutputCallResponse{Payload: req.Payload}); err != nil {
			return err
		}
	}
}

// TestGRPC calls through the whole program: clear text and TLS towards the client, HTTP/2 to
// the host, and everything that a call can be.
func TestGRPC(t *testing.T) {
	t.Parallel()
	shop := &grpcShop{canceled: make(chan error, 1)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(server, shop)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	authority := newAuthority(t)
	certificate, key := authority.issue(t, "shop.test")
	w := start(t, map[string]string{"weir.yaml": grpcResources, "cert.yaml": tlsSecret("cert", certificate, key)}, func(c *app.Config) {
		dial := c.Dial
		c.Dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			if to.Port() == 50051 && to.Addr().IsPrivate() {
				var d net.Dialer
				return d.DialContext(ctx, "tcp", l.Addr().String())
			}
			return dial(ctx, to)
		}
	})
	for name, front := range map[string]struct {
		port        uint16
		credentials credentials.TransportCredentials
	}{
		"clear": {80, insecure.NewCredentials()},
		"tls":   {443, credentials.NewTLS(&tls.Config{RootCAs: authority.pool(), ServerName: "shop.test", MinVersion: tls.VersionTLS12})},
	} {
		t.Run(name, func(t *testing.T) {
			at, _ := w.real(front.port)
			client := func(host string) *grpc.ClientConn {
				conn, err := grpc.NewClient("passthrough:///"+at, grpc.WithTransportCredentials(front.credentials), grpc.WithAuthority(host))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = conn.Close() })
				return conn
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			conn := client("shop.test")
			calls := testgrpc.NewTestServiceClient(conn)
			t.Run("metadata", func(t *testing.T) { grpcMetadata(ctx, t, calls) })
			t.Run("streams", func(t *testing.T) { grpcStreams(ctx, t, calls) })
			t.Run("large", func(t *testing.T) { grpcLarge(ctx, t, calls) })
			t.Run("ends", func(t *testing.T) { grpcEnds(ctx, t, calls, shop) })
			t.Run("refusals", func(t *testing.T) {
				_, err := testgrpc.NewUnimplementedServiceClient(conn).UnimplementedCall(ctx, &testgrpc.Empty{})
				wantStatus(t, err, codes.Unavailable, "no connection to the upstream host could be made (UF)")
				_, err = calls.UnaryCall(ctx, &testgrpc.SimpleRequest{}, grpc.CallContentSubtype("proto"))
				wantStatus(t, err, codes.OK, "")
				_, err = testgrpc.NewReconnectServiceClient(conn).Stop(ctx, &testgrpc.Empty{})
				wantStatus(t, err, codes.Unimplemented, "no route matches (NR)")
			})
			t.Run("retries", func(t *testing.T) {
				shop.flaky.Store(2)
				var header metadata.MD
				_, err := calls.UnaryCall(ctx, &testgrpc.SimpleRequest{}, grpc.Header(&header))
				wantStatus(t, err, codes.OK, "")
				if got := header["x-attempts"]; !slices.Equal(got, []string{"2"}) {
					t.Errorf("the host was told of %q tries", got)
				}
			})
		})
	}
}

func wantStatus(t *testing.T, err error, code codes.Code, message string) {
	t.Helper()
	if s, ok := status.FromError(err); !ok || s.Code() != code || s.Message() != message {
		t.Errorf("got %v, want %v %q", err, code, message)
	}
}

func grpcMetadata(ctx context.Context, t *testing.T, calls testgrpc.TestServiceClient) {
	want := metadata.MD{"a": {"one", "two, three"}, "b-bin": {"\x00\x01\xff", "raw"}}
	out := metadata.MD{"x-underscore": {"1"}}
	for name, values := range want {
		out["x-header-"+name], out["x-trailer-"+name] = values, values
	}
	for _, code := range []codes.Code{codes.OK, codes.FailedPrecondition} {
		req := &testgrpc.SimpleRequest{ResponseSize: 3}
		if code != codes.OK {
			req.ResponseStatus = &testgrpc.EchoStatus{Code: int32(code), Message: "said: 100 % ünusual\n"}
		}
		var header, trailer metadata.MD
		_, err := calls.UnaryCall(metadata.NewOutgoingContext(ctx, out), req, grpc.Header(&header), grpc.Trailer(&trailer))
		wantStatus(t, err, code, req.GetResponseStatus().GetMessage())
		got := metadata.Join(header, trailer)
		for name, values := range want {
			for _, place := range []string{"x-header-", "x-trailer-"} {
				if !slices.Equal(got[place+name], values) {
					t.Errorf("%v: %s%s is %q, want %q", code, place, name, got[place+name], values)
				}
			}
		}
		if !slices.Equal(got["x_header"], []string{"1"}) || !slices.Equal(got["x_trailer"], []string{"2"}) {
			t.Errorf("%v: names with underscores are lost: %v", code, got)
		}
		if code == codes.OK {
			continue
		}
		details := status.Convert(err).Details()
		if p, ok := append(details, nil)[0].(*testgrpc.Payload); len(details) != 1 || !ok || string(p.Body) != "details" {
			t.Errorf("details %v", details)
		}
	}
}

func grpcStreams(ctx context.Context, t *testing.T, calls testgrpc.TestServiceClient) {
	req := &testgrpc.StreamingOutputCallRequest{}
	for range 50 {
		req.ResponseParameters = append(req.ResponseParameters, &testgrpc.ResponseParameters{Size: 10_000})
	}
	out, err := calls.StreamingOutputCall(ctx, req)
	n := 0
	for ; err == nil; n++ {
		_, err = out.Recv()
	}
	if !errors.Is(err, io.EOF) || n != 51 {
		t.Errorf("server streaming: %d messages, %v", n-1, err)
	}
	in, err := calls.StreamingInputCall(ctx)
	for range 50 {
		if err == nil {
			err = in.Send(&testgrpc.StreamingInputCallRequest{Payload: &testgrpc.Payload{Body: make([]byte, 10_000)}})
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if sum, err := in.CloseAndRecv(); err != nil || sum.AggregatedPayloadSize != 500_000 {
		t.Errorf("client streaming: %v, %v", sum, err)
	}
	both, err := calls.FullDuplexCall(ctx)
	for i := 0; err == nil && i < 100; i++ {
		want := bytes.Repeat([]byte{byte(i)}, 100*i)
		if err = both.Send(&testgrpc.StreamingOutputCallRequest{Payload: &testgrpc.Payload{Body: want}}); err != nil {
			break
		}
		var resp *testgrpc.StreamingOutputCallResponse
		if resp, err = both.Recv(); err == nil && !bytes.Equal(resp.GetPayload().GetBody(), want) {
			t.Fatalf("message %d came back as %d bytes", i, len(resp.GetPayload().GetBody()))
		}
	}
	if err == nil {
		err = both.CloseSend()
	}
	if err != nil {
		t.Fatalf("both ways: %v", err)
	}
	if _, err := both.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("both ways: %v", err)
	}
}

func grpcLarge(ctx context.Context, t *testing.T, calls testgrpc.TestServiceClient) {
	const size = 4<<20 - 1000 // grpc-go takes no more
	resp, err := calls.UnaryCall(ctx, &testgrpc.SimpleRequest{ResponseSize: size, Payload: &testgrpc.Payload{Body: make([]byte, size)}})
	if err != nil || len(resp.Payload.Body) != size {
		t.Errorf("%d bytes, %v", len(resp.GetPayload().GetBody()), err)
	}
}

// grpcEnds has calls end before they are complete.
func grpcEnds(ctx context.Context, t *testing.T, calls testgrpc.TestServiceClient, shop *grpcShop) {
	brief, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err := calls.EmptyCall(brief, &testgrpc.Empty{})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a call whose time is over: %v", err)
	}
	abandoned, abandon := context.WithCancel(ctx)
	defer abandon()
	both, err := calls.FullDuplexCall(abandoned)
	if err == nil {
		err = both.Send(&testgrpc.StreamingOutputCallRequest{Payload: &testgrpc.Payload{Body: []byte("x")}})
	}
	if err == nil {
		_, err = both.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	abandon()
	select {
	case err := <-shop.canceled:
		if status.Code(err) != codes.Canceled {
			t.Errorf("the host sees %v", err)
		}
	case <-ctx.Done():
		t.Error("the host does not hear of the end")
	}
}
