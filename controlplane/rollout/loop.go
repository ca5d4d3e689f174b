package rollout

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"time"

	"weir.dev/weir/controlplane/state"
	"weir.dev/weir/controlplane/translate"
	"weir.dev/weir/model"
)

// Keeper gives the store to the one process that holds the state folder.
type Keeper interface {
	// Try does not wait: state.ErrHeld says that another process holds the folder.
	Try() (*state.Store, error)
	// Wait waits until it has the folder, or ctx ends.
	Wait(ctx context.Context) (*state.Store, error)
}

// Objectives says how objectives are met.
type Objectives interface {
	// Judge is the verdict on an objective, by namespace/name, and one sentence with numbers.
	Judge(name string) (Verdict, string)
	// Frozen says which objective keeps a Rollout from getting any further, and why.
	Frozen(rollout string) (owner, reason string, frozen bool)
}

// Querier answers PromQL at a time. A scalar is one sample without labels.
type Querier interface {
	Query(ctx context.Context, query string, at time.Time) ([]model.Sample, error)
}

// Config is what a Loop needs of others.
type Config struct {
	Keeper Keeper
	// Tune gives proxies all knobs of releases, and the secret that signs ids of users; nil: nobody
	// needs one.
	Tune func(knobs []model.ReleaseKnob, secret []byte) error
	// Observe is what proxies have seen.
	Observe func() []model.ReleaseObservation
	// Trips hears when a proxy has tripped.
	Trips <-chan struct{}

	Objectives Objectives   // nil: there are none, and gates that ask for one get Error
	Queries    Querier      // of our own time series; nil: there are none
	Client     *http.Client // for webhooks and queries elsewhere; its redirects are never followed

	Log *slog.Logger
}

// Loop has the state machines of all Rollouts do what they decide. A decision is on disk before proxies
// hear of it, but for one that takes from a canary.
type Loop struct {
	cfg   Config
	gates *gatekeeper

	mu       sync.Mutex
	plans    []translate.RolloutPlan
	store    *state.Store // nil: not held
	problem  string       // why there is none, or why it could not be written
	told     string       // the problem that the log had last, unless all has been well since
	rollouts map[string]*Rollout
	unsaved  map[string][]Entry // of those whose State is not on disk: the history that is not, either
	turns    map[string]*turn   // what has been decided and not settled yet
	writing  *writing           // what the disk is writing; nil: nothing
	rest     time.Time          // until then nothing but decisions is written
	knobs    []model.ReleaseKnob
	secret   []byte
	tuned    bool
	begun    bool // the store may be taken

	wanted  chan struct{} // somebody wants the store, which another process holds
	results chan answered
	asked   sync.WaitGroup
	asking  context.Context // of Run; nil: it does not run
}

type answered struct {
	name   string
	result *RoundResult
}

// Buckets of the store.
const (
	stateBucket   = "rollouts"
	historyBucket = "rollout-history"
	secretName    = "sample"
)

const (
	historyKept  = 100 // entries of each Rollout
	goneKept     = 200 // Rollouts that were deleted, for their numbers
	lookEvery    = time.Second
	retryEvery   = 5 * time.Second
	secretLength = 32
)

// ErrUnknown says that there is no Rollout of a name.
var ErrUnknown = errors.New("there is no such Rollout")

// Refusal says why a command was not done.
type Refusal struct{ Why string }

func (r *Refusal) Error() string { return r.Why }

// NewLoop returns a loop that knows of no Rollout yet.
func NewLoop(c Config) *Loop {
	if c.Client == nil {
		c.Client = &http.Client{}
	}
	return &Loop{
		cfg: c, gates: newGatekeeper(c), rollouts: map[string]*Rollout{}, unsaved: map[string][]Entry{}, turns: map[string]*turn{},
		wanted: make(chan struct{}, 1), results: make(chan answered),
	}
}

// Plan takes what is written now. When it returns, proxies have been told what follows from that at
// once. While another process holds the state they are told nothing, so that everything is stable's.
func (l *Loop) Plan(plans []translate.RolloutPlan) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.plans = plans
	l.act()
}

// Begin lets the loop have the store from now on, until Run ends. Call it before the first Plan, and
// Run soon.
func (l *Loop) Begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun, l.tuned = true, false
	if len(l.plans) > 0 {
		l.act()
	}
}

// act acts on what is written now, as far as that can be.
func (l *Loop) act() {
	l.land()
	if l.store == nil && len(l.plans) > 0 && l.begun {
		l.take(l.cfg.Keeper.Try)
	} else {
		l.replan()
	}
	l.tune(nil)
}

// take has the store by one of the keeper's ways.
func (l *Loop) take(get func() (*state.Store, error)) {
	s, err := get()
	if err != nil {
		if l.problem != err.Error() && !errors.Is(err, context.Canceled) {
			l.problem = err.Error()
			l.cfg.Log.LogAttrs(context.Background(), slog.LevelError, "rollouts cannot be decided: everything stays on stable", slog.Any("error", err))
		}
		if errors.Is(err, state.ErrHeld) {
			select {
			case l.wanted <- struct{}{}:
			default:
			}
		}
		return
	}
	l.problem = ""
	l.attach(s)
}

// attach begins with what a store says.
func (l *Loop) attach(s *state.Store) {
	l.store = s
	clear(l.rollouts)
	clear(l.unsaved)
	l.writing = nil
	for _, name := range s.Keys(stateBucket) {
		var was State
		if _, err := s.Read(stateBucket, name, &was); err != nil {
			l.rollouts[name] = New(name, "its state cannot be read ("+err.Error()+")")
			continue
		}
		l.rollouts[name] = Restore(was)
	}
	l.replan()
	if s.Lost() == "" || len(l.plans) == 0 || len(l.unsaved) > 0 {
		return
	}
	if slices.ContainsFunc(l.plans, func(p translate.RolloutPlan) bool { return l.rollouts[p.Name] == nil }) {
		return // it is to be told the next time
	}
	if err := s.Regain(); err != nil {
		l.failed(err)
	}
}

// replan tells each Rollout what is written of it, if that has changed.
func (l *Loop) replan() {
	if l.store == nil {
		return
	}
	there := make(map[string]bool, len(l.plans))
	for i := range l.plans {
		p := &l.plans[i]
		there[p.Name] = true
		r := l.rollouts[p.Name]
		if r == nil {
			r = New(p.Name, l.store.Lost())
			l.rollouts[p.Name] = r
		}
		l.thaw(r)
		if r = l.rollouts[p.Name]; r.plan == nil || !reflect.DeepEqual(*r.plan, *p) {
			l.step(p.Name, Event{Plan: p})
		}
	}
	for name, r := range l.rollouts {
		if !there[name] && r.Phase != Gone {
			l.step(name, Event{Gone: true})
		}
	}
	_ = l.settle() // an error is shown, and it is tried again
	l.prune()
}

// prune forgets the Rollouts that have been gone for longest when they are many.
func (l *Loop) prune() {
	var gone []*Rollout
	for _, r := range l.rollouts {
		if r.Phase == Gone {
			gone = append(gone, r)
		}
	}
	if len(gone) <= goneKept {
		return
	}
	slices.SortFunc(gone, func(a, b *Rollout) int { return a.PhaseBegan.Compare(b.PhaseBegan) })
	var b state.Batch
	for _, r := range gone[:len(gone)-goneKept] {
		delete(l.rollouts, r.Name)
		delete(l.unsaved, r.Name)
		b.Remove(stateBucket, r.Name)
		b.Forget(l.store, historyBucket, r.Name)
	}
	if err := l.store.Commit(&b); err != nil {
		l.failed(err)
	}
}

// failed says, once, that the state cannot be written.
func (l *Loop) failed(err error) {
	l.problem = err.Error()
	if l.told == l.problem {
		return
	}
	l.told = l.problem
	l.cfg.Log.LogAttrs(context.Background(), slog.LevelError, "rollouts hold: decisions cannot be written down", slog.Any("error", err))
}

func (l *Loop) say(name string, e *Entry) {
	level := slog.LevelInfo
	if e.What == "tripped" || e.What == "aborted" {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{
		slog.String("rollout", name), slog.String("what", e.What), slog.Uint64("run", e.Run), slog.String("share", e.Share.String()), slog.String("by", e.Who),
	}
	for _, a := range []slog.Attr{slog.String("why", e.Why), slog.String("seen", e.Numbers)} {
		if a.Value.String() != "" {
			attrs = append(attrs, a)
		}
	}
	l.cfg.Log.LogAttrs(context.Background(), level, "rollout", attrs...)
}

// tune tells proxies all knobs, if they have changed. Of what is not on disk yet they are told only what takes
// from a canary.
func (l *Loop) tune(unwritten map[string]*turn) {
	knobs := make([]model.ReleaseKnob, 0, len(l.plans))
	for _, name := range slices.Sorted(maps.Keys(l.rollouts)) {
		r := l.rollouts[name]
		if t := unwritten[name]; t != nil && !t.retreat {
			r = t.was
		}
		if k := r.Knob(); k != nil {
			knobs = append(knobs, *k)
		}
	}
	secret := l.secretFor()
	if l.tuned && reflect.DeepEqual(knobs, l.knobs) && slices.Equal(secret, l.secret) {
		return
	}
	if err := l.cfg.Tune(knobs, secret); err != nil {
		l.cfg.Log.LogAttrs(context.Background(), slog.LevelError, "knobs are not in effect as a whole", slog.Any("error", err))
	}
	l.knobs, l.secret, l.tuned = knobs, secret, true
}

// secretFor is the secret that signs ids, if some Rollout gives any.
func (l *Loop) secretFor() []byte {
	if l.store == nil || l.secret != nil {
		return l.secret
	}
	if !slices.ContainsFunc(l.plans, func(p translate.RolloutPlan) bool {
		return p.Release != nil && p.Release.Sampling.Fallback == model.FallbackCookie
	}) {
		return nil
	}
	secret, err := l.store.Secret(secretName, secretLength)
	if err != nil { // without one no ids are given
		l.failed(err)
		return nil
	}
	return secret
}
