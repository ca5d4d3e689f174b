package peer

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"weir.dev/weir/bench/load"
)

const weirMain = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: bench}
spec:
  gatewayClassName: weir
  listeners:
  - {name: web, port: %d, %s}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: ports}
spec:
  protocol: %s
  endpoints:
%s
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: bench}
spec:
  targetRefs:
  - {group: gateway.networking.k8s.io, kind: Gateway, name: bench}
  loadBalancing: {algorithm: LeastRequest}
  client: {keepAlive: 300s%s}
`

// weirGuards are all protections, each beyond what the load needs, so that all judge every
// request and none refuses one.
const weirGuards = `apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: guards}
spec:
  targetRefs:
  - {group: gateway.networking.k8s.io, kind: HTTPRoute, name: all}
  timeouts: {request: 10s, perTry: 4s}
  retries:
    attempts: 2
    retryOn: [ConnectFailure, Reset, RefusedStream, PerTryTimeout, "502", "503"]
    idempotencyHeader: idempotency-key
    budget: {percent: 20%, minPerSecond: 3}
    hedge: {after: 1s, max: 1}
  overload:
    concurrency: {adaptive: {algorithm: Gradient, min: 100, max: 2000}}
    priority: [{when: 'request.headers["x-batch"] == "1"', class: Sheddable}, {class: Critical}]
    queue: {size: 100, timeout: 50ms, order: LIFO, fairBy: [{header: x-tenant}]}
    throttle: {acceptRatio: "2.0", window: 30s}
    degrade: [{at: 80%, shed: Sheddable}, {at: 95%, noRetries: true}]
---
apiVersion: weir.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: backend-guards}
spec:
  targetRefs:
  - {group: weir.dev, kind: Backend, name: ports}
  circuitBreaker: {maxConnections: 4096, maxPending: 256, maxRequests: 4096, maxRetries: 64, trip: {failures: 50%, of: 20, openFor: 5s, probes: 3}}
  outlierDetection: {consecutive5xx: 5, consecutiveLocal: 5, failureShare: 85%, successRateDeviation: "1.9", slowerThanMedian: "3.0"}
`

// weirCopies has a tenth of the requests copied to a backend of its own, which is the same servers.
const weirCopies = `apiVersion: weir.dev/v1alpha1
kind: Shadow
metadata: {name: copies}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: all}]
  backendRef: {group: weir.dev, kind: Backend, name: copies}
  share: 10%
  limits: {inflight: 10000}
---
apiVersion: weir.dev/v1alpha1
kind: Backend
metadata: {name: copies}
spec:
  protocol: HTTP11
  endpoints:
`

const weirSecret = `apiVersion: v1
kind: Secret
metadata: {name: bench}
type: kubernetes.io/tls
data: {tls.crt: %s, tls.key: %s}
`

const weirBytes = `apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: all}
spec:
  parentRefs: [{name: bench}]
  rules:
  - backendRefs: [{group: weir.dev, kind: Backend, name: ports}]
`

const weirRoute = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s}
spec:
  parentRefs: [{name: bench}]
%s  rules:
  - backendRefs: [{group: weir.dev, kind: Backend, name: ports}]
`

// weirMarked is a marked route: no longer, so that the others of its file stay where they are.
const weirMarked = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s}
spec:
  parentRefs: [{name: bench}]
%s  rules:
  - {backendRefs: [{group: weir.dev, kind: Backend, name: ports}], filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-mark, value: %q}]}}]}
`

// weirFiles is how many files many routes are spread over.
const weirFiles = 100

func weir(s Setup, extra, logArgs []string) (Start, error) {
	files, err := weirMainFiles(s)
	if err != nil {
		return Start{}, err
	}
	if s.Guarded {
		files["guards.yaml"] = weirGuards
	}
	if s.Copied {
		files["copies.yaml"] = weirCopies + s.each("  - {address: 127.0.0.1, port: %d}", "\n") + "\n"
	}
	for file := range min(s.Routes, weirFiles) {
		name, text := WeirFile(s.Routes, file, "")
		files[filepath.Base(name)] = text
	}
	args := []string{
		"run", "-f", filepath.Join(s.Dir, "policy"), "--admin", fmt.Sprintf("127.0.0.1:%d", s.AdminPort),
		"--state-dir", filepath.Join(s.Dir, "state"),
	}
	args = append(args, extra...)
	// A folder of its own: the command reads every file in it.
	s.Dir = filepath.Join(s.Dir, "policy")
	if err := os.Mkdir(s.Dir, 0o755); err != nil {
		return Start{}, err
	}
	for name, text := range files {
		if _, err := s.write(name, text); err != nil {
			return Start{}, err
		}
	}
	if s.Log != "" {
		for _, arg := range logArgs {
			args = append(args, strings.ReplaceAll(arg, "{file}", s.Log))
		}
	}
	return Start{Args: args, Env: []string{"GOMAXPROCS=" + strconv.Itoa(max(s.Workers, 1))}}, nil
}

// weirMainFiles are all but those of many routes.
func weirMainFiles(s Setup) (map[string]string, error) {
	listener, protocol, client, route := "protocol: HTTP", "HTTP11", "", fmt.Sprintf(weirRoute, "all", "")
	files := map[string]string{}
	switch s.Front {
	case TLS, HTTP3:
		listener = "protocol: HTTPS, tls: {certificateRefs: [{name: bench}]}"
		client = ", tls: {minVersion: \"1.3\"}"
		if s.Front == HTTP3 {
			client += ", http3: true"
		}
		cert, err := os.ReadFile(s.Cert)
		if err != nil {
			return nil, err
		}
		key, err := os.ReadFile(s.Key)
		if err != nil {
			return nil, err
		}
		files["secret.yaml"] = fmt.Sprintf(weirSecret, base64.StdEncoding.EncodeToString(cert), base64.StdEncoding.EncodeToString(key))
	case Bytes:
		listener, protocol, route = "protocol: TCP", "TCP", weirBytes
	}
	if s.Back == H2C || s.Back == GRPC {
		protocol = "H2C"
	}
	files["gateway.yaml"] = fmt.Sprintf(weirMain, s.Port, listener, protocol, s.each("  - {address: 127.0.0.1, port: %d}", "\n"), client)
	if s.Routes == 0 {
		files["routes.yaml"] = route
	}
	return files, nil
}

// WeirFile is one of the files in which Weir has many routes: its name, relative to the
// folder of the setup, and its text. The answers of the file's first route, whose host is
// load.Host(file), have a header field x-mark with the mark, unless that is empty.
func WeirFile(routes, file int, mark string) (name, text string) {
	var b strings.Builder
	for i := file; i < routes; i += weirFiles {
		if i > file {
			b.WriteString("---\n")
		}
		name, hostnames := fmt.Sprintf("r%05d", i), "  hostnames: ["+load.Host(i)+"]\n"
		if i == file && mark != "" {
			fmt.Fprintf(&b, weirMarked, name, hostnames, mark)
		} else {
			fmt.Fprintf(&b, weirRoute, name, hostnames)
		}
	}
	return filepath.Join("policy", fmt.Sprintf("routes-%02d.yaml", file)), b.String()
}
