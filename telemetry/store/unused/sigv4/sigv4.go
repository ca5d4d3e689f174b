// Package sigv4 is imported by prometheus/config, for writing elsewhere, which this program does not do. What it stands
// for brings an SDK whose tables are made whenever the program starts.
package sigv4

// SigV4Config says nothing: there is no client.
type SigV4Config struct{}
