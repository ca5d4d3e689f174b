package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"weir.dev/weir/bench/peer"
	"weir.dev/weir/bench/process"
)

// upstreams returns the ports of what speaks back, which is started when it is first wanted.
func (b *bench) upstreams(back peer.Wire) ([]int, error) {
	if back == peer.HTTP1 {
		return b.ports, nil
	}
	if ports := b.elsewhere[back]; ports != nil {
		return ports, nil
	}
	start := map[peer.Wire]func(pin string) (*process.Process, []int, error){peer.H2C: b.startHTTP2, peer.GRPC: b.startEcho}[back]
	_, pin := cores(runtime.NumCPU(), 1)
	up, ports, err := start(pin)
	if err != nil {
		return nil, fmt.Errorf("upstream of %s: %w", back, err)
	}
	b.others[back], b.elsewhere[back] = up, ports
	return ports, nil
}

// startEcho starts the upstream of gRPC.
func (b *bench) startEcho(pin string) (*process.Process, []int, error) {
	up, err := process.Start(process.Command{
		Name: "echo", Path: b.self, Args: []string{"echo-process"}, Env: []string{"GOMAXPROCS=1"}, Cores: pin, Pipe: true, Err: os.Stderr,
	})
	if err != nil {
		return nil, nil, err
	}
	var ports []int
	err = json.NewDecoder(up.Stdout).Decode(&ports)
	return up, ports, err
}

// startHTTP2 starts nghttp2's server on a folder with the answers that are asked for.
func (b *bench) startHTTP2(pin string) (*process.Process, []int, error) {
	root := filepath.Join(b.dir, "answers")
	if err := os.MkdirAll(filepath.Join(root, "bytes"), 0o755); err != nil {
		return nil, nil, err
	}
	for _, n := range []int{small, large} {
		if err := os.WriteFile(filepath.Join(root, "bytes", strconv.Itoa(n)), []byte(strings.Repeat("x", n)), 0o600); err != nil {
			return nil, nil, err
		}
	}
	ports, err := freePorts(1)
	if err != nil {
		return nil, nil, err
	}
	up, err := process.Start(process.Command{
		Name: "nghttpd", Path: "nghttpd", Cores: pin, Err: os.Stderr,
		Args: []string{"--no-tls", "-a", "127.0.0.1", "-d", root, "-m", "1000", strconv.Itoa(ports[0])},
	})
	return up, ports, err
}

// makeCertificate makes the certificate of all proxies: ECDSA P-256, signed by itself.
func (b *bench) makeCertificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"bench.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	b.cert = filepath.Join(b.dir, "cert.pem")
	if err := os.WriteFile(b.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(b.cert+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
}
