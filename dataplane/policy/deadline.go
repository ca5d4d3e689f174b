package policy

import (
	"math"
	"net/http"
	"strconv"
	"time"
)

// ParseTimeoutMillis reads an x-weir-timeout-ms: how many milliseconds the caller waits for the
// answer still, as digits. ok is false for anything else.
func ParseTimeoutMillis(b []byte) (d time.Duration, ok bool) {
	n, ok := digits(b)
	return time.Duration(min(n, int64(longest/time.Millisecond))) * time.Millisecond, ok
}

// AppendTimeoutMillis appends an x-weir-timeout-ms field of d, rounded down, but never to nothing.
func AppendTimeoutMillis(dst []byte, d time.Duration) []byte {
	dst = append(dst, "X-Weir-Timeout-Ms: "...)
	return append(strconv.AppendInt(dst, max(d.Milliseconds(), 1), 10), "\r\n"...)
}

// AppendAttempt appends an x-weir-attempt field: which try of the request this is, from 1. It
// also says to each proxy behind that somebody in front sends the request again.
func AppendAttempt(dst []byte, n int) []byte {
	dst = append(dst, "X-Weir-Attempt: "...)
	return append(strconv.AppendInt(dst, int64(n), 10), "\r\n"...)
}

// ParseRetryAfter reads a Retry-After: seconds, or a date (RFC 9110 section 10.2.3), of which
// the time from now is returned, 0 where it has passed. ok is false for anything else.
func ParseRetryAfter(b []byte, now time.Time) (d time.Duration, ok bool) {
	if n, ok := digits(b); ok {
		return time.Duration(min(n, int64(longest/time.Second))) * time.Second, true
	}
	at, err := http.ParseTime(string(b))
	if err != nil {
		return 0, false
	}
	return max(at.Sub(now), 0), true
}

// AppendRetryAfter appends a Retry-After field of d in whole seconds, rounded up.
func AppendRetryAfter(dst []byte, d time.Duration) []byte {
	dst = append(dst, "Retry-After: "...)
	return append(strconv.AppendInt(dst, int64(math.Ceil(d.Seconds())), 10), "\r\n"...)
}

// AppendPushback appends a grpc-retry-pushback-ms field of d, rounded up (gRFC A6).
func AppendPushback(dst []byte, d time.Duration) []byte {
	dst = append(dst, "Grpc-Retry-Pushback-Ms: "...)
	return append(strconv.AppendInt(dst, int64(math.Ceil(d.Seconds()*1e3)), 10), "\r\n"...)
}
