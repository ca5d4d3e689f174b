package release

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Load is requests of users who come at a fixed rate, whatever became of the ones before: an open model.
type Load struct {
	Address string // of the front door
	Users   int
	Rate    int // a second
	Seed    uint64
	// Turns has users come one after the other, so that nobody has two requests under way; otherwise
	// each comes by chance.
	Turns bool
	Edit  func(*http.Request) // nil: nothing
}

// callers is how many requests may be under way at once. More come late, and are counted as that.
const callers = 256

// Traffic is a load that goes on.
type Traffic struct {
	Sent, Failed, Broken, Late atomic.Int64 // begun; answered with 5xx; not answered; begun late because too many were under way
	problem                    atomic.Pointer[string]
	stop                       func()
}

// Problem is one of what broke requests; empty: nothing.
func (t *Traffic) Problem() string {
	if p := t.problem.Load(); p != nil {
		return *p
	}
	return ""
}

// Stop ends it, and returns when every request has its answer.
func (t *Traffic) Stop() { t.stop() }

// Begin begins a load, which Stop or the end of ctx ends.
func (l Load) Begin(ctx context.Context) *Traffic {
	ctx, cancel := context.WithCancel(ctx)
	t := &Traffic{}
	transport := &http.Transport{MaxIdleConnsPerHost: callers, DisableCompression: true}
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	users := make(chan int, callers)
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for uid := range users {
				l.one(client, uid, t)
			}
		})
	}
	all.Go(func() {
		defer close(users)
		l.come(ctx, users, t)
	})
	t.stop = func() {
		cancel()
		all.Wait()
		transport.CloseIdleConnections()
	}
	return t
}

// come has users come in time.
func (l Load) come(ctx context.Context, users chan<- int, t *Traffic) {
	random := rand.New(rand.NewPCG(l.Seed, 11))
	turns := random.Perm(l.Users)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for sent := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for due := int(time.Since(began).Seconds() * float64(l.Rate)); sent < due; sent++ {
			uid := turns[sent%l.Users]
			if !l.Turns {
				uid = random.IntN(l.Users)
			}
			select {
			case users <- uid:
			default:
				t.Late.Add(1)
				select {
				case users <- uid:
				case <-ctx.Done():
					return
				}
			}
		}
	}
}

// mark says when a user sends a request.
func mark(req *http.Request, at time.Time) {
	req.Header.Set(sentHeader, strconv.FormatInt(at.UnixNano(), 10))
}

func (l Load) one(client *http.Client, uid int, t *Traffic) {
	req, err := http.NewRequest(http.MethodGet, "http://"+l.Address+"/", http.NoBody)
	if err != nil {
		panic(err) // the address is ours
	}
	req.AddCookie(&http.Cookie{Name: "uid", Value: strconv.Itoa(uid)})
	if l.Edit != nil {
		l.Edit(req)
	}
	mark(req, time.Now())
	t.Sent.Add(1)
	resp, err := client.Do(req)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close() // it was read to its end
	}
	switch {
	case err != nil:
		t.Broken.Add(1)
		text := fmt.Sprintf("user %d: %v", uid, err)
		t.problem.CompareAndSwap(nil, &text)
	case resp.StatusCode >= http.StatusInternalServerError:
		t.Failed.Add(1)
	}
}
