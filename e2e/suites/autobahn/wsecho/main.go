// Command wsecho is a strict WebSocket server (RFC 6455) that sends every message back: what
// stands behind Weir while the Autobahn suite runs, or a browser. Usage: wsecho HOST:PORT.
package main

import (
	"fmt"
	"net/http"
	"os"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: wsecho HOST:PORT")
		os.Exit(2)
	}
	server := &http.Server{Addr: os.Args[1], Handler: http.HandlerFunc(serve), ReadHeaderTimeout: time.Minute}
	fmt.Fprintln(os.Stderr, "wsecho:", server.ListenAndServe())
	os.Exit(1)
}

func serve(w http.ResponseWriter, r *http.Request) {
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	c, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // it was answered
	}
	defer c.Close()
	for {
		kind, message, err := c.ReadMessage()
		if err != nil {
			return
		}
		if kind == websocket.TextMessage && !utf8.Valid(message) {
			reason := websocket.FormatCloseMessage(websocket.CloseInvalidFramePayloadData, "")
			_ = c.WriteControl(websocket.CloseMessage, reason, time.Now().Add(time.Second))
			return
		}
		if c.WriteMessage(kind, message) != nil {
			return
		}
	}
}
