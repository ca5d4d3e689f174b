// Package option is imported by prometheus/storage/remote/googleiam, for writing elsewhere, which this program does not
// do. What it stands for brings gRPC, and with it golang.org/x/net/trace: see the package conntrack beside it.
package option

// ClientOption is nothing: there is no client.
type ClientOption = any

// CredentialsType is what a file of credentials holds.
type CredentialsType string

// ServiceAccount is a key of a service.
const ServiceAccount CredentialsType = "service_account"

// WithScopes returns nil.
func WithScopes(...string) ClientOption { return nil }

// WithAuthCredentialsFile returns nil.
func WithAuthCredentialsFile(CredentialsType, string) ClientOption { return nil }

// WithCredentials returns nil.
func WithCredentials(any) ClientOption { return nil }
