package peer

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weir.dev/weir/bench/load"
)

// configured returns how p starts and every file that it wrote.
func configured(t *testing.T, p Proxy, s Setup) (Start, map[string]string) {
	t.Helper()
	s.Dir, s.Port, s.AdminPort, s.Upstream = t.TempDir(), 18000, 18001, []int{9001, 9002, 9003, 9004}
	how, err := p.Configure(s)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	err = filepath.WalkDir(s.Dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		files[filepath.Base(path)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return how, files
}

func everyone() []Proxy {
	return append(Peers(), Weir("/opt/weir", []string{"--extra"}, []string{"--log", "{file}"}))
}

// TestUpstreamsAndPort: every configuration names the port and all upstreams.
func TestUpstreamsAndPort(t *testing.T) {
	for _, p := range everyone() {
		t.Run(p.Name, func(t *testing.T) {
			_, files := configured(t, p, Setup{Workers: 1})
			all := strings.Join(values(files), "\n")
			for _, port := range []string{"18000", "9001", "9002", "9003", "9004"} {
				if !strings.Contains(all, port) {
					t.Errorf("port %s is missing in\n%s", port, all)
				}
			}
			if strings.Contains(all, "%!") || strings.Contains(all, "access_log /") {
				t.Errorf("badly formatted, or with an access log:\n%s", all)
			}
			if p.Difference == "" || p.Difference != strings.TrimRight(p.Difference, ".") {
				t.Errorf("difference %q is not part of a sentence", p.Difference)
			}
		})
	}
}

func values(files map[string]string) []string {
	var all []string
	for _, text := range files {
		all = append(all, text)
	}
	return all
}

// TestRoutes: every host is named exactly once.
func TestRoutes(t *testing.T) {
	for _, p := range everyone() {
		t.Run(p.Name, func(t *testing.T) {
			_, files := configured(t, p, Setup{Workers: 1, Routes: 250})
			all := strings.Join(values(files), "\n")
			for i := range 250 {
				host := load.Host(i)
				// Envoy's virtual hosts have names, which are the hosts.
				want := 1
				if p.Name == "envoy" {
					want = 2
				}
				if n := strings.Count(all, host); n != want {
					t.Fatalf("%s is named %d times, want %d", host, n, want)
				}
			}
			if strings.Contains(all, load.Host(250)) {
				t.Error("more hosts than asked for")
			}
		})
	}
}

func TestWeirSpreadsRoutesOverFiles(t *testing.T) {
	how, files := configured(t, Weir("/opt/weir", []string{"--extra"}, []string{"--log", "{file}"}), Setup{
		Workers: 2, Routes: 1000, Log: "/tmp/access.log",
	})
	if len(files) != weirFiles+1 {
		t.Errorf("%d files, want %d and the gateway", len(files), weirFiles)
	}
	for name, text := range files {
		documents := strings.Split(text, "\n---\n")
		if name != "gateway.yaml" && len(documents) != 10 {
			t.Errorf("%s has %d routes, want 10", name, len(documents))
		}
	}
	wantEnd := []string{"--extra", "--log", "/tmp/access.log"}
	if got := how.Args[len(how.Args)-3:]; !slices.Equal(got, wantEnd) || how.Args[0] != "run" {
		t.Errorf("arguments %q", how.Args)
	}
	if !slices.Contains(how.Env, "GOMAXPROCS=2") {
		t.Errorf("environment %q", how.Env)
	}
}

// TestJSONPeers reads back what Envoy and Caddy get.
func TestJSONPeers(t *testing.T) {
	for _, p := range Peers() {
		if p.Name != "envoy" && p.Name != "caddy" {
			continue
		}
		for _, s := range []Setup{{Workers: 1}, {Workers: 1, Routes: 3, Log: "/tmp/access.log"}} {
			_, files := configured(t, p, s)
			text := files[p.Name+".json"]
			var tree any
			if err := json.Unmarshal([]byte(text), &tree); err != nil {
				t.Errorf("%s: %v", p.Name, err)
			}
			if got := strings.Contains(text, "/tmp/access.log"); got != (s.Log != "") {
				t.Errorf("%s: access log configured: %v", p.Name, got)
			}
		}
	}
}

func TestWorkersAndLogs(t *testing.T) {
	find := func(name string) Proxy {
		all := everyone()
		return all[slices.IndexFunc(all, func(p Proxy) bool { return p.Name == name })]
	}
	for workers, want := range map[int][]string{
		1: {"master_process off;", "nbthread 1\n"}, 2: {"worker_processes 2;", "nbthread 2\n"},
	} {
		s := Setup{Workers: workers}
		_, files := configured(t, find("nginx"), s)
		if !strings.Contains(files["nginx.conf"], want[0]) {
			t.Errorf("nginx with %d workers lacks %q", workers, want[0])
		}
		_, files = configured(t, find("haproxy"), s)
		if !strings.Contains(files["haproxy.cfg"], want[1]) {
			t.Errorf("haproxy with %d workers lacks %q", workers, want[1])
		}
		how, _ := configured(t, find("envoy"), s)
		if !slices.Contains(how.Args, fmt.Sprint(workers)) {
			t.Errorf("envoy with %d workers: %q", workers, how.Args)
		}
	}
	how, files := configured(t, find("haproxy"), Setup{Workers: 1, Log: "/tmp/a.log"})
	if how.Stdout != "/tmp/a.log" || !strings.Contains(files["haproxy.cfg"], "log stdout") {
		t.Errorf("haproxy does not log to its output: %+v", how)
	}
	// What a capture takes must have been set before it.
	text := files["haproxy.cfg"]
	if set, capture := strings.Index(text, "set-header X-Request-Id"), strings.Index(text, "http-request capture"); set < 0 || capture < set {
		t.Errorf("the capture comes before what it captures:\n%s", text)
	}
	_, files = configured(t, find("nginx"), Setup{Workers: 1, Log: "/tmp/a.log"})
	if !strings.Contains(files["nginx.conf"], "access_log /tmp/a.log json") {
		t.Error("nginx has no access log")
	}
}

// TestFronts: what clients and upstreams speak is in every configuration, or the proxy is left out.
func TestFronts(t *testing.T) {
	cert := filepath.Join(t.TempDir(), "cert.pem")
	for _, name := range []string{cert, cert + ".key"} {
		if err := os.WriteFile(name, []byte("PEM"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	says := func(front, back Wire) map[string]string {
		out := map[string]string{}
		for _, p := range everyone() {
			s := Setup{Workers: 1, Front: front, Back: back, Cert: cert, Key: cert + ".key"}
			s.Dir, s.Port, s.AdminPort, s.Upstream = t.TempDir(), 18000, 18001, []int{9001}
			if _, err := p.Configure(s); err != nil {
				out[p.Name] = err.Error()
				continue
			}
			_, files := configured(t, p, s)
			out[p.Name] = strings.Join(values(files), "\n")
		}
		return out
	}
	none := ErrCannot.Error()
	for _, c := range []struct {
		front, back Wire
		want        map[string]string
	}{
		{TLS, HTTP1, map[string]string{"nginx": "ssl http2", "haproxy": "alpn h2,http/1.1", "envoy": "DownstreamTlsContext", "caddy": "load_files", "weir": "protocol: HTTPS"}},
		{TLS, H2C, map[string]string{"nginx": none, "haproxy": "9001 proto h2", "envoy": "http2_protocol_options", "caddy": "h2c", "weir": "protocol: H2C"}},
		{H2C, GRPC, map[string]string{"nginx": "grpc_pass", "haproxy": "4096 proto h2", "envoy": "http2_protocol_options", "caddy": "h2c", "weir": "protocol: H2C"}},
		{Bytes, HTTP1, map[string]string{"nginx": "stream {", "haproxy": "mode tcp", "envoy": "TcpProxy", "caddy": none, "weir": "TCPRoute"}},
		{HTTP3, HTTP1, map[string]string{"nginx": none, "haproxy": none, "envoy": "quic_options", "caddy": "h3", "weir": "http3: true"}},
	} {
		got := says(c.front, c.back)
		for name, want := range c.want {
			if !strings.Contains(got[name], want) {
				t.Errorf("%s before %s, %s: no %q in\n%s", c.front, c.back, name, want, got[name])
			}
		}
	}
}
