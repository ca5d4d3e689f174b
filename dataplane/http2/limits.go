package http2

// Limits are what one connection of a client may have us do. What is 0 is the default.
type Limits struct {
	Streams int // open at once, as SETTINGS_MAX_CONCURRENT_STREAMS says
	Window  int // bytes of a body that a client may send ahead
	Resets  int // streams that it may open and give up at once; and a tenth of that a second
}

// defaultLimits are those of connections to hosts, too.
var defaultLimits = Limits{Streams: maxStreams, Window: streamWindow, Resets: maxResets}

// The defaults, and what is derived from them.
const (
	maxStreams   = 128
	maxHandlers  = twice * maxStreams
	maxUnsaid    = twice * maxStreams
	streamWindow = 64 << 10
	grownWindow  = grownBy * streamWindow
	connWindow   = connBy * streamWindow
	maxResets    = 500

	grownBy = 4
	connBy  = 16
	twice   = 2
)

// Filled returns l with the defaults in place of what is 0.
func (l Limits) Filled() Limits {
	if l.Streams <= 0 {
		l.Streams = maxStreams
	}
	if l.Window <= 0 {
		l.Window = streamWindow
	}
	if l.Resets <= 0 {
		l.Resets = maxResets
	}
	return l
}

// Grown is the window of a stream whose handler has read as much as the first one.
func (l Limits) Grown() int { return grownBy * l.Window }

// handlers is how many may be at work at once: streams that the client has reset may not have
// ended yet.
func (l Limits) handlers() int { return twice * l.Streams }

// unsaid is how many streams may be open, or ended without the client's being told: half of these
// may have been told just now.
func (l Limits) unsaid() int { return twice * l.Streams }

// remembered is how many streams that we have reset are known as such.
func (l Limits) remembered() int { return twice * l.Streams }

// all is the window of all streams together.
func (l Limits) all() int { return connBy * l.Window }
