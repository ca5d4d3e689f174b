package http1

// IsGRPC reports whether a Content-Type is gRPC's over HTTP/2: application/grpc, with a suffix
// that says how messages are written, or with parameters. It is false for gRPC-Web, whose
// calls carry their status in the body.
func IsGRPC(kind []byte) bool {
	const grpc = "application/grpc"
	if len(kind) < len(grpc) || !foldEqual(kind[:len(grpc)], grpc) {
		return false
	}
	rest := kind[len(grpc):]
	return len(rest) == 0 || rest[0] == '+' || rest[0] == ';' || isSpace(rest[0])
}
