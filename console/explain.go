package console

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"

	"weir.dev/weir/controlplane/explain"
	"weir.dev/weir/model"
)

// explainBody asks what happens to a request.
type explainBody struct {
	Method   string              `json:"method,omitempty" doc:"default GET"`
	URL      string              `json:"url" doc:"http://HOST[:PORT]/PATH"`
	Headers  map[string][]string `json:"headers,omitempty" doc:"a Host replaces the URL's"`
	Listener string              `json:"listener,omitempty" doc:"address of the listener that gets the request, where the URL does not say which"`
}

// explainEndpoint answers by the live snapshot. It changes nothing and so needs no token.
func (c *Console) explainEndpoint() endpoint {
	return endpoint{
		method: "POST", path: "/api/v1/explain", summary: "What happens to a request that nobody sends, and why.",
		body: explainBody{}, status: http.StatusOK, answer: model.Explanation{}, media: "application/json",
		problems: []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusServiceUnavailable},
		handle:   c.serveExplanation,
	}
}

func (c *Console) serveExplanation(w http.ResponseWriter, r *http.Request) {
	wrong := problem{
		Status: http.StatusBadRequest, Title: "not a request", Where: "request body",
		Remedy: `send {"method": "GET", "url": "http://HOST[:PORT]/PATH", "headers": {"NAME": ["VALUE"]}}`,
	}
	var body explainBody
	if !readBody(w, r, &body, wrong) {
		return
	}
	s, _ := c.cfg.Live.Snapshot()
	if s == nil {
		noSnapshot(c.cfg.Live.State().Reason).write(w)
		return
	}
	q := explain.Request{Method: body.Method, URL: body.URL, Listener: body.Listener}
	for _, name := range slices.Sorted(maps.Keys(body.Headers)) {
		for _, value := range body.Headers[name] {
			q.Headers = append(q.Headers, explain.Header{Name: name, Value: value})
		}
	}
	x, err := c.explain(s, q)
	if err != nil {
		wrong.Detail = err.Error()
		wrong.write(w)
		return
	}
	answer(w, x)
}

// explain asks one question at a time: with many routes, compiling their table is a burst of
// work that must not multiply beside live traffic. What was compiled is not kept, so as not
// to hold memory.
func (c *Console) explain(s *model.Snapshot, q explain.Request) (model.Explanation, error) {
	c.explaining.Lock()
	defer c.explaining.Unlock()
	return explain.New(s).Explain(q)
}

// noSnapshot says that there is nothing to ask yet.
func noSnapshot(reason string) problem {
	return problem{
		Status: http.StatusServiceUnavailable, Title: "no snapshot yet", Detail: reason,
		Remedy: "wait until /readyz answers 200, or look at /api/v1/diagnostics",
	}
}

// readBody reads a JSON body strictly. If it cannot, it answers with wrong and what is the
// matter, and returns false.
func readBody(w http.ResponseWriter, r *http.Request, into any, wrong problem) bool {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		return true
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		wrong.Status, wrong.Title = http.StatusRequestEntityTooLarge, "request body too long"
	}
	wrong.Detail = err.Error()
	wrong.write(w)
	return false
}
