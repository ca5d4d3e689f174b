package console

import (
	"net/http"
	"time"

	"weir.dev/weir/model"
)

// Shadows tells what copies of requests found, and forgets it.
type Shadows interface {
	Shadows() []model.ShadowReport
	// ResetShadow forgets what was counted for one, and reports whether there is one of that name.
	ResetShadow(name string) bool
}

// shadowView is a Shadow of a live route.
type shadowView struct {
	Name       string               `json:"name" doc:"namespace/name of the Shadow"`
	Since      time.Time            `json:"since" doc:"when this process began to count, or was last told to begin anew"`
	InFlight   int                  `json:"inFlight" doc:"requests whose copies or comparison are under way"`
	Answered   uint64               `json:"answered" doc:"copies, whatever the answer was"`
	Failed     uint64               `json:"failed" doc:"copies without a whole answer"`
	Dropped    []shadowDropView     `json:"dropped" doc:"copies that were not sent"`
	Comparison *shadowCompareView   `json:"comparison,omitempty" doc:"absent: answers are not compared"`
	Latency    *shadowLatenciesView `json:"latency,omitempty" doc:"time to the head of the answers that were compared"`
}

type shadowDropView struct {
	Reason string `json:"reason" doc:"in-flight, body, unfinished, upgrade, breaker, copy or unresolved"`
	Count  uint64 `json:"count"`
}

type shadowCompareView struct {
	Compared   uint64              `json:"compared" doc:"the sum of the next three"`
	Equal      uint64              `json:"equal"`
	Noise      uint64              `json:"noise" doc:"all that differs also differs between two answers of the primary"`
	Different  uint64              `json:"different"`
	Share      float64             `json:"share" doc:"of the compared that are different, 0 to 1"`
	Uncompared uint64              `json:"uncompared" doc:"an answer was missing or too long, or its coding is not known"`
	Fields     []shadowFieldView   `json:"fields" doc:"where answers differed, most often first; 100 at most"`
	Other      uint64              `json:"other" doc:"differences in further places"`
	Examples   []shadowExampleView `json:"examples" doc:"the newest first; 10 at most"`
}

type shadowFieldView struct {
	Field     string `json:"field" doc:"status, header NAME, body, or a JSON path with [*] for any index"`
	Different uint64 `json:"different" doc:"answers of primary and shadow that differ here"`
	Noise     uint64 `json:"noise" doc:"pairs of answers of the primary that differ here"`
	Net       uint64 `json:"net" doc:"of different, those whose pair does not differ here"`
	Noisy     bool   `json:"noisy" doc:"the primary differs from itself about as often"`
}

type shadowExampleView struct {
	At      time.Time `json:"at"`
	Method  string    `json:"method"`
	Path    string    `json:"path" doc:"without the query"`
	Field   string    `json:"field"`
	Primary string    `json:"primary"`
	Shadow  string    `json:"shadow"`
}

type shadowLatenciesView struct {
	Primary shadowLatencyView `json:"primary"`
	Shadow  shadowLatencyView `json:"shadow"`
	Ratio   shadowRatioView   `json:"ratio" doc:"the shadow's divided by the primary's; 0: not known"`
}

type shadowLatencyView struct {
	P50 float64 `json:"p50Ms"`
	P95 float64 `json:"p95Ms"`
	P99 float64 `json:"p99Ms"`
}

type shadowRatioView struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
}

type shadowResetView struct {
	Shadow string `json:"shadow" doc:"namespace/name of the Shadow"`
}

func (c *Console) shadowEndpoints(get func(path, summary string, parameters []parameter, answer any, handle http.HandlerFunc, problems ...int) endpoint) []endpoint {
	return []endpoint{
		get("/api/v1/shadows", "What copies of requests found, by Shadow.", join(paging, byName), list[shadowView]{}, c.serveShadows, 400),
		{
			method: "POST", path: "/api/v1/shadows/reset", summary: "Forgets what was counted and compared for a Shadow.",
			body: shadowResetView{}, status: 202, answer: doneView{}, media: "application/json", problems: []int{400, 404, 413},
			mutation: true, handle: c.resetShadow,
		},
	}
}

func (c *Console) serveShadows(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	p, ok := pageOf(w, q)
	if !ok {
		return
	}
	var items []keyed[model.ShadowReport]
	for _, s := range c.cfg.Shadows.Shadows() {
		if named(q, s.Shadow) {
			items = append(items, keyed[model.ShadowReport]{s.Shadow, s})
		}
	}
	serveList(c, w, p, sorted(items), viewShadow)
}

func (c *Console) resetShadow(w http.ResponseWriter, r *http.Request) {
	wrong := problem{
		Status: http.StatusBadRequest, Title: "which shadow", Where: "request body", Remedy: `send {"shadow": "namespace/name"}`,
	}
	var body shadowResetView
	if !readBody(w, r, &body, wrong) {
		return
	}
	switch {
	case body.Shadow == "":
		wrong.write(w)
	case !c.cfg.Shadows.ResetShadow(body.Shadow):
		problem{Status: http.StatusNotFound, Title: "no such shadow", Where: "request body", Detail: "no live Shadow has that name", Remedy: "see /api/v1/shadows"}.write(w)
	default:
		write(w, http.StatusAccepted, "application/json", doneView{"reset"})
	}
}

func viewShadow(r model.ShadowReport) shadowView {
	v := shadowView{
		Name: r.Shadow, Since: r.Since, InFlight: r.Copies.InFlight, Answered: r.Copies.Answered, Failed: r.Copies.Failed,
		Dropped: []shadowDropView{},
	}
	for _, d := range r.Copies.Dropped {
		v.Dropped = append(v.Dropped, shadowDropView(d))
	}
	from := r.Comparison
	if from == nil {
		return v
	}
	to := &shadowCompareView{
		Compared: from.Compared(), Equal: from.Equal, Noise: from.Noise, Different: from.Different, Uncompared: from.Uncompared,
		Other: from.Other, Fields: []shadowFieldView{}, Examples: []shadowExampleView{},
	}
	if to.Compared > 0 {
		to.Share = float64(to.Different) / float64(to.Compared)
	}
	for _, f := range from.Fields {
		to.Fields = append(to.Fields, shadowFieldView(f))
	}
	for _, e := range from.Examples {
		to.Examples = append(to.Examples, shadowExampleView(e))
	}
	v.Comparison = to
	if l := from.Latency; l != nil {
		v.Latency = &shadowLatenciesView{
			Primary: viewQuantiles(l.Primary), Shadow: viewQuantiles(l.Shadow),
			Ratio: shadowRatioView{ratio(l.Shadow.P50, l.Primary.P50), ratio(l.Shadow.P95, l.Primary.P95), ratio(l.Shadow.P99, l.Primary.P99)},
		}
	}
	return v
}

func viewQuantiles(q model.ShadowQuantiles) shadowLatencyView {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return shadowLatencyView{ms(q.P50), ms(q.P95), ms(q.P99)}
}

func ratio(a, b time.Duration) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}
