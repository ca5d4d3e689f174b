package e2e_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestReleasePage does what docs/release.md says word for word, but for the ports: its files, its
// commands, and two versions with customers.
func TestReleasePage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/release.md")
	if err != nil {
		t.Fatal(err)
	}
	front, admin := freePort(t), freePort(t)
	page := string(text)
	for port, address := range map[string]string{"8080": front, "9001": soldBy(t, "v1"), "9002": soldBy(t, "v2")} {
		page = strings.ReplaceAll(page, "port: "+port, fmt.Sprint("port: ", portOf("http://"+address)))
	}
	dir := t.TempDir()
	putFiles(t, dir, page)
	weir, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	programs := t.TempDir()
	if err := os.Symlink(weir, filepath.Join(programs, "weir")); err != nil {
		t.Fatal(err)
	}
	buyers(t, front)

	s := &shell{t: t, dir: dir, env: append(os.Environ(), "XDG_STATE_HOME="+t.TempDir(), "PATH="+programs+":"+os.Getenv("PATH"))}
	steps := consoleSteps(page)
	if len(steps) < 10 {
		t.Fatalf("only %d commands found", len(steps))
	}
	for _, step := range steps {
		t.Log("$ " + step.command)
		command := step.command + " --admin " + admin
		if strings.HasPrefix(command, "weir run ") {
			s.background(command)
			continue
		}
		eventually(t, func() (bool, string) {
			got, err := s.enter(command)
			return step.matches(got), fmt.Sprintf("$ %s\nwant:\n%s\ngot (%v):\n%s", command, step.want, err, got)
		})
	}
}

// putFiles writes the files that a page shows, each a block of YAML with its name in the first line,
// which stays, so that the places in what is printed are those of the page.
func putFiles(t *testing.T, dir, page string) {
	for _, block := range regexp.MustCompile("(?ms)^```yaml\n(# (\\S+)\n.*?)^```$").FindAllStringSubmatch(page, -1) {
		put(t, filepath.Join(dir, block[2]), block[1])
	}
}

// soldBy is one version of a service.
func soldBy(t *testing.T, version string) (address string) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, version) }))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// buyers has customers with cookies come to a front door, one after the other, until the test ends.
func buyers(t *testing.T, front string) {
	tick, ended, gone := time.NewTicker(3*time.Millisecond), make(chan struct{}), make(chan struct{})
	client := &http.Client{Timeout: patience}
	t.Cleanup(func() {
		tick.Stop()
		close(ended)
		<-gone
		client.CloseIdleConnections()
	})
	go func() {
		defer close(gone)
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			req, err := http.NewRequest(http.MethodGet, "http://"+front+"/", nil)
			if err != nil {
				panic(err) // the address is ours
			}
			req.AddCookie(&http.Cookie{Name: "uid", Value: fmt.Sprint("u", rand.N(5000))})
			if resp, err := client.Do(req); err == nil { // it may not serve yet
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		}
	}()
}
