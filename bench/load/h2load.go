package load

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// others are the clients that this package does not play itself.
var others = map[Client]func(Spec) (Result, error){
	TLS: runH2load, HTTP2: runH2load, GRPC: runH2load,
	Handshakes: runHandshakes, GRPCStream: runStreams, HTTP3: runHTTP3,
}

// message of gRPC: a flag, four bytes of length, the content.
func grpcMessage(n int) []byte {
	return append([]byte{0, 0, 0, byte(n >> 8), byte(n)}, bytes.Repeat([]byte("m"), n)...)
}

// runH2load has nghttp2's h2load play the clients, first for the warm-up, then for the window:
// the second run's CPU times are those of the window, connecting included.
func runH2load(s Spec) (Result, error) {
	dir, err := os.MkdirTemp("", "weir-h2load-")
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if s.Warmup > 0 {
		if _, err := s.h2load(dir, s.Warmup); err != nil {
			return Result{}, err
		}
	}
	var r Result
	if err := r.sample(s.Watch, -1); err != nil {
		return Result{}, err
	}
	began := time.Now()
	text, err := s.h2load(dir, s.Window)
	if err != nil {
		return Result{}, err
	}
	r.Elapsed = time.Since(began)
	if err := r.sample(s.Watch, 1); err != nil {
		return Result{}, err
	}
	return r, r.readH2load(text, s.Request.Answer)
}

// h2load runs it for whole seconds, at least one, and returns what it prints.
func (s Spec) h2load(dir string, d time.Duration) (string, error) {
	args := []string{
		"-t1", "-c", strconv.Itoa(s.Connections), "-D", strconv.Itoa(max(1, int(d/time.Second))),
		"-H", "user-agent: weir-bench/1", "-H", "accept-language: en", "-H", "x-client: bench",
	}
	scheme := "https"
	switch s.Client {
	case TLS:
		args = append(args, "--h1")
	case HTTP2, GRPC:
		args = append(args, "-m", strconv.Itoa(max(s.Pipeline, 1)))
	}
	if s.Client == GRPC {
		scheme = "http"
		file := filepath.Join(dir, "message")
		if err := os.WriteFile(file, grpcMessage(s.Request.Body), 0o600); err != nil {
			return "", err
		}
		args = append(args, "-d", file, "-H", "content-type: application/grpc", "-H", "te: trailers")
	}
	ctx, cancel := context.WithTimeout(context.Background(), d+30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "h2load", append(args, scheme+"://"+s.Address+s.Request.Path)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("h2load: %w: %s", err, tail(string(out)))
	}
	return string(out), nil
}

func tail(text string) string { return text[max(0, len(text)-300):] }

var (
	h2loadRequests = regexp.MustCompile(`requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)
	h2loadStatus   = regexp.MustCompile(`status codes: (\d+) 2xx`)
	h2loadData     = regexp.MustCompile(`\((\d+)\) data`)
)

// readH2load reads h2load's summary. An answer that it was reading at the end does not count.
func (r *Result) readH2load(text string, answer int) error {
	counts, status, data := h2loadRequests.FindStringSubmatch(text), h2loadStatus.FindStringSubmatch(text), h2loadData.FindStringSubmatch(text)
	if counts == nil || status == nil || data == nil {
		return fmt.Errorf("h2load printed no summary: %s", tail(text))
	}
	var n [6]uint64
	for i := range n {
		n[i], _ = strconv.ParseUint(counts[i+1], 10, 64) // digits
	}
	good, _ := strconv.ParseUint(status[1], 10, 64)
	bytes, _ := strconv.ParseUint(data[1], 10, 64)
	r.Completed, r.Total = n[1], n[1]
	r.BadStatus = n[1] - min(n[1], good)
	r.Broken = n[3] + n[4] + n[5]
	if answer > 0 && bytes < n[1]*uint64(answer) {
		r.BadLength = 1
	}
	if r.BadStatus+r.Broken+r.BadLength > 0 {
		r.Why = "h2load: " + strings.TrimSpace(counts[0]+"; "+status[0]+"; "+data[0])
	}
	return nil
}
