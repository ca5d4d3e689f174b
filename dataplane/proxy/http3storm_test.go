package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"weir.dev/weir/model"
)

// TestHTTP3Storm: clients that give up at any point, or vanish, while snapshots change, leave
// nothing behind, and whoever waits is served.
func TestHTTP3Storm(t *testing.T) {
	ca, s := secureOne(t, serveHTTP(t, mix))
	s.Clusters[0].ConnectTimeout = patience
	r := startHTTP3(t, s, Config{DrainTimeout: patience})
	var wait sync.WaitGroup
	for i := range 6 {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(7, uint64(i)))
			for range 3 {
				rt := r.h3(ca.config("a.test", nil))
				var flock sync.WaitGroup
				for range 8 {
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					kind, size, at := random.IntN(4), random.IntN(300_000), time.Duration(random.IntN(30))*time.Millisecond
					flock.Go(func() {
						defer cancel()
						req, _ := http.NewRequestWithContext(ctx, "POST", fmt.Sprintf("https://a.test/?size=%d", size), io.MultiReader(bytes.NewReader(make([]byte, size))))
						if kind == 0 {
							timer := time.AfterFunc(at, cancel)
							defer timer.Stop()
						}
						resp, err := rt.RoundTrip(req)
						if err != nil {
							if kind != 0 {
								t.Error(err)
							}
							return
						}
						defer resp.Body.Close()
						if kind == 1 {
							return // before the answer has come
						}
						if n, err := io.Copy(io.Discard, resp.Body); kind != 0 && (err != nil || n != int64(size)) {
							t.Errorf("%d of %d bytes: %v", n, size, err)
						}
					})
				}
				flock.Wait()
				_ = rt.Close()
			}
		})
	}
	done := make(chan struct{})
	go func() { wait.Wait(); close(done) }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			r.stop()
			return
		case <-tick.C:
			next := *s.Listeners[0]
			next.TLS = &model.TLS{Names: []model.TLSName{ca.name(nil, "a.test")}}
			snap := *s
			snap.Listeners = []*model.Listener{&next}
			if err := r.proxy.Apply(&snap); err != nil {
				t.Error(err)
			}
		}
	}
}
