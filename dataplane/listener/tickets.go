package listener

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Session tickets are encrypted with keys that this process makes, or has from the one whose place
// it took, and never writes to a disk: a new one every eight hours, and two older ones that still
// open tickets, so that a session can be resumed for sixteen hours at least and nobody who learns a
// key reads more than a day.
const (
	ticketPeriod = 8 * time.Hour
	ticketKeys   = 3
)

// ticketry is the keys for session tickets of all sockets. Each purpose has keys of its own,
// derived from the common ones: a purpose names the hostname and what clients of it must
// prove, so that a ticket resumes a session on every listener that has the same name and
// asks the same, and nowhere else.
type ticketry struct {
	next atomic.Int64 // when the newest key is too old, in seconds since 1970; 0: there is none
	era  atomic.Uint64

	mu   sync.Mutex
	keys []ticketKey // the newest first
}

type ticketKey struct {
	Secret [32]byte
	Made   time.Time
}

// TicketKeys returns the keys for session tickets, in a form for the TicketKeys of another Set's
// Config. They are secret.
func (s *Set) TicketKeys() ([]byte, error) {
	s.tickets.mu.Lock()
	defer s.tickets.mu.Unlock()
	return json.Marshal(s.tickets.keys)
}

// take goes on with keys of another Set's, before any are used: those that are keys, which another
// version's may not be, and that will ever be too old.
func (t *ticketry) take(text []byte, now time.Time) error {
	var keys []ticketKey
	if err := json.Unmarshal(text, &keys); err != nil {
		return fmt.Errorf("keys for session tickets: %w", err)
	}
	keys = slices.DeleteFunc(keys, func(k ticketKey) bool { return k.Secret == [32]byte{} || k.Made.After(now) })
	if len(keys) > 0 {
		t.keys = keys[:min(len(keys), ticketKeys)]
		t.next.Store(keys[0].Made.Add(ticketPeriod).Unix())
		t.era.Add(1)
	}
	return nil
}

// current returns a number that changes with the keys, which it changes when it is time.
func (t *ticketry) current(now time.Time) uint64 {
	if now.Unix() < t.next.Load() {
		return t.era.Load()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Unix() < t.next.Load() {
		return t.era.Load()
	}
	key := ticketKey{Made: now}
	_, _ = rand.Read(key.Secret[:]) // never fails
	keys := []ticketKey{key}
	for _, k := range t.keys {
		if len(keys) < ticketKeys && now.Sub(k.Made) < ticketKeys*ticketPeriod {
			keys = append(keys, k)
		}
	}
	t.keys = keys
	t.next.Store(now.Add(ticketPeriod).Unix())
	return t.era.Add(1)
}

// derive gives config the present keys for a purpose.
func (t *ticketry) derive(config *tls.Config, purpose string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	keys := make([][32]byte, len(t.keys))
	for i := range t.keys {
		mac := hmac.New(sha256.New, t.keys[i].Secret[:])
		mac.Write([]byte(purpose))
		mac.Sum(keys[i][:0])
	}
	config.SetSessionTicketKeys(keys)
}
