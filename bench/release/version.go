// Package release plays releases that go bad, before a Weir that somebody else has started: two versions
// of a service, a load of users who come whatever happens, and how many of them saw the failure. It
// measures from outside, at both versions and at the users, and believes Weir nothing that it can count.
package release

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Fault is how a version is bad. The zero value is none.
type Fault struct {
	After int     // requests that it answers well before
	Share float64 // of its requests that fail, 0 to 1
	Tail  float64 // by what the slowest twentieth of its answers take longer; 0: nothing
}

// Times is how long a version takes to answer: log-normally distributed, as services often are. The
// zero value answers at once.
type Times struct {
	Median time.Duration
	Spread float64 // standard deviation of the logarithm
}

// Version is one version of a service: a server on loopback that knows its users by the cookie uid,
// a number from 0.
type Version struct {
	Name    string
	Address string
	times   Times
	ledger  *Ledger
	server  *http.Server

	mu     sync.Mutex
	random *rand.Rand
	fault  Fault
	seen   Seen
	recent []time.Time // when the users of the last requests sent them
}

// Seen is what a version has seen since Play.
type Seen struct {
	Requests int // begun
	Bad      int // answered with an error, or slowed down
	InFlight int
	// Faulty are the requests since the first that might have failed, that one included.
	Faulty   int
	FirstBad time.Time // the first bad answer was given; zero: none was
	Last     time.Time // the last request came
}

// Header is the response header with the version's name.
const Header = "X-App-Version"

// sentHeader has the time at which a user sent a request, in nanoseconds.
const sentHeader = "X-Sent"

// remembered is of how many requests a version knows when users sent them.
const remembered = 4096

// slowest is the part of answers that Fault.Tail slows down: they lie beyond this many deviations.
const slowest = 1.645

// Serve returns a version that serves until Close. ledger may be nil.
func Serve(name string, t Times, ledger *Ledger) (*Version, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	v := &Version{Name: name, Address: l.Addr().String(), times: t, ledger: ledger}
	v.Play(Fault{}, 1)
	v.server = &http.Server{Handler: http.HandlerFunc(v.answer), ReadHeaderTimeout: time.Minute}
	go func() { _ = v.server.Serve(l) }() // it ends with Close
	return v, nil
}

// Take has it take other times from now on.
func (v *Version) Take(t Times) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.times = t
}

// Close ends it at once.
func (v *Version) Close() error { return v.server.Close() }

// Port is where it listens.
func (v *Version) Port() int {
	_, port, _ := net.SplitHostPort(v.Address)
	n, _ := strconv.Atoi(port) // it is one
	return n
}

// Play has it be bad in this way from now on, by chance as the seed says, and forgets what it has seen.
func (v *Version) Play(f Fault, seed uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fault, v.random = f, rand.New(rand.NewPCG(seed, 7))
	v.seen = Seen{InFlight: v.seen.InFlight}
	v.recent = v.recent[:0]
}

// Seen is what it has seen so far.
func (v *Version) Seen() Seen {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.seen
}

// SentAfter is how many of the last requests users sent after a time.
func (v *Version) SentAfter(t time.Time) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := 0
	for _, at := range v.recent {
		if at.After(t) {
			n++
		}
	}
	return n
}

func (v *Version) answer(w http.ResponseWriter, r *http.Request) {
	if uid, ok := user(r); ok && v.ledger != nil {
		v.ledger.note(uid, v.Name)
	}
	sent, _ := strconv.ParseInt(r.Header.Get(sentHeader), 10, 64)
	fails, took := v.begin(time.Unix(0, sent))
	w.Header().Set(Header, v.Name)
	if took > 0 {
		timer := time.NewTimer(took)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		}
	}
	if fails {
		v.bad()
		w.WriteHeader(http.StatusInternalServerError)
	}
	v.mu.Lock()
	v.seen.InFlight--
	v.mu.Unlock()
}

// begin counts a request, and decides what becomes of it.
func (v *Version) begin(sent time.Time) (fails bool, took time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.seen.Requests++
	v.seen.InFlight++
	v.seen.Last = time.Now()
	if len(v.recent) == remembered {
		v.recent = append(v.recent[:0], v.recent[1:]...)
	}
	v.recent = append(v.recent, sent)
	faulty := v.fault != (Fault{}) && v.seen.Requests > v.fault.After
	if faulty {
		v.seen.Faulty++
		fails = v.random.Float64() < v.fault.Share
	}
	deviation := v.random.NormFloat64()
	took = time.Duration(float64(v.times.Median) * math.Exp(v.times.Spread*deviation))
	if faulty && v.fault.Tail > 0 && deviation > slowest {
		took = time.Duration(float64(took) * v.fault.Tail)
		v.badLocked()
	}
	return fails, took
}

func (v *Version) bad() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.badLocked()
}

func (v *Version) badLocked() {
	v.seen.Bad++
	if v.seen.FirstBad.IsZero() {
		v.seen.FirstBad = time.Now()
	}
}

func user(r *http.Request) (uid int, ok bool) {
	c, err := r.Cookie("uid")
	if err != nil {
		return 0, false
	}
	uid, err = strconv.Atoi(c.Value)
	return uid, err == nil
}

// Ledger knows at which version each user was last, and who has changed over. It is safe for concurrent use.
type Ledger struct {
	mu    sync.Mutex
	at    []string
	moved map[Move]int
}

// Move is from one version to another.
type Move struct{ From, To string }

// NewLedger returns one for so many users.
func NewLedger(users int) *Ledger { return &Ledger{at: make([]string, users), moved: map[Move]int{}} }

func (l *Ledger) note(uid int, version string) {
	if uid < 0 || uid >= len(l.at) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if was := l.at[uid]; was != "" && was != version {
		l.moved[Move{was, version}]++
	}
	l.at[uid] = version
}

// Moves are those since the last call.
func (l *Ledger) Moves() map[Move]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	moved := l.moved
	l.moved = map[Move]int{}
	return moved
}

// At returns the users who were last at a version, in rising order.
func (l *Ledger) At(version string) []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []int
	for uid, at := range l.at {
		if at == version {
			all = append(all, uid)
		}
	}
	return all
}

// Forget has nobody be anywhere.
func (l *Ledger) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.at)
	clear(l.moved)
}

var errNotReady = errors.New("nothing is known of it yet")
