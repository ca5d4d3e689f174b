package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
)

// handoverVariable is the environment variable in which a process finds its Handover.
const handoverVariable = "WEIR_HANDOVER"

// handoverFormat is the format of the message. One of another format is refused, so that the
// predecessor goes on; new fields that an older program may ignore do not change it.
const handoverFormat = 1

// handoverMessage is the value of handoverVariable, as JSON.
type handoverMessage struct {
	Format   int            `json:"format"`
	Ready    int            `json:"ready"` // descriptor of a pipe that wants one line when the process serves
	Revision uint64         `json:"revision"`
	Sockets  []handedSocket `json:"sockets"`
	Packets  []handedSocket `json:"packets,omitempty"` // of UDP
	QUIC     int            `json:"quic,omitempty"`    // descriptor of a pipe that ends when the predecessor has no connection of QUIC
	Tickets  int            `json:"tickets,omitempty"` // descriptor of a pipe with the keys for session tickets, which must not be in the environment
}

type handedSocket struct {
	Address    netip.AddrPort `json:"address"` // as it was asked for
	Descriptor int            `json:"descriptor"`
}

// Handover is what a process has from the one whose place it is to take: its listening
// sockets, and a pipe on which it says that it serves.
type Handover struct {
	sockets  []inheritedSocket
	packets  []packetSocket
	ready    *os.File
	quic     *os.File // ends when the predecessor reads no packets of QUIC any more; nil: it never did
	tickets  []byte   // keys for session tickets; nil: none
	revision uint64
}

type inheritedSocket struct {
	listener net.Listener
	asked    netip.AddrPort
}

// ticketKeys are the predecessor's keys for session tickets; nil: there are none.
func (h *Handover) ticketKeys() []byte {
	if h == nil {
		return nil
	}
	return h.tickets
}

// TakeHandover takes what a predecessor left to this process, nil if there was none. Call it
// once, before anything else opens files.
func TakeHandover() (*Handover, error) {
	text, ok := os.LookupEnv(handoverVariable)
	if !ok {
		return nil, nil
	}
	if err := os.Unsetenv(handoverVariable); err != nil {
		return nil, err
	}
	return openHandover(text)
}

func openHandover(text string) (*Handover, error) {
	var m handoverMessage
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return nil, fmt.Errorf("%s: %w", handoverVariable, err)
	}
	if m.Format != handoverFormat {
		return nil, fmt.Errorf("%s: format %d, want %d: these two versions cannot follow each other; stop one and start the other", handoverVariable, m.Format, handoverFormat)
	}
	h := &Handover{ready: os.NewFile(uintptr(m.Ready), "handover"), revision: m.Revision}
	if m.QUIC > 0 {
		syscall.CloseOnExec(m.QUIC)
		h.quic = os.NewFile(uintptr(m.QUIC), "quic")
	}
	var errs []error
	if m.Tickets > 0 {
		f := os.NewFile(uintptr(m.Tickets), "tickets")
		h.tickets, _ = io.ReadAll(f) // what is not all of them is told of as soon as they are to be used
		_ = f.Close()
	}
	for _, s := range m.Sockets {
		f := os.NewFile(uintptr(s.Descriptor), s.Address.String())
		if f == nil {
			errs = append(errs, fmt.Errorf("%s: socket %s: descriptor %d is not valid", handoverVariable, s.Address, s.Descriptor))
			continue
		}
		l, err := net.FileListener(f)
		_ = f.Close() // the listener has a copy
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: socket %s: %w", handoverVariable, s.Address, err))
			continue
		}
		h.sockets = append(h.sockets, inheritedSocket{l, s.Address})
	}
	for _, s := range m.Packets {
		p, err := openPackets(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: socket %s/udp: %w", handoverVariable, s.Address, err))
			continue
		}
		h.packets = append(h.packets, p)
	}
	return h, errors.Join(errs...)
}

// handoverLine is what the new process writes to the pipe when it serves.
const handoverLine = "ready\n"

// announce tells the predecessor that this process serves. A predecessor that is gone does
// not mind.
func (h *Handover) announce() {
	_, _ = h.ready.WriteString(handoverLine)
	_ = h.ready.Close()
}

// withHandover returns an environment with a message in it, in place of any other.
func withHandover(environment []string, m handoverMessage) ([]string, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	out := make([]string, 0, len(environment)+1)
	for _, e := range environment {
		if !strings.HasPrefix(e, handoverVariable+"=") {
			out = append(out, e)
		}
	}
	return append(out, handoverVariable+"="+string(text)), nil
}
