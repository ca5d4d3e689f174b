package console

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
)

// Drills breaks something on purpose for a while, beside what users wrote.
type Drills interface {
	// StartDrill has the faults of a drill met from now on, for its time. Its error is a *WrongDrill
	// where the drill is wrong, and ErrConflict where it cannot be now.
	StartDrill(ctx context.Context, o DrillOrder) error
	// StopDrill ends one before its time; ErrConflict: it does not run.
	StopDrill(ctx context.Context, namespace, name string) error
}

// DrillOrder is a drill that is to begin.
type DrillOrder struct {
	Namespace  string          `json:"namespace"`
	Name       string          `json:"name"`
	Reason     string          `json:"reason" doc:"why, for whoever finds it"`
	TargetRefs json.RawMessage `json:"targetRefs" doc:"as in a FaultPolicy"`
	Faults     json.RawMessage `json:"faults" doc:"as in a FaultPolicy"`
	Seconds    float64         `json:"seconds" doc:"how long, 1 to 3660"`
	By         string          `json:"-"`
}

// WrongDrill is a drill that cannot be run as it is.
type WrongDrill struct{ Problems []string }

// Error lists what is wrong.
func (w *WrongDrill) Error() string { return strings.Join(w.Problems, "; ") }

type drillView struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

func (c *Console) drillEndpoints() []endpoint {
	post := func(path, summary string, body any, handle http.HandlerFunc) endpoint {
		return endpoint{
			method: "POST", path: path, summary: summary, body: body, status: 200, answer: doneView{},
			media: "application/json", problems: []int{400, 409, 413}, mutation: true, handle: handle,
		}
	}
	return []endpoint{
		post("/api/v1/drills", "Breaks something on purpose, for a while and beside what users wrote.", DrillOrder{}, c.startDrill),
		post("/api/v1/drills/stop", "Ends a drill before its time.", drillView{}, c.stopDrill),
	}
}

func (c *Console) startDrill(w http.ResponseWriter, r *http.Request) {
	wrong := problem{
		Status: http.StatusBadRequest, Title: "wrong drill", Where: "request body",
		Remedy: "send namespace, name, reason, targetRefs, faults and seconds; or use weir drill run",
	}
	var body DrillOrder
	if !readBody(w, r, &body, wrong) {
		return
	}
	body.By = PrincipalOf(r.Context()).Name
	c.drilled(w, "started", c.cfg.Drills.StartDrill(context.WithoutCancel(r.Context()), body))
}

func (c *Console) stopDrill(w http.ResponseWriter, r *http.Request) {
	var body drillView
	if !readBody(w, r, &body, problem{Status: http.StatusBadRequest, Title: "which drill", Where: "request body", Remedy: "send its namespace and name"}) {
		return
	}
	c.drilled(w, "stopped", c.cfg.Drills.StopDrill(context.WithoutCancel(r.Context()), body.Namespace, body.Name))
}

func (c *Console) drilled(w http.ResponseWriter, done string, err error) {
	var wrong *WrongDrill
	switch {
	case errors.As(err, &wrong):
		problem{Status: http.StatusBadRequest, Title: "wrong drill", Detail: wrong.Error(), Remedy: "mend the drill's targetRefs and faults"}.write(w)
	case err != nil:
		problem{Status: http.StatusConflict, Title: "not possible now", Detail: err.Error(), Remedy: "see /api/v1/faults"}.write(w)
	default:
		answer(w, doneView{done})
	}
}
