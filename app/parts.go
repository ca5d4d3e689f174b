package app

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// parts are the goroutines of a running app, by what they are.
type parts struct {
	failed chan error // the first error of a part that ended by itself
	mu     sync.Mutex
	errs   []error
	groups map[string]*sync.WaitGroup
}

func newParts() *parts {
	return &parts{failed: make(chan error, 1), groups: map[string]*sync.WaitGroup{}}
}

// run starts a part. An error of its own is sent to failed.
func (p *parts) run(name string, f func() error) {
	group := p.group(name)
	group.Go(func() {
		err := f()
		if err == nil {
			return
		}
		p.put(fmt.Errorf("%s: %w", name, err))
	})
}

// put makes an error the one in failed, if there is none.
func (p *parts) put(err error) {
	select {
	case p.failed <- err:
	default:
		p.mu.Lock()
		defer p.mu.Unlock()
		p.errs = append(p.errs, err)
	}
}

func (p *parts) group(name string) *sync.WaitGroup {
	if p.groups[name] == nil {
		p.groups[name] = new(sync.WaitGroup)
	}
	return p.groups[name]
}

// await returns when every part of that name has ended.
func (p *parts) await(name string) { p.group(name).Wait() }

// pause waits for d, less if a part fails meanwhile.
func (p *parts) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case err := <-p.failed:
		p.mu.Lock()
		defer p.mu.Unlock()
		p.errs = append(p.errs, err)
	}
}

// end waits for every part and returns the errors that nobody has taken from failed.
func (p *parts) end() error {
	for _, group := range p.groups {
		group.Wait()
	}
	select {
	case err := <-p.failed:
		p.errs = append(p.errs, err)
	default:
	}
	return errors.Join(p.errs...)
}
