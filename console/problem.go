package console

import (
	"encoding/json"
	"net/http"
)

// problem is an RFC 9457 problem document: what is wrong, where, and what to do.
type problem struct {
	Type   string `json:"type" doc:"about:blank: the title says it all"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Where  string `json:"where,omitempty" doc:"the part of the request that is meant"`
	Remedy string `json:"remedy,omitempty" doc:"what to do about it"`
}

func (p problem) write(w http.ResponseWriter) {
	p.Type = "about:blank"
	if p.Title == "" {
		p.Title = http.StatusText(p.Status)
	}
	write(w, p.Status, "application/problem+json", p)
}

func answer(w http.ResponseWriter, v any) { write(w, http.StatusOK, "application/json", v) }

func write(w http.ResponseWriter, status int, media string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // contained; every view is ours and can be marshalled
	}
	w.Header().Set("Content-Type", media)
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the client is gone: nobody to tell
}
