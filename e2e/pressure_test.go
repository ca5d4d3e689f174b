package e2e_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// stall opens one connection of HTTP/2 that asks for n answers and takes none of their bytes: the
// windows of its streams are shut. It reads what little comes until the connection ends, and
// counts the streams that are ended because their client stands still.
func stall(t *testing.T, front string, n int, calmed *counter) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", front, patience)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(c, c)
	_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	for i := range n {
		var block bytes.Buffer
		e := hpack.NewEncoder(&block)
		for _, field := range []hpack.HeaderField{
			{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: "/large"}, {Name: ":authority", Value: "a.test"},
		} {
			field.Sensitive = true // so that the encoder's table stays empty, and each block can stand alone
			_ = e.WriteField(field)
		}
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true}); err != nil {
			break // it is cut off already
		}
	}
	go func() {
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			if reset, ok := frame.(*http2.RSTStreamFrame); ok && reset.ErrCode == http2.ErrCodeEnhanceYourCalm {
				calmed.add()
			}
		}
	}()
	return c
}

// counter counts, from any goroutine.
type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *counter) value() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// resident returns the memory of the process, and its peak, in MiB.
func (p *process) resident(t *testing.T) (now, peak int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kilobytes, _ := strconv.Atoi(fields[1])
		switch fields[0] {
		case "VmRSS:":
			now = kilobytes >> 10
		case "VmHWM:":
			peak = kilobytes >> 10
		}
	}
	return now, peak
}

// largeBodies is a host whose answers are large, but for those to /small.
func largeBodies(t *testing.T) *httptest.Server {
	t.Helper()
	body := bytes.Repeat([]byte("x"), 1<<20)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/small" {
			fmt.Fprint(w, "ok")
			return
		}
		_, _ = w.Write(body) // at once: as a string it goes out in pieces of 2 KiB
	}))
	t.Cleanup(s.Close)
	return s
}

// TestMemoryOfStalledAnswers: seventy connections of HTTP/2 ask for a hundred answers each and take
// nothing. The process stays within its memory, and serves others all the while; and when it is
// short of memory, those who stand still are ended, and told why.
func TestMemoryOfStalledAnswers(t *testing.T) {
	const connections, streams, limit = 70, 100, 200 // MiB
	host := largeBodies(t)
	front := freePort(t)
	p := launch(t, "--listen", front, "--to", host.URL, "--max-memory", fmt.Sprint(limit, "Mi"))
	var calmed counter
	var served, refused int
	small := func() (int, string) { return fetch("http://" + front + "/small") }
	for range connections {
		c := stall(t, front, streams, &calmed)
		defer c.Close()
		switch status, _ := small(); status {
		case http.StatusOK:
			served++
		case http.StatusServiceUnavailable:
			refused++
		}
	}
	end := time.Now().Add(3 * time.Second)
	for time.Now().Before(end) {
		switch status, body := small(); status {
		case http.StatusOK:
			served++
		case http.StatusServiceUnavailable:
			refused++
		default:
			t.Errorf("%d %s", status, body)
		}
	}
	now, peak := p.resident(t)
	t.Logf("%d MiB now, %d MiB at most; %d others served, %d refused; %d streams ended for standing still\n%s", now, peak, served, refused, calmed.value(), p.log)
	if peak > limit {
		t.Errorf("%d MiB at most, of %d", peak, limit)
	}
	if served == 0 || refused > served {
		t.Errorf("%d others served and %d refused", served, refused)
	}
	eventually(t, func() (bool, string) { status, body := small(); return status == http.StatusOK, body })
}
