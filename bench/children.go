package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"

	"weir.dev/weir/bench/load"
)

// children are the roles in which the program runs itself: each reads JSON
// from its input, if anything, and writes JSON to its output.
var children = map[string]func(in io.Reader, out io.Writer) error{
	"upstream-process": upstreamChild,
	"echo-process":     echoChild,
	"load-process":     loadChild,
	"idle-process":     idleChild,
}

// childEnv makes the children single-threaded, without signals to preempt
// their one loop.
var childEnv = []string{"GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1"}

// upstreamPorts is how many ports the upstream answers on.
const upstreamPorts = 4

// upstreamChild serves until it is killed. Its output is its ports.
func upstreamChild(_ io.Reader, out io.Writer) error {
	runtime.LockOSThread()
	u, err := load.NewUpstream(upstreamPorts)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(u.Ports()); err != nil {
		return err
	}
	return u.Serve(context.Background())
}

// echoChild serves gRPC until it is killed. Its output is its port.
func echoChild(_ io.Reader, out io.Writer) error {
	e, err := load.NewEcho()
	if err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode([]int{e.Port()}); err != nil {
		return err
	}
	return e.Serve(context.Background())
}

// loadChild runs one load.Spec and writes its load.Result.
func loadChild(in io.Reader, out io.Writer) error {
	runtime.LockOSThread()
	var spec load.Spec
	if err := json.NewDecoder(in).Decode(&spec); err != nil {
		return err
	}
	result, err := load.Run(spec)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(result)
}

// idleChild opens the connections of a load.Spec, writes 0, holds them until
// its input ends, and writes how many of them were closed meanwhile.
func idleChild(in io.Reader, out io.Writer) error {
	var spec load.Spec
	decoder := json.NewDecoder(in)
	if err := decoder.Decode(&spec); err != nil {
		return err
	}
	idle, err := load.Hold(spec)
	if err != nil {
		return err
	}
	defer idle.Close()
	if _, err := fmt.Fprintln(out, 0); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, idle.Closed())
	return err
}
