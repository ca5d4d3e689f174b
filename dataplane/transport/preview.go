package transport

import "io"

// MaxPreview is how many bytes Preview can hold.
const MaxPreview = Small - Headroom

// Preview reads what the peer sends first on a connection that Secure has prepared, and leaves
// it to be read by Handshake, or Unsecure. It asks enough before and after each piece, with all
// that has come so far, until it is. An end of the stream before is io.EOF, and more than
// MaxPreview bytes are io.ErrShortBuffer.
func (c *Conn) Preview(w Wait, enough func(seen []byte) bool) error {
	s := c.tls
	for !enough(s.in.Bytes()) {
		if s.end != nil {
			return s.end
		}
		if s.in.Len() >= MaxPreview {
			return io.ErrShortBuffer
		}
		if err := s.refill(w); err != nil {
			return err
		}
	}
	return nil
}

// Unsecure takes back what Secure has prepared, before any Handshake: reads and writes carry
// the bytes of the socket as they are. Those that Preview has read are moved to b, which is empty.
func (c *Conn) Unsecure(b *Buffer) {
	s := c.tls
	*b, s.in = s.in, Buffer{}
	s.clear = true
}
