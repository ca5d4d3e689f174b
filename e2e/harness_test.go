// Package e2e_test tests whole programs: scenarios against an in-process Weir on ports that
// the kernel chooses, and the real binary where signals and restarts matter.
package e2e_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weir.dev/weir/app"
)

// patience bounds every wait for something that must happen.
const patience = 60 * time.Second

// network stands in for the addresses that configurations name: a listener's address opens
// a port that the kernel chooses, and an upstream's address leads to an echo of that name.
type network struct {
	t         testing.TB
	mu        sync.Mutex
	listeners map[netip.AddrPort]string           // asked for → real
	upstreams map[netip.AddrPort]*httptest.Server // made when first dialled
	handler   func(name string) http.Handler
}

func newNetwork(t testing.TB) *network {
	n := &network{
		t:         t,
		listeners: map[netip.AddrPort]string{},
		upstreams: map[netip.AddrPort]*httptest.Server{},
		handler:   echo,
	}
	t.Cleanup(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, u := range n.upstreams {
			u.Close()
		}
	})
	return n
}

func (n *network) listen(ctx context.Context, address netip.AddrPort) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[address] = l.Addr().String()
	return l, nil
}

// real returns where the listener on the given port really listens.
func (n *network) real(port uint16) (string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for asked, at := range n.listeners {
		if asked.Port() == port {
			return at, true
		}
	}
	return "", false
}

// dial reaches an upstream. Addresses in 192.0.2.0/24 are documentation's: nobody is there.
func (n *network) dial(ctx context.Context, address netip.AddrPort) (net.Conn, error) {
	if netip.MustParsePrefix("192.0.2.0/24").Contains(address.Addr()) {
		return nil, fmt.Errorf("dial %s: connection refused", address)
	}
	n.mu.Lock()
	u := n.upstreams[address]
	if u == nil {
		u = httptest.NewUnstartedServer(n.handler(address.String()))
		u.Config.Protocols = new(http.Protocols)
		u.Config.Protocols.SetHTTP1(true)
		u.Config.Protocols.SetUnencryptedHTTP2(true)
		u.Start()
		n.upstreams[address] = u
	}
	n.mu.Unlock()
	var d net.Dialer
	return d.DialContext(ctx, "tcp", u.Listener.Addr().String())
}

// client asks the front door: every http://HOST:PORT leads to the listener with that port.
func (n *network) client(t testing.TB) *http.Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			ap, err := net.ResolveTCPAddr("tcp", "127.0.0.1"+address[strings.LastIndex(address, ":"):])
			if err != nil {
				return nil, err
			}
			at, ok := n.real(uint16(ap.Port))
			if !ok {
				return nil, fmt.Errorf("no listener on port %d", ap.Port)
			}
			var d net.Dialer
			return d.DialContext(ctx, "tcp", at)
		},
		DisableCompression:  true,
		MaxIdleConnsPerHost: 16,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// echo answers with what it was asked: the request line, then the header lines, sorted. The
// query parameter "status" chooses the status, "delay" how long it takes.
func echo(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lines := []string{"host: " + r.Host}
		for field, values := range r.Header {
			for _, v := range values {
				lines = append(lines, strings.ToLower(field)+": "+v)
			}
		}
		slices.Sort(lines)
		body, _ := io.ReadAll(r.Body)
		if d, err := time.ParseDuration(r.URL.Query().Get("delay")); err == nil {
			select {
			case <-time.After(d):
			case <-r.Context().Done():
				return
			}
		}
		w.Header().Set("X-Upstream", name)
		w.Header().Set("Content-Type", "text/plain")
		if s := r.URL.Query().Get("status"); s != "" {
			status := 0
			_, _ = fmt.Sscan(s, &status)
			w.WriteHeader(status)
		}
		fmt.Fprintf(w, "%s %s\n%s\n", r.Method, r.RequestURI, strings.Join(lines, "\n"))
		if len(body) > 0 {
			fmt.Fprintf(w, "body: %s\n", body)
		}
	})
}

// weir is one running app.
type weir struct {
	*app.App
	*network
	dir  string // of its configuration
	key  string // the file with its admin token
	log  *logBuffer
	stop func() error // ends it and returns what Run returned
}

// start runs an app over the files, a map from name to text, and waits until it is ready.
func start(t testing.TB, files map[string]string, edit ...func(*app.Config)) *weir {
	t.Helper()
	w := &weir{network: newNetwork(t), dir: t.TempDir(), log: &logBuffer{}}
	for name, text := range files {
		w.write(t, name, text)
	}
	cfg := app.Config{
		Version:      "test",
		Paths:        []string{w.dir},
		StateDir:     t.TempDir(),
		Admin:        "127.0.0.1:9901",
		Log:          slog.New(slog.NewTextHandler(w.log, nil)),
		DrainTimeout: 5 * time.Second,
		Listen:       w.listen,
		Dial:         w.dial,
	}
	cfg.TokenFile = filepath.Join(cfg.StateDir, "token")
	w.key = cfg.TokenFile
	for _, f := range edit {
		f(&cfg)
	}
	a, err := app.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.App = a
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	w.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return fmt.Errorf("Run did not return")
		}
	})
	t.Cleanup(func() {
		if err := w.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", w.log)
		}
	})
	select {
	case <-a.Ready():
	case err := <-ended:
		t.Fatalf("Run ended: %v\n%s", err, w.log)
	case <-time.After(patience):
		t.Fatalf("not ready\n%s", w.log)
	}
	return w
}

// write replaces a file of the configuration.
func (w *weir) write(t testing.TB, name, text string) {
	t.Helper()
	put(t, filepath.Join(w.dir, name), text)
}

// put writes a file, or replaces it as editors do: by rename.
func put(t testing.TB, path, text string) {
	t.Helper()
	dir, name := filepath.Split(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	next := filepath.Join(dir, "."+name+".new")
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

// token is the admin token.
func (w *weir) token(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(w.key)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// post asks the admin API to do something and returns the status of its answer.
func (w *weir) post(t *testing.T, path, token string) int {
	t.Helper()
	admin, _ := w.real(9901)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+admin+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// eventually asks until ok, and fails with what was last seen.
func eventually(t *testing.T, ok func() (done bool, seen string)) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		done, seen := ok()
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("did not happen; last seen: %s", seen)
		}
	}
}

// logBuffer keeps what was logged.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
