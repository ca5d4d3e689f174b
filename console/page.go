package console

import (
	"embed"
	"net/http"
)

//go:embed web/index.html web/style.css web/*.js
var web embed.FS

// files are what the page is made of.
var files = []struct{ path, file, media, summary string }{
	{"/", "web/index.html", "text/html", "The console, for people."},
	{"/style.css", "web/style.css", "text/css", "The console's style."},
	{"/app.js", "web/app.js", "text/javascript", "The console's frame: views, keys, staleness."},
	{"/api.js", "web/api.js", "text/javascript", "The console's questions to this API."},
	{"/dom.js", "web/dom.js", "text/javascript", "The console's elements and figures."},
	{"/chart.js", "web/chart.js", "text/javascript", "The console's charts."},
	{"/table.js", "web/table.js", "text/javascript", "The console's lists."},
	{"/traffic.js", "web/traffic.js", "text/javascript", "The console's charts of traffic."},
	{"/overview.js", "web/overview.js", "text/javascript", "A view of the console: the overview."},
	{"/routes.js", "web/routes.js", "text/javascript", "A view of the console: routes."},
	{"/backends.js", "web/backends.js", "text/javascript", "A view of the console: backends and hosts."},
	{"/resilience.js", "web/resilience.js", "text/javascript", "A view of the console: what protects, and what it does."},
	{"/releases.js", "web/releases.js", "text/javascript", "A view of the console: releases."},
	{"/objectives.js", "web/objectives.js", "text/javascript", "A view of the console: objectives and their budgets."},
	{"/shadows.js", "web/shadows.js", "text/javascript", "A view of the console: what copies of requests found."},
	{"/faults.js", "web/faults.js", "text/javascript", "A view of the console: what is broken on purpose."},
	{"/budget.js", "web/budget.js", "text/javascript", "The console's picture of what a route's policies add up to."},
	{"/listeners.js", "web/listeners.js", "text/javascript", "A view of the console: listeners."},
	{"/objects.js", "web/objects.js", "text/javascript", "A view of the console: resources and diagnostics."},
	{"/explain.js", "web/explain.js", "text/javascript", "A view of the console: explain."},
}

// pages serves the embedded files.
func pages() []endpoint {
	var out []endpoint
	for _, f := range files {
		content, err := web.ReadFile(f.file)
		if err != nil {
			panic("console: " + err.Error()) // embedded when the program was built
		}
		out = append(out, endpoint{
			method: "GET", path: f.path, summary: f.summary, status: 200, media: f.media,
			handle: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", f.media+"; charset=utf-8")
				_, _ = w.Write(content) // the client is gone: nobody to tell
			},
		})
	}
	return out
}
