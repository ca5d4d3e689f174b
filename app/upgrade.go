package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"
)

// An upgrade gives this process's place to a new one, without a request noticing:
//
//	serving ── Upgrade ──► control side stopped ── start ──► both serve
//	   ▲                                                     │      │
//	   └── control side started again ◄── not ready in time ─┘      └─ ready ──► draining ──► end
//
// Both have the same listening sockets: a connection that waits in a queue is taken by
// whichever accepts, and none is refused at any moment. Whatever goes wrong before the new
// process is ready leaves this one as it was.

// Program is how to start this program again.
type Program struct {
	Path string   // of the executable, as it was started: where a new version is put
	Args []string // the first is the program's name
	Env  []string
}

// Upgrade starts the program anew and gives it this process's place, as soon as Run can. It
// does not wait for it.
func (a *App) Upgrade() {
	if a.draining.Load() {
		a.log.LogAttrs(context.Background(), slog.LevelWarn, "no upgrade: this process drains")
		return
	}
	if a.upgrading.Swap(true) {
		a.log.LogAttrs(context.Background(), slog.LevelWarn, "an upgrade is under way already")
		return
	}
	a.upgrade <- struct{}{} // has room for the one
}

// upgradable says why this process cannot be followed by a new one.
func (a *App) upgradable() error {
	switch {
	case a.cfg.Program == nil:
		return errors.New("this process does not know how it was started")
	case os.Getpid() == 1:
		return errors.New("this is process 1, with which its container ends: replace the container instead, in Kubernetes with kubectl rollout restart")
	case a.deletionWaits():
		return errors.New("a change that removes most of the routes waits for consent, which a new process would not ask for: bring the routes back, or consent (POST /api/v1/mass-delete)")
	case a.files != nil && a.files.ReadsStreams():
		return errors.New("resources came from standard input or a pipe, which a new process cannot read again: put them in a file")
	case a.rollouts.Unsaved():
		return errors.New("the disk has not taken what a release has come to (its status says why), and a new process would go on from before: mend the disk of the state folder")
	}
	return nil
}

// errEnding ends an upgrade because this process was told to end meanwhile.
var errEnding = errors.New("this process is to end")

// endGrace is what a process needs beyond its time for draining until it has ended.
const endGrace = 3 * time.Second

// succeed gives this process's place to a new one and reports whether that serves now. The
// control side has stopped.
func (a *App) succeed(ctx context.Context, parts *parts) error {
	s, err := a.start()
	if err != nil {
		return err
	}
	if err := s.wait(ctx, a, parts); err != nil {
		_ = s.quic.Close() // it reads nothing
		end := func() error { return s.end(a.cfg.DrainDelay + a.cfg.DrainTimeout + endGrace) }
		if errors.Is(err, errEnding) { // both drain at the same time
			parts.run("successor", end)
			return err
		}
		return errors.Join(err, end())
	}
	a.quic.Store(s.quic)
	a.log.LogAttrs(ctx, slog.LevelInfo, "the new process serves; this one drains", slog.Int("pid", s.process.Pid))
	a.notify(fmt.Sprintf("MAINPID=%d", s.process.Pid))
	return nil
}

// successor is the new process. While it lives and has not said that it serves, the pipe is
// open at its end.
type successor struct {
	process *os.Process
	pipe    *os.File
	quic    *os.File // until it is closed, the new process reads no packets of QUIC
}

// start starts the new process.
func (a *App) start() (*successor, error) {
	list, err := a.sockets.duplicate()
	if err != nil {
		return nil, err
	}
	defer closeHanded(list)
	ours, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = theirs.Close() }() // only a copy, after the fork
	wait, quic, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	defer func() { _ = wait.Close() }()
	tickets, err := a.tickets()
	if err != nil {
		return nil, errors.Join(err, ours.Close(), quic.Close())
	}
	defer func() { _ = tickets.Close() }()
	pid, err := a.fork(theirs, wait, tickets, list)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", a.cfg.Program.Path, err), ours.Close(), quic.Close())
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		return nil, errors.Join(err, ours.Close(), quic.Close())
	}
	a.log.LogAttrs(context.Background(), slog.LevelInfo, "upgrading: a new process starts", slog.Int("pid", pid),
		slog.String("program", a.cfg.Program.Path), slog.Int("sockets", len(list)), slog.Duration("timeout", a.cfg.UpgradeTimeout))
	return &successor{process, ours, quic}, nil
}

// tickets returns the end of a pipe from which the keys for session tickets can be read.
func (a *App) tickets() (*os.File, error) {
	keys, err := a.proxy.TicketKeys()
	if err != nil {
		return nil, err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	_, err = in.Write(keys) // a few hundred bytes, for which a pipe has room
	if err = errors.Join(err, in.Close()); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return out, nil
}

// fork starts the program with standard streams as here, the pipes and the sockets. It does
// without os/exec, which would put the descriptors into blocking mode.
func (a *App) fork(ready, quic, tickets *os.File, list []handed) (pid int, err error) {
	message := handoverMessage{Format: handoverFormat, Ready: 3, QUIC: 4, Tickets: 5, Revision: a.revision.Load()}
	descriptors := []uintptr{0, 1, 2, 0, 0, 0}
	for i, pipe := range []*os.File{ready, quic, tickets} {
		if descriptors[message.Ready+i], err = descriptor(pipe); err != nil {
			return 0, err
		}
	}
	for _, h := range list {
		fd, err := descriptor(h.file)
		if err != nil {
			return 0, err
		}
		where := &message.Sockets
		if h.packets {
			where = &message.Packets
		}
		*where = append(*where, handedSocket{h.asked, len(descriptors)})
		descriptors = append(descriptors, fd)
	}
	env, err := withHandover(a.cfg.Program.Env, message)
	if err != nil {
		return 0, err
	}
	return syscall.ForkExec(a.cfg.Program.Path, a.cfg.Program.Args, &syscall.ProcAttr{Env: env, Files: descriptors})
}

// wait returns nil when the new process serves, and an error if it will not, or nobody
// waits for it any more.
func (s *successor) wait(ctx context.Context, a *App, parts *parts) error {
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReaderSize(s.pipe, 64).ReadString('\n') // what is not the line is the end
		said <- line
	}()
	defer func() {
		_ = s.pipe.Close()
		<-said
	}()
	timer := time.NewTimer(a.cfg.UpgradeTimeout)
	defer timer.Stop()
	select {
	case line := <-said:
		said <- line
		if line != handoverLine {
			return errors.New("the new process ended before it served: its own messages say why")
		}
		return nil
	case <-timer.C:
		return fmt.Errorf("the new process does not serve after %v (--upgrade-timeout)", a.cfg.UpgradeTimeout)
	case err := <-parts.failed:
		parts.put(err)
		return err
	case <-ctx.Done():
		return errEnding
	case <-a.drain:
		return errEnding
	}
}

// end ends a new process that is not wanted any more: it may finish what it has begun.
func (s *successor) end(grace time.Duration) error {
	_ = s.process.Signal(syscall.SIGTERM) // it may have ended
	timer := time.AfterFunc(grace, func() { _ = s.process.Kill() })
	defer timer.Stop()
	if _, err := s.process.Wait(); err != nil {
		return fmt.Errorf("wait for process %d: %w", s.process.Pid, err)
	}
	return nil
}
