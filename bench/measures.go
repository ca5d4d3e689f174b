package main

import (
	"time"

	"weir.dev/weir/bench/load"
	"weir.dev/weir/bench/peer"
)

// group is a number of measures whose proxies run at the same time, so that
// their rounds can be interleaved. Proxies that are not being measured idle.
type group struct {
	name     string
	page     string // of the results that it is for
	measures []measure
	only     []string // proxies by name; empty is all
}

// measure is one row of the results: a load on proxies that are set up alike.
type measure struct {
	name  string
	title string
	setup setup
	load  load.Spec // without address, times and watches
	kind  kind
}

// setup tells the configurations of one proxy apart.
type setup struct {
	routes  int
	workers int
	log     bool
	guarded bool // with every protection on
	copied  bool // a tenth of the requests are copied to another backend, whose answers nobody compares
	front   peer.Wire
	back    peer.Wire
}

type kind uint8

const (
	closed kind = iota // each connection sends when it has its answer
	paced              // a fixed rate; latency added to that of the upstream
	memory             // what is resident
	scale              // many routes: start, one change, a storm of changes
)

const (
	small = 200
	large = 64 << 10
	mega  = 1 << 20
)

var one = setup{workers: 1}

// The pages of results.
const (
	http1     = "http1"     // HTTP/1.1 in clear text
	protocols = "protocols" // everything else
)

// get is a closed loop of GET requests for n bytes.
func get(connections, n int, path string) load.Spec {
	return load.Spec{Connections: connections, Pipeline: 1, Request: load.Request{Path: path, Answer: n}}
}

// groups lists everything that is measured, in order.
func groups() []group {
	post, headers, pipelined := get(64, small, "/bytes/200"), get(64, small, "/headers/40"), get(64, small, "/bytes/200")
	post.Request.Body = large
	headers.Request.Headers = 40
	pipelined.Pipeline = 8
	return []group{
		{name: "plain", page: http1, measures: []measure{
			{name: "200x64", title: "200 B, 64 connections", setup: one, load: get(64, small, "/bytes/200")},
			{name: "200x1000", title: "200 B, 1,000 connections", setup: one, load: get(1000, small, "/bytes/200")},
			{name: "64kx64", title: "64 KiB, 64 connections", setup: one, load: get(64, large, "/bytes/65536")},
			{name: "64kx1000", title: "64 KiB, 1,000 connections", setup: one, load: get(1000, large, "/bytes/65536")},
		}},
		{name: "latency", page: http1, measures: []measure{
			{name: "paced", title: "Added latency at a fixed rate, 200 B, 64 connections", setup: one, load: get(64, small, "/bytes/200"), kind: paced},
		}},
		{name: "routes", page: http1, measures: []measure{
			routes("routes10", "200 B, 64 connections, 10 routes", 10),
			routes("routes1000", "200 B, 64 connections, 1,000 routes", 1000),
			routes("routes10000", "200 B, 64 connections, 10,000 routes", 10_000),
		}},
		{name: "two", page: http1, only: []string{"weir", "nginx"}, measures: []measure{
			{name: "two200", title: "Two workers: 200 B, 64 connections", setup: setup{workers: 2}, load: get(64, small, "/bytes/200")},
			{name: "two64k", title: "Two workers: 64 KiB, 64 connections", setup: setup{workers: 2}, load: get(64, large, "/bytes/65536")},
		}},
		{name: "protections", page: http1, only: []string{"weir"}, measures: []measure{
			{name: "unguarded", title: "No protection, 200 B, 64 connections", setup: one, load: get(64, small, "/bytes/200")},
			{name: "guarded", title: "Every protection on, 200 B, 64 connections", setup: setup{workers: 1, guarded: true}, load: get(64, small, "/bytes/200")},
		}},
		{name: "mirror", page: http1, only: []string{"weir"}, measures: []measure{
			{name: "unmirrored", title: "Nothing copied, 200 B, 64 connections", setup: one, load: get(64, small, "/bytes/200")},
			{name: "mirrored", title: "A tenth copied to another backend, 200 B, 64 connections", setup: setup{workers: 1, copied: true}, load: get(64, small, "/bytes/200")},
		}},
		{name: "worst", page: http1, measures: []measure{
			{name: "chunked", title: "Chunked answers of 64 KiB (16 chunks), 64 connections", setup: one, load: get(64, large, "/chunked/65536")},
			{name: "post", title: "POST of 64 KiB, 64 connections", setup: one, load: post},
			{name: "headers", title: "40 more header fields each way, 64 connections", setup: one, load: headers},
			{name: "pipelined", title: "8 requests pipelined, 64 connections", setup: one, load: pipelined},
			{name: "log", title: "Access log on (JSON to a file), 200 B, 64 connections", setup: setup{workers: 1, log: true}, load: get(64, small, "/bytes/200")},
		}},
		{name: "memory", page: http1, measures: []measure{
			{name: "memory", title: "Resident memory", setup: one, load: get(5000, small, "/bytes/200"), kind: memory},
		}},
		{name: "tls", page: protocols, measures: []measure{
			wire("tls200", "TLS 1.3: 200 B, 64 connections", peer.TLS, peer.HTTP1, by(load.TLS, 64, 1, get(64, small, "/bytes/200"))),
			wire("tls1m", "TLS 1.3: 1 MiB, 16 connections", peer.TLS, peer.HTTP1, by(load.TLS, 16, 1, get(16, mega, "/bytes/1048576"))),
			wire("handshakes", "TLS 1.3: a full handshake (ECDSA P-256, X25519) and 200 B a connection", peer.TLS, peer.HTTP1,
				by(load.Handshakes, 16, 1, get(16, small, "/bytes/200"))),
		}},
		{name: "http2", page: protocols, measures: []measure{
			wire("h2down200", "HTTP/2 over TLS, HTTP/1.1 to the upstream: 200 B, 16 connections of 10 streams", peer.TLS, peer.HTTP1,
				by(load.HTTP2, 16, 10, get(16, small, "/bytes/200"))),
			wire("h2down64k", "HTTP/2 over TLS, HTTP/1.1 to the upstream: 64 KiB", peer.TLS, peer.HTTP1, by(load.HTTP2, 16, 10, get(16, large, "/bytes/65536"))),
			wire("h2both200", "HTTP/2 on both sides, TLS towards clients: 200 B", peer.TLS, peer.H2C, by(load.HTTP2, 16, 10, get(16, small, "/bytes/200"))),
			wire("h2both64k", "HTTP/2 on both sides, TLS towards clients: 64 KiB", peer.TLS, peer.H2C, by(load.HTTP2, 16, 10, get(16, large, "/bytes/65536"))),
		}},
		{name: "grpc", page: protocols, measures: []measure{
			wire("grpcunary", "gRPC, unary calls of 100 B, 16 connections of 10 calls", peer.H2C, peer.GRPC, by(load.GRPC, 16, 10, call())),
			wire("grpcstream", "gRPC, messages of 100 B to and fro in 64 calls on 4 connections", peer.H2C, peer.GRPC, by(load.GRPCStream, 64, 1, call())),
		}},
		{name: "bytes", page: protocols, measures: []measure{
			wire("bytes1m", "TCP: 1 MiB to and fro, 16 connections", peer.Bytes, peer.HTTP1, get(16, mega, "/bytes/1048576")),
			wire("bytes200", "TCP: 200 B to and fro, 64 connections", peer.Bytes, peer.HTTP1, get(64, small, "/bytes/200")),
		}},
		{name: "http3", page: protocols, measures: []measure{
			wire("http3", "HTTP/3: 200 B, 4 connections of 16 streams", peer.HTTP3, peer.HTTP1, by(load.HTTP3, 4, 16, get(4, small, "/bytes/200"))),
		}},
		{name: "idle", page: protocols, measures: []measure{
			idle("idletls", "Resident memory, TLS 1.3", load.TLS),
			idle("idleh2", "Resident memory, HTTP/2 over TLS 1.3", load.HTTP2),
		}},
		{name: "scale", page: http1, only: []string{"weir"}, measures: []measure{
			{name: "scale", title: "10,000 routes in 100 files", setup: setup{routes: 10_000, workers: 2}, load: get(64, small, "/bytes/200"), kind: scale},
		}},
	}
}

// wire is a measure of what is spoken.
func wire(name, title string, front, back peer.Wire, spec load.Spec) measure {
	return measure{name: name, title: title, setup: setup{workers: 1, front: front, back: back}, load: spec}
}

// by has a client of another kind play spec.
func by(client load.Client, connections, streams int, spec load.Spec) load.Spec {
	spec.Client, spec.Connections, spec.Pipeline = client, connections, streams
	return spec
}

// call is a call of gRPC with messages of 100 B.
func call() load.Spec {
	return load.Spec{Request: load.Request{Path: "/bench.Echo/Call", Body: 100, Answer: 105}}
}

// idle is what connections cost that do nothing.
func idle(name, title string, client load.Client) measure {
	return measure{
		name: name, title: title, kind: memory, setup: setup{workers: 1, front: peer.TLS},
		load: by(client, 5000, 1, get(5000, small, "/bytes/200")),
	}
}

func routes(name, title string, n int) measure {
	spec := get(64, small, "/bytes/200")
	spec.Request.Hosts = n
	return measure{name: name, title: title, setup: setup{routes: n, workers: 1}, load: spec}
}

// measureNames lists what -only takes: pages, groups and measures.
func measureNames() []string {
	all := []string{http1, protocols, releases}
	for _, g := range groups() {
		all = append(all, g.name)
		for _, m := range g.measures {
			if m.name != g.name {
				all = append(all, m.name)
			}
		}
	}
	return all
}

// chosen returns the groups with the measures that names ask for; none asks
// for all.
func chosen(names []string) []group {
	if len(names) == 0 {
		return groups()
	}
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
	}
	var all []group
	for _, g := range groups() {
		var kept []measure
		for _, m := range g.measures {
			if wanted[g.page] || wanted[g.name] || wanted[m.name] {
				kept = append(kept, m)
			}
		}
		if g.measures = kept; len(kept) > 0 {
			all = append(all, g)
		}
	}
	return all
}

// times are the durations of a run.
type times struct {
	warmup, window, paced time.Duration
	parked                time.Duration // how long idle connections wait for a second look: Weir parks after 5s and gives the memory back 2s later
	start                 time.Duration // for a proxy to answer
	storm                 time.Duration // of changes
	changes               int           // one at a time
}

func durations(quick bool) times {
	if quick {
		return times{warmup: 200 * time.Millisecond, window: 600 * time.Millisecond, paced: time.Second, parked: 10 * time.Second, start: 20 * time.Second, storm: 3 * time.Second, changes: 10}
	}
	return times{warmup: 700 * time.Millisecond, window: 3 * time.Second, paced: 5 * time.Second, parked: 12 * time.Second, start: 60 * time.Second, storm: time.Minute, changes: 100}
}
