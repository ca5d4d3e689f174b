package console

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// endpoint is one thing the server answers. The handlers and the OpenAPI document are both
// made from the table of them.
type endpoint struct {
	method, path string
	summary      string
	parameters   []parameter
	body         any // of the type of the request's body; nil: none
	status       int // of success
	answer       any // of the type of its JSON; nil: see media
	media        string
	problems     []int // statuses of problem documents, beside what the guards answer
	mutation     bool  // needs the token
	probe        bool  // also on the probe address
	handle       http.HandlerFunc
}

type parameter struct{ name, kind, doc string }

var (
	paging = []parameter{
		{"limit", "integer", "items on a page, 1 to " + strconv.Itoa(maxLimit) + "; default " + strconv.Itoa(defaultLimit)},
		{"continue", "string", "from the page before; items that come or go meanwhile are no trouble"},
	}
	anyText = parameter{"q", "string", "only what contains this text, in any case"}
	byName  = []parameter{{"name", "string", "only what has this name"}, anyText}
)

// table lists everything that is served.
func (c *Console) table() []endpoint {
	get := func(path, summary string, parameters []parameter, answer any, handle http.HandlerFunc, problems ...int) endpoint {
		return endpoint{
			method: "GET", path: path, summary: summary, parameters: parameters, status: 200, answer: answer,
			media: "application/json", problems: problems, handle: handle,
		}
	}
	post := func(path, summary string, handle http.HandlerFunc) endpoint {
		return endpoint{
			method: "POST", path: path, summary: summary, status: 202, answer: doneView{},
			media: "application/json", problems: []int{409, 500}, mutation: true, handle: handle,
		}
	}
	health := get("/healthz", "Whether the process runs.", nil, healthView{}, c.serveHealth)
	ready := get("/readyz", "Whether it wants traffic: from the first full configuration until it drains.", nil, State{}, c.serveReady, 503)
	metrics := get("/metrics", "Metrics in Prometheus's text format.", nil, nil, c.cfg.Metrics.Handler().ServeHTTP)
	metrics.media = "text/plain"
	health.probe, ready.probe, metrics.probe = true, true, true
	setLevel := post("/api/v1/log-level", "Sets the level of the log.", c.setLevel)
	setLevel.method, setLevel.status, setLevel.body, setLevel.answer, setLevel.problems = "PUT", 200, levelView{}, levelView{}, []int{400, 413}
	openapi := get("/api/v1/openapi.json", "This document.", nil, map[string]any{}, c.serveDocument)

	return join([]endpoint{
		health, ready, metrics, openapi,
		get("/api/v1/status", "The whole at a glance: revision, state, counts, traffic.", nil, statusView{}, c.serveStatus),
		get("/api/v1/snapshot", "The live snapshot: what the data plane was told.", join(paging, byName), snapshotView{}, c.serveSnapshot, 400, 503),
		get("/api/v1/resources", "The configuration's objects and what became of them.", join(paging, []parameter{
			{"kind", "string", "in any case"},
			{"namespace", "string", "only of this namespace"},
			{"name", "string", "only with this name"},
			{"accepted", "boolean", "only accepted ones, or only others"},
			anyText,
		}), list[Object]{}, c.serveObjects, 400),
		get("/api/v1/diagnostics", "What is wrong or odd in the configuration, with positions; errors first.", join(paging, []parameter{
			{"severity", "string", "error, warning or info"},
			{"object", "string", "as in HTTPRoute shop/cart"},
			anyText,
		}), list[Diagnostic]{}, c.serveDiagnostics, 400),
		get("/api/v1/routes", "Routes with their backends and live traffic.", join(paging, byName, sorting, []parameter{
			{"cluster", "string", "only routes that send to this cluster"},
			{"state", "string", "serving, partial or refused"},
			{"policy", "boolean", "whether to show the effective policy of each"},
		}), list[routeView]{}, c.serveRoutes, 400),
		get("/api/v1/clusters", "Backends with their hosts counted and live traffic.", join(paging, byName, sorting), list[clusterView]{}, c.serveClusters, 400),
		get("/api/v1/hosts", "Upstream hosts with live health and load.", join(paging, byName, sorting, []parameter{
			{"cluster", "string", "only hosts of this cluster"},
		}), list[hostView]{}, c.serveHosts, 400),
		get("/api/v1/listeners", "Sockets, what they serve and how they treat clients.", join(paging, byName), list[listenerView]{}, c.serveListeners, 400),
		get("/api/v1/history", "Rates and latencies of the last ten minutes.", historyParameters, historyView{}, c.serveHistory, 400, 404),
		get("/api/v1/log-level", "The level of the log.", nil, levelView{}, c.serveLevel),
		setLevel,
		c.explainEndpoint(),
		c.budgetsEndpoint(),
		post("/api/v1/reload", "Reads the configuration again.", c.act("reload", c.cfg.Control.Reload)),
		post("/api/v1/mass-delete", "Consents to a change that removes more than half of the routes and is held back.", c.act("mass-delete", c.cfg.Control.AllowMassDelete)),
		post("/api/v1/drain", "Begins to drain: not ready, connections close after their answer, the process ends.", c.act("drain", c.cfg.Control.Drain)),
	}, c.resilienceEndpoints(get), c.releaseEndpoints(get), c.faultEndpoints(get), c.shadowEndpoints(get), c.drillEndpoints(), c.objectiveEndpoints(get), pages())
}

func join[T any](lists ...[]T) []T { return slices.Concat(lists...) }

// mux routes the chosen endpoints; everything else gets a problem document.
func (c *Console) mux(chosen func(endpoint) bool) http.Handler {
	mux := http.NewServeMux()
	allowed := make(map[string][]string)
	for _, e := range c.endpoints {
		if !chosen(e) {
			continue
		}
		handle := e.handle
		if len(e.parameters) > 0 {
			handle = onlyKnown(e.parameters, handle)
		}
		if e.mutation {
			handle = c.withToken(handle)
		}
		pattern := e.path
		if strings.HasSuffix(pattern, "/") {
			pattern += "{$}"
		}
		mux.HandleFunc(e.method+" "+pattern, handle)
		allowed[e.path] = append(allowed[e.path], e.method)
	}
	if c.cfg.Series != nil && chosen(endpoint{probe: false}) {
		mux.Handle(seriesPrefix, c.cfg.Series)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if methods := allowed[r.URL.Path]; len(methods) > 0 {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			problem{Status: http.StatusMethodNotAllowed, Where: "method " + r.Method, Remedy: "use " + strings.Join(methods, " or ")}.write(w)
			return
		}
		problem{Status: http.StatusNotFound, Where: "path", Remedy: "the admin address lists what there is in /api/v1/openapi.json"}.write(w)
	})
	return mux
}

func (c *Console) serveDocument(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(c.document) // the client is gone: nobody to tell
}

// document writes the OpenAPI 3.1 document of the endpoints.
func document(version string, endpoints []endpoint) []byte {
	named := schemas{}
	paths := map[string]map[string]any{}
	for _, e := range endpoints {
		if paths[e.path] == nil {
			paths[e.path] = map[string]any{}
		}
		paths[e.path][strings.ToLower(e.method)] = e.operation(named)
	}
	b, err := json.MarshalIndent(map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{
			"title": "Weir admin API", "version": version,
			"description": "Errors are problem documents (RFC 9457). Requests are refused with 421 under a foreign host name and with 403 from a foreign origin.",
		},
		"paths": paths,
		"components": map[string]any{
			"schemas":         named,
			"securitySchemes": map[string]any{"token": map[string]any{"type": "http", "scheme": "bearer"}},
		},
	}, "", " ")
	if err != nil {
		panic("console: " + err.Error()) // made of strings and maps only
	}
	return append(b, '\n')
}

func (e endpoint) operation(named schemas) map[string]any {
	success := map[string]any{"description": "done"}
	content := schema{"type": "string"}
	if e.answer != nil {
		content = named.of(reflect.TypeOf(e.answer))
	}
	success["content"] = map[string]any{e.media: map[string]any{"schema": content}}
	responses := map[string]any{strconv.Itoa(e.status): success}
	problems := e.problems
	if e.mutation {
		problems = append(slices.Clone(problems), 401)
	}
	for _, status := range append(slices.Clone(problems), 403, 405, 421) {
		description := http.StatusText(status)
		if status == http.StatusMethodNotAllowed {
			description += ": what other methods of this path get"
		}
		responses[strconv.Itoa(status)] = map[string]any{
			"description": description,
			"content":     map[string]any{"application/problem+json": map[string]any{"schema": named.of(reflect.TypeFor[problem]())}},
		}
	}
	op := map[string]any{"summary": e.summary, "responses": responses}
	if len(e.parameters) > 0 {
		var parameters []any
		for _, p := range e.parameters {
			parameters = append(parameters, map[string]any{
				"name": p.name, "in": "query", "description": p.doc, "schema": schema{"type": p.kind},
			})
		}
		op["parameters"] = parameters
	}
	if e.body != nil {
		op["requestBody"] = map[string]any{"required": true, "content": map[string]any{
			"application/json": map[string]any{"schema": named.of(reflect.TypeOf(e.body))},
		}}
	}
	if e.mutation {
		op["security"] = []any{map[string]any{"token": []string{}}}
	}
	return op
}
