package console

import (
	"embed"
	"net/http"
)

//go:embed web/index.html web/style.css web/*.js
var web embed.FS

// files are what the page is made of.
var files = []struct{ path, file, media, summary string }{
	{"/", "web/index.html", "text/html", "The first page, for people."},
	{"/style.css", "web/style.css", "text/css", "The page's style."},
	{"/app.js", "web/app.js", "text/javascript", "The page's program: asks the API every second."},
	{"/view.js", "web/view.js", "text/javascript", "The page's program: shows what the API answered."},
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
