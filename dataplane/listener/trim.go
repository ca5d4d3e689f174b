package listener

import "time"

// The stacks of goroutines that have ended are free after the next garbage collection only,
// and an idle proxy allocates so little that the next one may be two minutes off; then the
// runtime keeps much of what is free for later. So the lot asks for all of it to be given
// back to the system when parking has freed much:
const (
	trimGrowth = 1000             // connections more parked than when it last asked
	trimDelay  = 2 * time.Second  // after the growth was seen: the others of a wave are parked with them
	trimGap    = 15 * time.Second // between two, at least: a collection costs up to some 100 ms of one core
)

// trim gives memory back after a wave of parking, for as long as waves come.
func (l *lot) trim() {
	for {
		if !l.pause(trimDelay) {
			return
		}
		l.mu.Lock()
		l.trimmed = l.parked
		l.mu.Unlock()
		l.giveBack()
		if !l.pause(trimGap - trimDelay) {
			return
		}
		l.mu.Lock()
		l.trimming = l.grown()
		again := l.trimming
		l.mu.Unlock()
		if !again {
			return
		}
	}
}

// grown reports whether it is worth a collection. It is called with mu held.
func (l *lot) grown() bool { return l.parked >= l.trimmed+trimGrowth }

// pause waits, and reports false when the lot is closed first.
func (l *lot) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.quit:
		return false
	}
}
