package source

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"weir.dev/weir/controlplane/resource"
)

// An object that files no longer declare is an orphan until it is deleted. That is not at
// once, so that an object which moves from one file to another, or whose file is being
// written, is not missing in between, and so that a removal of many files is judged as one:
//
//	declared ──► orphan ──quiet──► deleted
//	    ▲           │
//	    │           ├── its file is unclear: retained, until it is not
//	    └───────────┴── most routes, or all of a folder: held, until consent

// Timing of deletions.
const (
	quiet   = 100 * time.Millisecond // without another orphan, before orphans are deleted
	unquiet = 2 * time.Second        // the longest that this takes
)

// orphan is what is known of an object that is live and no longer declared.
type orphan struct {
	since time.Time // when it was first seen to be gone from a file that is clear
	held  bool      // waits for consent
}

// retained are the objects that are live although nothing declares them.
type retained struct {
	unclear []*resource.Object // their file may still declare them
	held    []*resource.Object // their deletion waits for consent
	leaving []*resource.Object // they will be deleted in a moment
}

// deleteOrphans removes what is no longer declared, when it is time to.
func (a *Accepted) deleteOrphans(c Change) (kept retained) {
	var gone []*resource.Object // in files that are clear
	var first, last time.Time
	for key, was := range a.orphans {
		o := a.live(key)
		if o.Value == nil { // it never served
			a.remove(o)
			continue
		}
		if a.unclear(o.At.File) {
			a.orphans[key] = orphan{}
			kept.unclear = append(kept.unclear, o)
			continue
		}
		if was.since.IsZero() {
			was.since = c.Now
			a.orphans[key] = was
		}
		gone = append(gone, o)
		if was.held {
			continue
		}
		if first.IsZero() || was.since.Before(first) {
			first = was.since
		}
		if was.since.After(last) {
			last = was.since
		}
	}
	if a.base < 0 && len(gone)+len(a.missing) > 0 {
		a.base = a.routes()
	}
	a.due = time.Time{}
	if due := earlier(first.Add(unquiet), last.Add(quiet)); !c.Now.IsZero() && c.Now.Before(due) {
		a.due = due
	} else if !c.Consent {
		a.hold(gone)
	}
	for _, o := range gone {
		switch held := a.orphans[o.Key].held; {
		case held && !c.Consent:
			kept.held = append(kept.held, o)
		case held || a.due.IsZero():
			a.remove(o)
		default:
			kept.leaving = append(kept.leaving, o)
		}
	}
	a.held = len(kept.held)
	return kept
}

func (a *Accepted) remove(o *resource.Object) {
	delete(a.orphans, o.Key)
	a.changed[o.Key] = nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// hold makes objects wait for consent: all of them if most routes are among them, else those
// of folders that hold nothing any more. What waits goes on waiting, as long as it has routes.
func (a *Accepted) hold(gone []*resource.Object) {
	routes, waiting := 0, 0
	for _, o := range gone {
		if !isRoute(o) {
			continue
		}
		if _, young := a.young[o.Key]; !young {
			routes++
		}
		if a.orphans[o.Key].held {
			waiting++
		}
	}
	all := routes > 0 && 2*routes > a.base
	for _, o := range gone {
		was := a.orphans[o.Key]
		was.held = all || was.held && waiting > 0 || a.emptiedFolder(o.At.File) != ""
		a.orphans[o.Key] = was
	}
}

// emptiedFolder returns the given folder of a file if it holds nothing any more.
func (a *Accepted) emptiedFolder(file string) string {
	for _, folder := range a.emptied {
		if below, err := filepath.Rel(folder, file); err == nil && below != "." && filepath.IsLocal(below) {
			return folder
		}
	}
	return ""
}

const consent = `until --allow-mass-delete, or POST /api/v1/mass-delete with -H "Authorization: Bearer $(cat TOKENFILE)", consents`

// consents says what waits for consent: of each emptied folder, and of routes elsewhere.
func (a *Accepted) consents(held []*resource.Object) (all []resource.Diagnostic) {
	folders := map[string]int{}
	var routes []*resource.Object
	for _, o := range held {
		if folder := a.emptiedFolder(o.At.File); folder != "" {
			folders[folder]++
		} else if isRoute(o) {
			routes = append(routes, o)
		}
	}
	for folder, n := range folders {
		all = append(all, resource.Diagnostic{
			Rule: resource.RuleMassDelete, At: resource.Position{File: folder},
			Message: fmt.Sprintf("the folder holds no resources any more: %s %s", stay(n), consent),
		})
	}
	if len(routes) > 0 {
		first := slices.MinFunc(routes, byKey)
		why, verb := "no longer declared", "stay"
		if a.files[first.At.File] == nil {
			why = "no longer declared: the file was deleted"
		}
		if len(routes) == 1 {
			verb = "stays"
		}
		all = append(all, resource.Diagnostic{
			Rule: resource.RuleMassDelete, At: resource.Position{File: first.At.File}, Object: first.Key,
			Message: fmt.Sprintf("%s. That would delete %d of %d routes, which %s live %s", why, len(routes), a.routes(), verb, consent),
		})
	}
	return all
}
