package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"weir.dev/weir/controlplane/resource"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// remedies say what to do about an address that the kernel does not give.
var remedies = []struct {
	cause error
	text  string
}{
	{syscall.EADDRINUSE, "end what listens there"},
	{syscall.EACCES, "run with the right to use ports below 1024"},
	{syscall.EADDRNOTAVAIL, "give this machine that address"},
}

// remedy adds to an error of the engines who asked for what they could not get, and what to
// do about it. Errors that it knows nothing about stay as they are.
func (a *App) remedy(set *resource.Set, s *model.Snapshot, err error) error {
	for _, r := range remedies {
		switch {
		case !errors.Is(err, r.cause):
		case a.files == nil:
			return fmt.Errorf("%s: %w; %s, or choose another address with %[1]s", a.cfg.InlineName, err, r.text)
		default:
			err = fmt.Errorf("%w; %s", err, r.text)
			if closed := a.closed(set, s); len(closed) > 0 { // else it is only HTTP/3 that has no port
				err = fmt.Errorf("%w, or change %s", err, strings.Join(closed, " and "))
			}
			return err
		}
	}
	return err
}

// closed names the Gateways and ListenerSets with listeners that are not open, and where they are written.
func (a *App) closed(set *resource.Set, s *model.Snapshot) []string {
	var names []string
	open := a.proxy.Addresses()
	for _, l := range s.Listeners {
		if open[l.Name] != nil {
			continue
		}
		for _, name := range translate.ListenersOf(l) {
			key, _ := translate.TableOwner(name)
			if o := set.Get(key); o != nil {
				names = append(names, fmt.Sprintf("%v (%v)", key, o.At))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
