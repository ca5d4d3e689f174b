package app

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"weir.dev/weir/console"
	"weir.dev/weir/controlplane/resource"
)

const (
	defaultNamespace = "default"               // of a drill that says none, as of a file
	maxDrills        = 16                      // at once
	maxDrill         = time.Hour + time.Minute // one: a phase of a Drill, and the time that who runs it has to end it
	leastDrill       = time.Second
	drillNoSource    = "nothing is configured yet"
)

// drills are FaultPolicies that live beside what the source delivers, each for a time: what users
// wrote is never touched. They end with the process, and their faults when they expire whatever
// becomes of it.
type drills struct {
	mu      sync.Mutex
	last    *resource.Set // of the source; nil: none yet
	running map[resource.Key]*runningDrill
	over    bool // the process ends: no more begin
}

type runningDrill struct {
	name   string
	object *resource.Object
	timer  *time.Timer
}

// deliver carries a set of the source, and what drills add to it.
func (a *App) deliver(set *resource.Set) {
	a.drills.mu.Lock()
	defer a.drills.mu.Unlock()
	a.drills.last = set
	a.redeliver()
}

// redeliver carries the last set anew. It gets the next revision: they grow over upgrades, too.
// The lock of drills is held.
func (a *App) redeliver() {
	var extra []*resource.Object
	for _, d := range a.drills.running {
		extra = append(extra, d.object)
	}
	set := a.drills.last.With(extra)
	set.Revision = a.revision.Add(1)
	a.pipeline.deliver(set)
}

// StartDrill implements console.Drills.
func (a *App) StartDrill(_ context.Context, o console.DrillOrder) error {
	lasts := time.Duration(o.Seconds * float64(time.Second))
	if lasts < leastDrill || lasts > maxDrill {
		return &console.WrongDrill{Problems: []string{fmt.Sprintf("seconds: %g: want %v to %v", o.Seconds, leastDrill, maxDrill)}}
	}
	o.Namespace = cmp.Or(o.Namespace, defaultNamespace)
	expires := time.Now().Add(lasts)
	faults := resource.DrillFaults{Namespace: o.Namespace, Name: o.Name, Reason: o.Reason, TargetRefs: o.TargetRefs, Faults: o.Faults}
	object, wrong := faults.Policy(expires)
	if object == nil {
		return &console.WrongDrill{Problems: texts(wrong)}
	}
	d := &a.drills
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.over:
		return fmt.Errorf("%w: this process ends", console.ErrConflict)
	case a.upgrading.Load():
		return fmt.Errorf("%w: a new process takes this one's place, and knows of no drill", console.ErrConflict)
	case d.last == nil:
		return fmt.Errorf("%w: %s", console.ErrConflict, drillNoSource)
	case d.running[object.Key] != nil:
		return fmt.Errorf("%w: drill %s runs already", console.ErrConflict, o.Name)
	case faults.Taken(d.last) != "":
		return fmt.Errorf("%w: %s", console.ErrConflict, faults.Taken(d.last))
	case len(d.running) >= maxDrills:
		return fmt.Errorf("%w: %d drills run already, which is the most", console.ErrConflict, maxDrills)
	}
	if d.running == nil {
		d.running = map[resource.Key]*runningDrill{}
	}
	d.running[object.Key] = &runningDrill{name: o.Name, object: object, timer: time.AfterFunc(lasts, func() { a.endDrill(object.Key) })}
	a.redeliver()
	if problems := a.pipeline.now.Load().output.UselessFaults(object.Key); len(problems) > 0 {
		d.running[object.Key].timer.Stop()
		delete(d.running, object.Key)
		a.redeliver()
		return &console.WrongDrill{Problems: texts(problems)}
	}
	a.log.LogAttrs(context.Background(), slog.LevelWarn, "a drill breaks something on purpose", slog.String("drill", o.Namespace+"/"+o.Name),
		slog.String("by", o.By), slog.String("reason", o.Reason), slog.Time("until", expires))
	return nil
}

// texts are what diagnostics say, without where.
func texts(found []resource.Diagnostic) (list []string) {
	for _, d := range found {
		list = append(list, strings.TrimPrefix(d.Field+": "+d.Message, ": "))
	}
	return list
}

// StopDrill implements console.Drills.
func (a *App) StopDrill(_ context.Context, namespace, name string) error {
	namespace = cmp.Or(namespace, defaultNamespace)
	if !a.endDrill(resource.DrillFaults{Namespace: namespace, Name: name}.Key()) {
		return fmt.Errorf("%w: no drill %s/%s runs", console.ErrConflict, namespace, name)
	}
	return nil
}

// endDrill takes a drill's faults away, and reports whether it ran.
func (a *App) endDrill(key resource.Key) bool {
	d := &a.drills
	d.mu.Lock()
	defer d.mu.Unlock()
	run := d.running[key]
	if run == nil {
		return false
	}
	run.timer.Stop()
	delete(d.running, key)
	a.redeliver()
	a.log.LogAttrs(context.Background(), slog.LevelInfo, "a drill is over", slog.String("drill", key.Namespace+"/"+run.name))
	return true
}

// endDrills ends all of them, at the end of the process.
func (a *App) endDrills() {
	a.drills.mu.Lock()
	a.drills.over = true
	keys := slices.Collect(maps.Keys(a.drills.running))
	a.drills.mu.Unlock()
	for _, key := range keys {
		a.endDrill(key)
	}
}
