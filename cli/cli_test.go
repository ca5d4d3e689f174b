package cli

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"weir": func() {
			os.Exit(Main(os.Args[1:], Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
		},
	})
}

// TestScripts runs testdata/*.txt. Beside testscript's own commands there are:
//
//	freeport NAME...     sets each to an address of 127.0.0.1 that nobody listens on
//	upstream NAME TEXT   starts a server that answers TEXT, and sets NAME to its address
//	ready ADDRESS        waits until the admin API there says that it is ready
//	get URL              fetches; the answer's body is the next stdout to compare
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_STATE_HOME", env.WorkDir+"/.state")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"freeport": freeport, "upstream": upstream, "ready": ready, "get": get,
		},
	})
}

func freeport(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		ts.Setenv(name, l.Addr().String())
		ts.Check(l.Close())
	}
}

func upstream(ts *testscript.TestScript, _ bool, args []string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, args[1]) }))
	ts.Defer(server.Close)
	ts.Setenv(args[0], server.Listener.Addr().String())
}

func ready(ts *testscript.TestScript, _ bool, args []string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for {
		if resp, err := http.Get("http://" + args[0] + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			ts.Fatalf("%s does not become ready", args[0])
		}
	}
}

func get(ts *testscript.TestScript, _ bool, args []string) {
	resp, err := http.Get(args[0])
	ts.Check(err)
	defer resp.Body.Close()
	body := make([]byte, 1<<16)
	n, _ := resp.Body.Read(body)
	fmt.Fprintf(ts.Stdout(), "%d %s", resp.StatusCode, body[:n])
}

// TestDirect checks what --listen and --to are refused for, and what they become.
func TestDirect(t *testing.T) {
	for _, c := range []struct {
		listen string
		to     []string
	}{
		{"8080", []string{"http://a"}},
		{":0", []string{"http://a"}},
		{":70000", []string{"http://a"}},
		{"localhost:80", []string{"http://a"}},
		{":80", []string{"a:80"}},
		{":80", []string{"http://"}},
		{":80", []string{"https://a"}},
		{":80", []string{"http://a/path"}},
		{":80", []string{"http://a?q"}},
		{":80", []string{"http://me@a"}},
		{":80", []string{"http://a:99999"}},
	} {
		if out, err := direct(c.listen, c.to); err == nil || !isUsage(err) {
			t.Errorf("%s %s: accepted, or not a usage error (%v):\n%s", c.listen, c.to, err, out)
		}
	}
}

// TestAdminAddress: --admin takes what people paste.
func TestAdminAddress(t *testing.T) {
	for given, want := range map[string]string{
		"127.0.0.1:9901":                    "127.0.0.1:9901",
		"http://127.0.0.1:9901/":            "127.0.0.1:9901",
		"HTTP://127.0.0.1:9901/#token=abcd": "127.0.0.1:9901",
		"http://localhost:99/api/v1/routes": "localhost:99",
		" localhost ":                       "localhost:9901",
		"http://localhost":                  "localhost:9901",
		"10.0.0.1/":                         "10.0.0.1:9901",
		":9902":                             "127.0.0.1:9902",
		"9902":                              "127.0.0.1:9902",
		"::1":                               "[::1]:9901",
		"[::1]":                             "[::1]:9901",
		"[::1]:9902":                        "[::1]:9902",
	} {
		if c, err := newClient(given); err != nil || c.admin != want {
			t.Errorf("%q: %q, %v; want %q", given, c.admin, err, want)
		}
	}
	for _, given := range []string{"", "/", "http://", "https://127.0.0.1:9901", "a:b", "a:b:c", "localhost:0", "me@localhost", "a b", "[::1"} {
		if c, err := newClient(given); err == nil || !isUsage(err) {
			t.Errorf("%q: %q, or not a usage error (%v)", given, c.admin, err)
		}
	}
}

// TestNotAdmin: what answers but is not the admin API is said to be so.
func TestNotAdmin(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"404":       http.NotFound,
		"page":      func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"JSON":      func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"items": []}`) },
		"redirect":  http.RedirectHandler("/elsewhere", http.StatusFound).ServeHTTP,
		"list JSON": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[]`) },
	} {
		server := httptest.NewServer(answer)
		err := client{admin: server.Listener.Addr().String()}.get(t.Context(), "/api/v1/routes", new(listPage[map[string]any]))
		server.Close()
		if err == nil || !strings.Contains(err.Error(), "is not Weir's admin API; is this the port of a listener?") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConditions(t *testing.T) {
	c := func(of, kind, status string) any {
		return map[string]any{"of": of, "type": kind, "status": status, "reason": "Why"}
	}
	for _, tc := range []struct {
		given []any
		want  string
	}{
		{nil, ""},
		{[]any{c("", "Accepted", "True"), c("web", "Accepted", "True"), c("web", "Conflicted", "False")}, "Accepted"},
		{
			[]any{c("", "Accepted", "True"), c("web", "Accepted", "True"), c("tls", "Conflicted", "True"), c("tls", "Programmed", "False"), c("tls", "ResolvedRefs", "True")},
			"Accepted; tls: Conflicted=True (Why), Programmed=False (Why), ResolvedRefs",
		},
		{[]any{c("", "Accepted", "Unknown")}, "Accepted=Unknown (Why)"},
		{[]any{c("edge", "Accepted", "True"), c("edge", "ResolvedRefs", "True"), c("back", "Accepted", "True"), c("back", "ResolvedRefs", "True")}, "Accepted, ResolvedRefs"},
		{[]any{c("edge", "Accepted", "True"), c("back", "Accepted", "False")}, "edge: Accepted; back: Accepted=False (Why)"},
	} {
		if got := conditions(tc.given); got != tc.want {
			t.Errorf("%v:\n got %q\nwant %q", tc.given, got, tc.want)
		}
	}
}

func TestMilliseconds(t *testing.T) {
	for given, want := range map[float64]string{0: "-", 0.123: "0.12ms", 1: "1ms", 3.25: "3.2ms", 9.99: "10ms", 612.4: "610ms", 104857: "100000ms"} {
		if got := milliseconds(given); got != want {
			t.Errorf("%v: %s, want %s", given, got, want)
		}
	}
	if got := estimate(612.4); got != "~610ms" {
		t.Error(got)
	}
}
