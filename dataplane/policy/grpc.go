package policy

import (
	"math"
	"strconv"
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/model"
)

// The forms of gRPC's fields are those of its document PROTOCOL-HTTP2.

// longest is what a longer grpc-timeout counts as: nobody waits so long.
const longest = 100 * 365 * 24 * time.Hour

// timeoutUnits are the units of a grpc-timeout, the finest first.
var timeoutUnits = [...]struct {
	letter byte
	unit   time.Duration
}{
	{'n', time.Nanosecond}, {'u', time.Microsecond}, {'m', time.Millisecond}, {'S', time.Second}, {'M', time.Minute}, {'H', time.Hour},
}

// maxTimeoutDigits is how many digits a grpc-timeout may have.
const maxTimeoutDigits = 8

// ParseGRPCTimeout reads a grpc-timeout: one to eight digits and a unit. ok is false for
// anything else.
func ParseGRPCTimeout(b []byte) (d time.Duration, ok bool) {
	if len(b) < 2 || len(b) > maxTimeoutDigits+1 {
		return 0, false
	}
	n, ok := digits(b[:len(b)-1])
	if !ok {
		return 0, false
	}
	for _, u := range timeoutUnits {
		if u.letter == b[len(b)-1] {
			if n > int64(longest/u.unit) {
				return longest, true
			}
			return time.Duration(n) * u.unit, true
		}
	}
	return 0, false
}

// AppendGRPCTimeout appends a grpc-timeout field of d, rounded down, but never to nothing.
func AppendGRPCTimeout(dst []byte, d time.Duration) []byte {
	const limit = 1e8 // the first number of nine digits
	dst = append(dst, "Grpc-Timeout: "...)
	for _, u := range timeoutUnits {
		if n := int64(max(d, 1) / u.unit); n < limit {
			return append(strconv.AppendInt(dst, n, 10), u.letter, '\r', '\n')
		}
	}
	return append(dst, "99999999H\r\n"...)
}

// digits reads a number of at most 18 digits, and nothing else.
func digits(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// ParseGRPCStatus reads a grpc-status. What is no number is UNKNOWN, as clients take it.
func ParseGRPCStatus(b []byte) model.GRPCCode {
	n, ok := digits(b)
	if !ok || n > math.MaxInt32 {
		return model.GRPCUnknown
	}
	return model.GRPCCode(n)
}

// ParsePushback reads a grpc-retry-pushback-ms (gRFC A6): how long to wait before the next
// try. ok is false where there is to be none: a negative number, or none at all.
func ParsePushback(b []byte) (d time.Duration, ok bool) {
	n, ok := digits(b)
	return time.Duration(min(n, int64(longest/time.Millisecond))) * time.Millisecond, ok
}

// maxAttempts is what a greater grpc-previous-rpc-attempts counts as.
const maxAttempts = 1000

// ParseGRPCAttempts reads a grpc-previous-rpc-attempts (gRFC A6): how many tries the caller's
// library has made before. It is 0 for what is no number.
func ParseGRPCAttempts(b []byte) int {
	n, _ := digits(b)
	return int(min(n, maxAttempts))
}

// GRPCRefusal is the code of our own answer to a gRPC call: the flag's, but where the status
// that a request of HTTP would get says more.
func GRPCRefusal(flag model.Flag, status int) model.GRPCCode {
	switch {
	case status == 401:
		return model.GRPCUnauthenticated
	case status == 413 || status == 431:
		return model.GRPCResourceExhausted
	case status == 421: // on a connection of its own, the call would be answered
		return model.GRPCUnavailable
	case status >= 500 && flag.Blame() == model.BlamePolicy && model.FlagInfos[flag].Status < 500:
		return model.GRPCCodeOf(status)
	}
	return model.FlagInfos[flag].GRPC
}

// AppendGRPCRefusal appends the fields of an answer that has nothing but a status
// ("Trailers-Only"). The message may be any text.
func AppendGRPCRefusal(dst []byte, code model.GRPCCode, message string) []byte {
	dst = append(dst, "Content-Type: application/grpc\r\nGrpc-Status: "...)
	dst = strconv.AppendInt(dst, int64(code), 10)
	dst = append(dst, "\r\nGrpc-Message: "...)
	return append(appendPercent(dst, message), "\r\n"...)
}

// appendPercent appends a grpc-message: all but visible ASCII and spaces is escaped, as is the
// escape itself.
func appendPercent(dst []byte, text string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '%' {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// AppendGRPCFields appends what every call that is forwarded says anew: that its sender takes
// trailers, which is said to each next server on its own (RFC 9110 section 10.1.4); how many
// tries there were before this one; and how much time is left, unless that is 0, which is no
// limit, or in skip.
func AppendGRPCFields(dst []byte, left time.Duration, tries int, skip Generated) []byte {
	dst = append(dst, "Connection: TE\r\nTE: trailers\r\n"...)
	if left > 0 && skip&GeneratedGRPCTimeout == 0 {
		dst = AppendGRPCTimeout(dst, left)
	}
	if tries > 0 {
		dst = http1.AppendFieldString(dst, "Grpc-Previous-Rpc-Attempts", strconv.Itoa(tries))
	}
	return dst
}
