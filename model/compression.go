package model

// Coding is a content coding (RFC 9110 section 8.4.1) by its name in Content-Encoding.
type Coding string

// The codings that answers can be compressed with.
const (
	CodingZstd   Coding = "zstd" // RFC 8878
	CodingBrotli Coding = "br"   // RFC 7932
	CodingGzip   Coding = "gzip" // RFC 1952
)

// Compression says which answers are compressed for clients that ask for it.
type Compression struct {
	// Algorithms in order of preference, each once. Never empty: no Compression compresses nothing.
	Algorithms []Coding
	// MinSize is the Content-Length, in bytes, from which an answer is compressed. One of
	// unknown length always is.
	MinSize int64
	// Types are the media types that are compressed, in lower case: type/subtype, type/*,
	// */*+suffix, or */*. Only text/event-stream itself, or */*, means event streams.
	Types []string
	// Credentials: answers to requests with credentials and answers that set cookies are
	// compressed, too.
	Credentials bool
}

// String returns the coding's name.
func (c Coding) String() string { return string(c) }
