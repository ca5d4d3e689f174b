package transport

import (
	"math"
	"sync/atomic"
)

// larges counts the large buffers of the process: who reads much at once into one and passes it on
// to somebody slow holds it for as long as that takes, and there may be any number of such. They
// are pooled for the process, and so is their bound.
var larges = newAccount()

// account bounds a number of buffers.
type account struct{ held, most atomic.Int64 }

func newAccount() *account {
	a := new(account)
	a.most.Store(math.MaxInt64)
	return a
}

// take counts one more, if there may be.
func (a *account) take() bool {
	if a.held.Add(1) <= a.most.Load() {
		return true
	}
	a.held.Add(-1)
	return false
}

// BoundLarge sets how many bytes the large buffers of the process may take together; 0: any
// number, as at first. Those that are in use stay. Beyond it reads are into small ones: bodies pass
// as before, in smaller pieces.
func BoundLarge(bytes int64) {
	most := int64(math.MaxInt64)
	if bytes > 0 {
		most = bytes / Large
	}
	larges.most.Store(most)
}

// LargeHeld returns how many bytes the large buffers that are in use take together.
func LargeHeld() int64 { return larges.held.Load() * Large }
