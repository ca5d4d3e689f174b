package console

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"
)

// Faults tells of what is broken on purpose, and stops it.
type Faults interface {
	Faults() []Fault
	// StopFaults stops the faults that an order names, or lets them go on, and returns how many it
	// named. What is stopped stays so over restarts, until it goes on or is written anew.
	StopFaults(ctx context.Context, o FaultOrder) (int, error)
}

// Fault is one fault of a FaultPolicy that may be met.
type Fault struct {
	Policy   string    `json:"policy" doc:"namespace/name of the FaultPolicy"`
	Name     string    `json:"name"`
	Does     string    `json:"does" doc:"as in delay 300ms, abort 503, reset, throttle 1024 B/s"`
	Share    float64   `json:"share" doc:"of the requests for which its condition holds, 0 to 1"`
	When     string    `json:"when,omitempty" doc:"its condition; absent: every request"`
	Routes   []string  `json:"routes"`
	Reason   string    `json:"reason" doc:"why somebody wrote it"`
	Expires  time.Time `json:"expires"`
	State    string    `json:"state" doc:"active, stopped or expired"`
	Injected uint64    `json:"injected" doc:"requests that met it in this process"`
	Stop     *Stop     `json:"stop,omitempty" doc:"who stopped it, and why"`
	Origin   string    `json:"origin,omitempty" doc:"where it is written"`
}

// States of a fault.
const (
	FaultActive  = "active"
	FaultStopped = "stopped"
	FaultExpired = "expired"
)

// Stop is why a fault was stopped.
type Stop struct {
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// FaultOrder says which faults are to stop, or to go on.
type FaultOrder struct {
	Policies []string // namespace/name; empty: every one
	Resume   bool     // let them go on
	Stop     Stop
}

type faultOrderView struct {
	Policies []string `json:"policies,omitempty" doc:"namespace/name of FaultPolicies"`
	All      bool     `json:"all,omitempty" doc:"every FaultPolicy"`
	Reason   string   `json:"reason,omitempty"`
}

type faultsDoneView struct {
	Done   string `json:"done" doc:"what was done"`
	Faults int    `json:"faults" doc:"how many faults it was done to"`
	// Unknown are asked for in vain.
	Unknown []string `json:"unknown,omitempty" doc:"FaultPolicies that were named and are not live"`
}

func (c *Console) faultEndpoints(get func(path, summary string, parameters []parameter, answer any, handle http.HandlerFunc, problems ...int) endpoint) []endpoint {
	order := func(path, summary string, resume bool) endpoint {
		return endpoint{
			method: "POST", path: path, summary: summary, body: faultOrderView{}, status: 200, answer: faultsDoneView{},
			media: "application/json", problems: []int{400, 404, 413, 500}, mutation: true, handle: c.orderFaults(resume),
		}
	}
	return []endpoint{
		get("/api/v1/faults", "What is broken on purpose; what is active first.", join(paging, byName, []parameter{
			{"state", "string", "active, stopped or expired"},
		}), list[Fault]{}, c.serveFaults, 400),
		order("/api/v1/faults/stop", "Stops faults at once.", false),
		order("/api/v1/faults/resume", "Lets stopped faults go on.", true),
	}
}

func (c *Console) serveFaults(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p, ok := pageOf(w, q)
	if !ok {
		return
	}
	var items []keyed[Fault]
	for _, f := range c.cfg.Faults.Faults() {
		if fits(q, "state", f.State) && named(q, f.Policy) {
			rank := string(rune('0' + slices.Index([]string{FaultActive, FaultStopped, FaultExpired}, f.State)))
			items = append(items, keyed[Fault]{rank + f.Policy + "\x00" + f.Name, f})
		}
	}
	serveList(c, w, p, sorted(items), func(f Fault) Fault { return f })
}

func (c *Console) orderFaults(resume bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		wrong := problem{
			Status: http.StatusBadRequest, Title: "which faults", Where: "request body",
			Remedy: `send {"policies": ["namespace/name"]}, or {"all": true}`,
		}
		var body faultOrderView
		if !readBody(w, r, &body, wrong) {
			return
		}
		if body.All != (len(body.Policies) == 0) {
			wrong.write(w)
			return
		}
		unknown := c.unknownFaults(body.Policies)
		n, err := c.cfg.Faults.StopFaults(context.WithoutCancel(r.Context()), FaultOrder{
			Policies: body.Policies, Resume: resume,
			Stop: Stop{By: PrincipalOf(r.Context()).Name, Reason: body.Reason, At: c.cfg.Now()},
		})
		switch {
		case err != nil:
			problem{Status: http.StatusInternalServerError, Title: "it did not work", Where: r.URL.Path, Detail: err.Error(), Remedy: "look at the log; what is live may be stopped all the same: see /api/v1/faults"}.write(w)
			return
		case n == 0 && !body.All:
			problem{Status: http.StatusNotFound, Title: "no such fault", Where: "request body", Detail: "no live FaultPolicy has that name", Remedy: "see /api/v1/faults"}.write(w)
			return
		}
		answer(w, faultsDoneView{Done: cmp.Or(map[bool]string{true: "resumed"}[resume], "stopped"), Faults: n, Unknown: unknown})
	}
}

// unknownFaults returns those of some FaultPolicies that are not live.
func (c *Console) unknownFaults(policies []string) []string {
	live := map[string]bool{}
	for _, f := range c.cfg.Faults.Faults() {
		live[f.Policy] = true
	}
	return slices.DeleteFunc(slices.Clone(policies), func(p string) bool { return live[p] })
}
