package cli

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
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
