package transport

// stackRoom is what serving a request takes of a stack, in bytes, but for what is rare.
const stackRoom = 5 << 10

// Deepen has the calling goroutine, which has just begun, take as large a stack as serving a request
// will need. A goroutine begins with 2 KiB and doubles its stack whenever it is too small, each time
// with a copy that looks at every function on it: of a call of gRPC, whose streams have a goroutine
// each, that was a sixth of the work. With next to nothing on the stack it costs nothing to speak
// of. The result means nothing; it keeps the compiler from leaving the room out.
//
//go:noinline
func Deepen(at int) byte {
	var room [stackRoom]byte
	return room[uint(at)%stackRoom]
}
