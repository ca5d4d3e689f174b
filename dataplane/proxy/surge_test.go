package proxy

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir.dev/weir/model"
)

// TestSurge has 1,500 callers, who want three times what a backend can do, who leave after a second, and
// whose requests the backend works off all the same. Without a limit nearly all of its work is for those
// who have left; with an adaptive one at least nine tenths of it reach somebody. When
// most callers have gone the rest get all they want, at once.
func TestSurge(t *testing.T) {
	const capacity = 500.0 // a second
	for _, test := range []struct {
		name      string
		overload  *model.Overload
		low, high float64 // of the capacity, in good answers a second during the surge
	}{
		{"without a limit", nil, 0, 0.1},
		{"with one that adapts", &model.Overload{Adaptive: &model.Adaptive{Min: 10, Max: 1000}}, 0.9, 1.05},
		{"and a queue", &model.Overload{
			Adaptive: &model.Adaptive{Min: 10, Max: 1000}, Queue: &model.Queue{Size: 100, Timeout: 100 * time.Millisecond, LIFO: true},
		}, 0.9, 1.05},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.overload == nil || test.overload.Queue == nil {
				inFull(t)
			}
			inBubble(t, func(t *testing.T, n *network) {
				workers := make(chan struct{}, 50)
				n.upstream(t, upA, func(c net.Conn, r *bufio.Reader) {
					for {
						if _, err := http.ReadRequest(r); err != nil {
							return
						}
						workers <- struct{}{}
						time.Sleep(time.Duration(50+rand.IntN(101)) * time.Millisecond)
						<-workers
						if _, err := fmt.Fprint(c, lines("HTTP/1.1 200 OK\nContent-Length: 0\n\n")); err != nil {
							return
						}
					}
				})
				route := to("up")
				if test.overload != nil {
					route = guarded(*test.overload)
				}
				route.Timeouts.Request = time.Second
				r := n.rig(t, snapshotOf(oneUp, route), Config{})
				surge := crowd{r: r, think: time.Second}
				late := surge.run(1500, 12*time.Second, 4*time.Second) / capacity
				t.Logf("during the surge: %.2f of the capacity", late)
				if late < test.low || late > test.high {
					t.Errorf("during the surge good answers were %.2f of the capacity, want %v to %v", late, test.low, test.high)
				}
				if test.overload == nil {
					time.Sleep(time.Minute) // what nobody waits for any more
					return
				}
				calm := crowd{r: r, think: time.Second}
				offered := calm.run(300, 6*time.Second, 2*time.Second)
				if bad := calm.bad.Load(); bad > 0 || offered < 240 {
					t.Errorf("after it %.0f a second were good, and %d bad", offered, bad)
				}
			})
		})
	}
}

// crowd are callers, each with a connection, that ask again after a while, a second on average.
type crowd struct {
	r         *rig
	think     time.Duration
	good, bad atomic.Int64
}

// run returns the good answers a second, from a time on.
func (w *crowd) run(callers int, lasts, from time.Duration) float64 {
	began := time.Now()
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for time.Since(began) < lasts {
				time.Sleep(time.Duration(rand.Float64() * 2 * float64(w.think)))
				w.ask(began, lasts, from)
			}
		})
	}
	all.Wait()
	return float64(w.good.Load()) / (lasts - from).Seconds()
}

func (w *crowd) ask(began time.Time, lasts, from time.Duration) {
	conn, err := w.r.open(context.Background(), netip.MustParseAddrPort(w.r.addr))
	if err != nil {
		w.bad.Add(1)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	_, _ = fmt.Fprint(conn, lines(get("/")))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	switch at := time.Since(began); {
	case at < from || at >= lasts:
	case err == nil && resp.StatusCode == 200:
		w.good.Add(1)
	default:
		w.bad.Add(1)
	}
}
