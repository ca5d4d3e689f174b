package proxy

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestPumpGetsItsTurn: the connection of a request whose last bytes are written while its answer ends is kept,
// if that takes no longer than a turn of the processor, and one that takes no more bytes is not waited for.
func TestPumpGetsItsTurn(t *testing.T) {
	for name, c := range map[string]struct {
		ending bool
		takes  time.Duration // the last write
		ends   bool
		waits  time.Duration
	}{
		"late":    {true, lastTurn / 2, true, lastTurn / 2},
		"stuck":   {true, time.Hour, false, lastTurn},
		"reading": {false, time.Hour, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pump{done: make(chan struct{})}
				p.ending.Store(c.ending)
				go func() {
					time.Sleep(c.takes)
					p.ended.Store(true)
					close(p.done)
				}()
				began := time.Now()
				if got, waited := p.ends(), time.Since(began); got != c.ends || waited != c.waits {
					t.Errorf("%v after %v, want %v after %v", got, waited, c.ends, c.waits)
				}
				<-p.done
			})
		})
	}
}
