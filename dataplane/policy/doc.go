// Package policy holds what a route or listener does to a request besides routing it: one
// file a policy, compiled once when a snapshot is applied and read-only after that, so that
// any number of connections use it at once. Everything here is a pure function over heads of
// package http1 that appends to a buffer of the caller's; nothing here does I/O, keeps state
// between requests, reads a clock or draws its own random numbers. The order of the policies
// is package proxy's.
package policy
