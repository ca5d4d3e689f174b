package e2e_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"

	"github.com/quic-go/quic-go/http3"
)

// TestUpgradeOfHTTP3: a request over HTTP/3 that is under way when the program is replaced gets
// the whole of its answer, and the new process serves HTTP/3 after it. A session of TLS that began with
// the first process is resumed by it.
func TestUpgradeOfHTTP3(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	letGo := sync.OnceFunc(func() { close(release) })
	defer letGo()
	file, address, ca, _ := http3Front(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello")
		if r.URL.Path == "/long" {
			w.(http.Flusher).Flush()
			<-release
			_, _ = io.WriteString(w, " and goodbye")
		}
	}))
	u := launchService(t, "-f", file)
	_, port, _ := net.SplitHostPort(address)
	h3 := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool()}}
	t.Cleanup(func() { h3.Close() })
	client := &http.Client{Transport: h3, Timeout: patience}
	secure := &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: ca.pool(), ClientSessionCache: tls.NewLRUClientSessionCache(1)},
	}
	if resp, err := fetchWith(t, secure, "https://localhost:"+port+"/"); err != nil || resp.TLS.DidResume {
		t.Fatalf("the first request by TLS: %v, %v", resp, err)
	}
	long, err := client.Get("https://localhost:" + port + "/long")
	if err != nil {
		t.Fatal(err)
	}
	defer long.Body.Close()
	if err := u.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	pid := u.newPid(t)
	if status, body := fetch("http://" + u.admin + "/readyz"); status != 200 {
		t.Errorf("readyz of the new process: %d %s", status, body)
	}
	letGo()
	if body, err := io.ReadAll(long.Body); err != nil || string(body) != "hello and goodbye" {
		t.Errorf("the long answer: %q, %v", body, err)
	}
	next := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool()}}
	t.Cleanup(func() { next.Close() })
	eventually(t, func() (bool, string) {
		resp, err := fetchWith(t, next, "https://localhost:"+port+"/")
		if err != nil {
			return false, err.Error()
		}
		return resp.StatusCode == 200 && resp.ProtoMajor == 3, resp.Status
	})
	if code := u.end(t); code != 0 {
		t.Errorf("the first process ended with %d", code)
	}
	if resp, err := fetchWith(t, secure, "https://localhost:"+port+"/"); err != nil || !resp.TLS.DidResume {
		t.Errorf("the session is not resumed by the new process: %v, %v", resp, err)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}
