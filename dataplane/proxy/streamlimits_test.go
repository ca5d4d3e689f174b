package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"weir.dev/weir/model"
)

// told opens a connection of HTTP/2 and returns how many streams it may have.
func (r *rig) told() uint32 {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		r.t.Fatal(err)
	}
	f := http2.NewFramer(c, c)
	_ = f.WriteSettings()
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			r.t.Fatal(err)
		}
		if s, ok := frame.(*http2.SettingsFrame); ok {
			most, _ := s.Value(http2.SettingMaxConcurrentStreams)
			return most
		}
	}
}

// TestStreamLimitsChange: new connections follow a change, and those that are open go on.
func TestStreamLimitsChange(t *testing.T) {
	up := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) })
	r := newRig(t, map[string]string{"up": up}, to("up"))
	if got := r.told(); got != 128 {
		t.Errorf("%d streams by default", got)
	}
	old := r.h2()
	ask(t, old, r.request("GET", "/a", nil))
	changed := *r.snap
	l := *r.snap.Listeners[0]
	l.Client.Streams = model.Streams{MaxConcurrent: 7, Window: 16 << 10, Resets: 20}
	changed.Listeners = []*model.Listener{&l}
	if err := r.proxy.Apply(&changed); err != nil {
		t.Fatal(err)
	}
	if got := r.told(); got != 7 {
		t.Errorf("%d streams after the change", got)
	}
	if resp, body := ask(t, old, r.request("GET", "/b", nil)); resp.StatusCode != 200 || body != "/b" {
		t.Errorf("on the old connection: %s %q", resp.Status, body)
	}
	if n := r.metrics.Listener("front").Active(); n != 3 {
		t.Errorf("%d connections are open, of three", n)
	}
}
