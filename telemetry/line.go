package telemetry

import (
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"

	"weir.dev/weir/model"
)

const timeLayout = "2006-01-02T15:04:05.000000Z07:00"

// appendJSON appends a record as one JSON object and a newline. Durations are in
// milliseconds with microseconds behind the point.
func appendJSON(b []byte, r *Record) []byte {
	b = append(b, `{"time":"`...)
	b = r.Time.AppendFormat(b, timeLayout)
	b = append(b, '"')
	b = field(b, "request_id", r.ID)
	b = field(b, "traceparent", r.TraceParent)
	b = addressField(b, "client", r.Client)
	b = field(b, "identity", r.Identity)
	b = field(b, "method", r.Request.Method)
	b = field(b, "host", r.Request.Host)
	b = field(b, "path", r.Request.Path)
	b = field(b, "protocol", r.Request.Protocol)
	if r.asked() {
		b = numberField(b, "status", int64(r.Status))
	}
	b = field(b, "grpc_status", r.GRPC.String())
	b = field(b, "flag", r.Flag.String())
	b = field(b, "blame", r.Flag.Blame().String())
	b = field(b, "detail", r.Detail)
	b = field(b, "route", r.Route)
	b = field(b, "cluster", r.Cluster)
	b = field(b, "arm", r.Arm)
	b = addressField(b, "upstream", r.Upstream)
	b = appendAttempts(b, r.Attempts)
	b = append(b, `,"timings":{"head_ms":`...)
	b = appendMillis(b, r.Timings.Head)
	b = append(b, `,"policies_ms":`...)
	b = appendMillis(b, r.Timings.Policies)
	b = append(b, `,"connect_ms":`...)
	b = appendMillis(b, r.Timings.Connect)
	b = append(b, `,"first_byte_ms":`...)
	b = appendMillis(b, r.Timings.FirstByte)
	b = append(b, `,"total_ms":`...)
	b = appendMillis(b, r.Timings.Total)
	b = append(b, '}')
	b = numberField(b, "bytes_in", r.BytesIn)
	b = numberField(b, "bytes_out", r.BytesOut)
	b = field(b, "user_agent", r.Request.UserAgent)
	b = field(b, "referer", r.Request.Referer)
	return append(b, '}', '\n')
}

func appendAttempts(b []byte, attempts []Attempt) []byte {
	if len(attempts) == 0 {
		return b
	}
	b = append(b, `,"attempts":[`...)
	for i := range attempts[:min(len(attempts), MaxAttempts)] {
		a := &attempts[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"duration_ms":`...)
		b = appendMillis(b, a.Duration)
		b = addressField(b, "host", a.Host)
		if a.Status != 0 {
			b = numberField(b, "status", int64(a.Status))
		}
		b = field(b, "grpc_status", a.GRPC.String())
		b = field(b, "flag", a.Flag.String())
		b = field(b, "error", a.Err)
		b = append(b, '}')
	}
	b = append(b, ']')
	if len(attempts) > MaxAttempts {
		b = numberField(b, "attempts_total", int64(len(attempts)))
	}
	return b
}

// field appends ,"name":"value" unless the value is empty.
func field[T string | []byte](b []byte, name string, value T) []byte {
	if len(value) == 0 {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':', '"')
	b = appendEscaped(b, value)
	return append(b, '"')
}

func numberField(b []byte, name string, value int64) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return strconv.AppendInt(b, value, 10)
}

func addressField(b []byte, name string, value netip.AddrPort) []byte {
	if !value.IsValid() {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':', '"')
	b = appendAddress(b, value)
	return append(b, '"')
}

// appendAddress appends an address without its IPv6 zone, whose letters are not ours, and
// without port 0: it is not known.
func appendAddress(b []byte, a netip.AddrPort) []byte {
	if a.Port() == 0 {
		return a.Addr().WithZone("").AppendTo(b)
	}
	return netip.AddrPortFrom(a.Addr().WithZone(""), a.Port()).AppendTo(b)
}

const hexDigits = "0123456789abcdef"

// appendEscaped appends any bytes as the inside of a JSON string (RFC 8259, section 7), at
// most MaxField of them. What is not UTF-8 becomes U+FFFD; controls, DEL and the line
// separators that JavaScript and terminals mistake for line ends are escaped.
func appendEscaped[T string | []byte](b []byte, value T) []byte {
	value, cut := clip(value)
	start := 0 // of what is waiting to be copied as it is
	for i := 0; i < len(value); {
		c := value[i]
		if c >= utf8.RuneSelf {
			r, size := decodeRune(value[i:])
			if r == utf8.RuneError && size == 1 || r == '\u2028' || r == '\u2029' || r < 0xA0 {
				b = append(b, value[start:i]...)
				b = append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
				start = i + size
			}
			i += size
			continue
		}
		if c < ' ' || c == '"' || c == '\\' || c == 0x7f {
			b = append(b, value[start:i]...)
			if c == '"' || c == '\\' {
				b = append(b, '\\', c)
			} else {
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			start = i + 1
		}
		i++
	}
	b = append(b, value[start:]...)
	if cut {
		b = append(b, "…"...)
	}
	return b
}

// clip cuts a value to MaxField bytes, not inside a character.
func clip[T string | []byte](value T) (T, bool) {
	if len(value) <= MaxField {
		return value, false
	}
	end := MaxField
	for end > MaxField-utf8.UTFMax && !utf8.RuneStart(value[end]) {
		end--
	}
	return value[:end], true
}

func decodeRune[T string | []byte](value T) (rune, int) {
	var first [utf8.UTFMax]byte
	return utf8.DecodeRune(first[:copy(first[:], value)])
}

// appendMillis appends a duration in milliseconds with three decimals.
func appendMillis(b []byte, d time.Duration) []byte {
	us := int64(max(d, 0) / time.Microsecond)
	b = strconv.AppendInt(b, us/1000, 10)
	rest := us % 1000
	return append(b, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
}

// appendText appends a record as one line for people. Fields that are absent are "-".
//
//	TIME STATUS[/GRPC STATUS] FLAG METHOD HOST PATH PROTOCOL TOTAL IN OUT ROUTE UPSTREAM CLIENT ID "USER AGENT" "DETAIL"
func appendText(b []byte, r *Record) []byte {
	b = r.Time.AppendFormat(b, timeLayout)
	b = append(b, ' ')
	if r.asked() {
		b = strconv.AppendInt(b, int64(r.Status), 10)
	} else {
		b = append(b, '-')
	}
	if r.GRPC != 0 {
		b = append(b, '/')
		b = append(b, r.GRPC.String()...)
	}
	b = append(b, ' ')
	if r.Flag == model.FlagNone {
		b = append(b, '-')
	} else {
		b = append(b, r.Flag.String()...)
		b = append(b, '/')
		b = append(b, r.Flag.Blame().String()...)
	}
	b = word(b, r.Request.Method)
	b = word(b, r.Request.Host)
	b = word(b, r.Request.Path)
	b = word(b, r.Request.Protocol)
	b = append(b, ' ')
	b = appendMillis(b, r.Timings.Total)
	b = append(b, "ms "...)
	b = strconv.AppendInt(b, r.BytesIn, 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, r.BytesOut, 10)
	b = word(b, r.Route)
	b = addressWord(b, r.Upstream)
	b = addressWord(b, r.Client)
	b = word(b, r.ID)
	b = append(b, ' ', '"')
	b = appendEscaped(b, r.Request.UserAgent)
	b = append(b, `" "`...)
	b = appendEscaped(b, r.Detail)
	return append(b, '"', '\n')
}

// word appends a space and a value that takes one column whatever is in it.
func word[T string | []byte](b []byte, value T) []byte {
	if len(value) == 0 {
		return append(b, ' ', '-')
	}
	b = append(b, ' ')
	start := len(b)
	b = appendEscaped(b, value)
	for i := start; i < len(b); i++ {
		if b[i] == ' ' {
			b[i] = '_'
		}
	}
	return b
}

func addressWord(b []byte, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return append(b, ' ', '-')
	}
	return appendAddress(append(b, ' '), a)
}
