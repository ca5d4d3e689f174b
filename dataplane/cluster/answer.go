package cluster

import (
	"errors"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/dataplane/transport"
)

// AnswerLimits are those of the head of a host's answer.
var AnswerLimits = http1.Limits{MaxHead: 64 << 10}

// MaxInterim bounds the 1xx answers before a host's final one.
const MaxInterim = 16

// ErrUnexpected says that a host switched protocols unasked, or informed without end.
var ErrUnexpected = errors.New("unexpected interim answer")

// Answer is what a host says on a connection, as it is read.
type Answer struct {
	Conn *transport.Conn
	In   *transport.Buffer
	Head *http1.Response
}

// ReadHead reads on until the head of the final answer is there, and drops what came before it. It returns
// how many bytes at the start of In the head is, and besides the connection's errors an http1.Error or
// ErrUnexpected.
func (a Answer) ReadHead(method []byte, wait transport.Wait) (n int, err error) {
	for interim := 0; ; {
		n, err := a.Head.Parse(a.In.Bytes(), &AnswerLimits, method)
		switch {
		case err != nil:
			return 0, err
		case n == 0:
			if _, err := a.Conn.ReadMore(a.In, wait); err != nil {
				return 0, err
			}
			continue
		case a.Head.Status >= 200:
			return n, nil
		}
		if interim++; interim > MaxInterim || a.Head.Status == 101 {
			return 0, ErrUnexpected
		}
		a.In.Consume(n)
		a.Head.Reset()
	}
}
