// The echo server behind Weir for the Autobahn suite, over a WebSocket library that others wrote.
module weir.dev/weir/e2e/suites/autobahn/wsecho

go 1.26.0

require github.com/gorilla/websocket v1.5.3
