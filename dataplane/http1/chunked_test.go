package http1

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// bodies are chunked bodies with what walk says of them.
var bodies = []struct{ name, raw, want string }{
	{"empty", "0\r\n\r\n", `"" done at 5`},
	{"one chunk", "5\r\nhello\r\n0\r\n\r\n", `"hello" done at 15`},
	{"two chunks", "1\r\na\r\nA\r\n0123456789\r\n0\r\n\r\n", `"a0123456789" done at 26`},
	{"next message", "1\r\na\r\n0\r\n\r\nGET", `"a" done at 11`},
	{"data with line ends", "4\r\n\r\n0\n\r\n0\r\n\r\n", `"\r\n0\n" done at 14`},
	{"leading zeros", "0000000000000001\r\na\r\n000\r\n\r\n", `"a" done at 28`},
	{"largest chunk", "7fffffffffffffff\r\nabc", `"abc" more after 21`},
	{"trailer", "0\r\nX-Sum: 1\r\nEtag: \"a\"\r\n\r\n", `"" done at 26`},
	{"nothing", "", `"" more after 0`},
	{"half a size", "1", `"" more after 0`},
	{"half a line end", "1\r", `"" more after 0`},
	{"half a chunk", "5\r\nhe", `"he" more after 5`},
	{"half a chunk's end", "1\r\na\r", `"a" more after 4`},
	{"half a trailer", "0\r\nX: 1", `"" more after 3`},
	{"trailers without their end", "0\r\nX: 1\r\n", `"" more after 9`},

	{"empty size", "\r\n", "400 malformed chunk size"},
	{"plus", "+1\r\n", "400 malformed chunk size"},
	{"minus", "-1\r\n", "400 malformed chunk size"},
	{"0x", "0x1\r\n", "400 malformed chunk size"},
	{"space before", " 1\r\n", "400 malformed chunk size"},
	{"space behind", "1 \r\n", "400 malformed chunk size"},
	{"tab behind", "1\t\r\n", "400 malformed chunk size"},
	{"underscore", "1_0\r\n", "400 malformed chunk size"},
	{"not hexadecimal", "g\r\n", "400 malformed chunk size"},
	{"NUL", "1\x00\r\n", "400 malformed chunk size"},
	{"many digits", "00000000000000001", "400 chunk size too large"},
	{"over 2^63", "8000000000000000\r\n", "400 chunk size too large"},
	{"extension", "1;a=b\r\n", "400 chunk extension"},
	{"empty extension", "0;\r\n\r\n", "400 chunk extension"},
	{"extension behind a space", "1 ;a\r\n", "400 malformed chunk size"},
	{"LF behind the size", "1\na\r\n", "400 chunk size without CRLF"},
	{"CR behind the size", "1\ra\r\n", "400 chunk size without CRLF"},
	{"CR CR LF behind the size", "1\r\r\na", "400 chunk size without CRLF"},
	{"LF behind the chunk", "1\r\na\n0\r\n\r\n", "400 chunk without CRLF at its end"},
	{"CR behind the chunk", "1\r\na\rX", "400 chunk without CRLF at its end"},
	{"chunk longer than its size", "1\r\nab\r\n", "400 chunk without CRLF at its end"},
	{"LF at the end", "0\r\n\n", "400 line feed without carriage return"},
	{"LF behind a trailer", "0\r\nX: 1\n\r\n", "400 line feed without carriage return"},
	{"CR in a trailer", "0\r\nX: a\rb\r\n\r\n", "400 carriage return without line feed"},
	{"folded trailer", "0\r\nX: a\r\n b\r\n\r\n", "400 folded header line"},
	{"trailer without a colon", "0\r\nX\r\n\r\n", "400 header line without a colon"},
	{"request in place of trailers", "0\r\nGET / HTTP/1.1\r\n\r\n", "400 space before the colon of a header"},
	{"trailer with NUL", "0\r\nX: \x00\r\n\r\n", "400 control character in a header value"},
	{"trailer with an underscore", "0\r\nx_y: 1\r\n\r\n", "400 underscore in a header name"},
	{"Content-Length as a trailer", "0\r\nContent-Length: 5\r\n\r\n", "400 field that may not stand in a trailer section"},
	{"Transfer-Encoding as a trailer", "0\r\ntransfer-encoding: chunked\r\n\r\n", "400 field that may not stand in a trailer section"},
	{"Host as a trailer", "0\r\nHost: b\r\n\r\n", "400 field that may not stand in a trailer section"},
	{"Connection as a trailer", "0\r\nConnection: close\r\n\r\n", "400 field that may not stand in a trailer section"},
	{"Authorization as a trailer", "0\r\nAuthorization: x\r\n\r\n", "400 field that may not stand in a trailer section"},
	{"Set-Cookie as a trailer", "0\r\nSet-Cookie: x\r\n\r\n", "400 field that may not stand in a trailer section"},
	{"X-Forwarded-For as a trailer", "0\r\nX-Forwarded-For: x\r\n\r\n", "400 field that may not stand in a trailer section"},
	{"a header of ours as a trailer", "0\r\nx-weir-flag: x\r\n\r\n", "400 field that may not stand in a trailer section"},
	{"many trailers", "0\r\n" + strings.Repeat("X: 1\r\n", 33), "431 too many trailer fields"},
	{"long trailer", "0\r\nX: " + strings.Repeat("x", 8190), "431 trailer section too large"},
	{"long trailers", "0\r\n" + strings.Repeat("X: "+strings.Repeat("x", 1000)+"\r\n", 9), "431 trailer section too large"},
}

func TestChunked(t *testing.T) {
	for _, b := range bodies {
		t.Run(b.name, func(t *testing.T) {
			for _, piece := range []int{1, 2, 3, 7, len(b.raw) + 1} {
				if got := walk(t, b.raw, piece, scan); got != b.want {
					t.Errorf("Scan of %q in pieces of %d: got %s, want %s", b.raw, piece, got, b.want)
				}
				if got := walk(t, b.raw, piece, next); got != b.want {
					t.Errorf("Next of %q in pieces of %d: got %s, want %s", b.raw, piece, got, b.want)
				}
			}
		})
	}
}

// next and scan consume what they can of buf; content is appended to data.
func next(c *Chunked, buf, data []byte) (int, []byte, bool, error) {
	n := 0
	for {
		piece, used, done, err := c.Next(buf[n:])
		n += used
		data = append(data, piece...)
		if done || err != nil || used == 0 {
			return n, data, done, err
		}
	}
}

// scan takes the content from what Scan lets through with a second, whole walk.
func scan(c *Chunked, buf, data []byte) (int, []byte, bool, error) {
	before := *c
	n, done, err := c.Scan(buf)
	if err != nil {
		return 0, data, false, err
	}
	again, data, _, err := next(&before, buf[:n], data)
	if err != nil || again != n {
		return n, data, done, fmt.Errorf("Scan let %d bytes through, Next %d, error %w", n, again, err)
	}
	return n, data, done, nil
}

type walker func(c *Chunked, buf, data []byte) (int, []byte, bool, error)

// walk gives raw to a walker in growing pieces and says what came of it.
func walk(t *testing.T, raw string, piece int, w walker) string {
	t.Helper()
	var c Chunked
	var data []byte
	at := 0
	for end := 0; ; end = min(end+piece, len(raw)) {
		n, more, done, err := w(&c, []byte(raw[at:end]), data)
		data = more
		at += n
		var fault *Error
		switch {
		case errors.As(err, &fault):
			return fmt.Sprintf("%d %s", fault.Status, fault.Reason)
		case err != nil:
			t.Fatal(err)
		case done:
			return fmt.Sprintf("%q done at %d", data, at)
		case end == len(raw):
			return fmt.Sprintf("%q more after %d", data, at)
		}
	}
}

var (
	naiveSize    = regexp.MustCompile(`^[0-9a-fA-F]{1,16}$`)
	naivePartial = regexp.MustCompile(`^([0-9a-fA-F]{1,16}\r?)?$`)
	naiveTrailer = regexp.MustCompile("^[!#$%&'*+.^`|~0-9A-Za-z-]+:[\t -~\u0080-\u00ff]*$")
)

// naiveChunked reads a chunked body on a string. ok is false where it is refused; n is -1
// where it is not complete.
func naiveChunked(s string) (content string, n int, ok bool) {
	rest := s
	for {
		line, after, found := strings.Cut(rest, "\n")
		if !found {
			size, _ := strconv.ParseUint(strings.TrimSuffix(line, "\r"), 16, 64)
			return content, -1, naivePartial.MatchString(line) && (size <= math.MaxInt64 || line == strings.TrimSuffix(line, "\r"))
		}
		line, crlf := strings.CutSuffix(line, "\r")
		size, err := strconv.ParseUint(line, 16, 64)
		if !crlf || !naiveSize.MatchString(line) || err != nil || size > math.MaxInt64 {
			return "", 0, false
		}
		rest = after
		if size == 0 {
			n, ok := naiveTrailers(rest)
			if n >= 0 {
				n += len(s) - len(rest)
			}
			return content, n, ok
		}
		if size >= uint64(len(rest)) {
			return content + rest, -1, true
		}
		content, rest = content+rest[:size], rest[size:]
		if !strings.HasPrefix(rest, "\r\n") {
			return content, -1, rest == "\r"
		}
		rest = rest[2:]
	}
}

func naiveTrailers(s string) (n int, ok bool) {
	for fields := 0; ; fields++ {
		line, _, found := strings.Cut(s[n:], "\n")
		switch {
		case n+len(line) >= maxTrailer:
			return 0, false
		case !found:
			return -1, true
		case line == "\r":
			return n + 2, true
		}
		n += len(line) + 1
		line, crlf := strings.CutSuffix(line, "\r")
		if fields == maxTrailerFields || !crlf || !latin1Match(line) {
			return 0, false
		}
		name, _, _ := strings.Cut(strings.ToLower(line), ":")
		for _, info := range nameInfos[1:] {
			if info.traits&early != 0 && (name == info.lower ||
				strings.HasSuffix(info.lower, "-") && strings.HasPrefix(name, info.lower)) {
				return 0, false
			}
		}
	}
}

// latin1Match matches a trailer line as bytes: regexp reads UTF-8.
func latin1Match(line string) bool {
	runes := make([]rune, len(line))
	for i := range len(line) {
		runes[i] = rune(line[i])
	}
	return naiveTrailer.MatchString(string(runes))
}

func FuzzChunked(f *testing.F) {
	for _, b := range bodies {
		f.Add(b.raw, 3)
	}
	f.Fuzz(func(t *testing.T, raw string, piece int) {
		if piece < 0 || piece > len(raw) {
			piece = len(raw)
		}
		piece = max(piece, len(raw)/50) + 1 // each piece is a copy
		whole := walk(t, raw, len(raw)+1, next)
		for _, got := range []string{walk(t, raw, piece, next), walk(t, raw, piece, scan), walk(t, raw, len(raw)+1, scan)} {
			if got != whole {
				t.Errorf("%q: %s and %s", raw, whole, got)
			}
		}
		content, n, ok := naiveChunked(raw)
		switch {
		case !ok:
			if !strings.HasPrefix(whole, "4") {
				t.Errorf("%q: got %s, want a refusal", raw, whole)
			}
		case n < 0:
			if !strings.HasPrefix(whole, fmt.Sprintf("%q more", content)) {
				t.Errorf("%q: got %s, want more after %q", raw, whole, content)
			}
		case whole != fmt.Sprintf("%q done at %d", content, n):
			t.Errorf("%q: got %s, want %q done at %d", raw, whole, content, n)
		}
	})
}

// TestTrailing looks that Next stops where the trailer section begins, so that what follows
// can be passed on as it is.
func TestTrailing(t *testing.T) {
	const content, trailer = "5\r\nhello\r\n0\r\n", "X-A: 1\r\nX-B: 2\r\n\r\n"
	var c Chunked
	var got, passed []byte
	for buf, done := []byte(content+trailer+"next"), false; !done; {
		trailing := c.Trailing()
		data, n, over, err := c.Next(buf)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, data...)
		if trailing {
			passed = append(passed, buf[:n]...)
		}
		buf, done = buf[n:], over
	}
	if string(got) != "hello" || string(passed) != trailer {
		t.Errorf("content %q, trailer section %q", got, passed)
	}
}

// TestAnswerTrailers: an answer's trailers may have underscores and be as long as a head, and
// whoever asks is shown them; a request's may not.
func TestAnswerTrailers(t *testing.T) {
	long := strings.Repeat("v", 20<<10)
	body := "1\r\nx\r\n0\r\nGrpc-Status: 7\r\nmy_key:  " + long + " \r\nx-b: 1\r\nX-B: 2\r\n\r\n"
	var names []Name
	var values []string
	c := Chunked{Answer: true, Trailer: func(name Name, value []byte) {
		names, values = append(names, name), append(values, string(value))
	}}
	for i, at := 0, 0; ; i++ { // whatever the pieces
		n, done, err := c.Scan([]byte(body[at:min(len(body), i*7)]))
		if err != nil {
			t.Fatal(err)
		}
		if at += n; done {
			break
		}
	}
	if !slices.Equal(values, []string{"7", long, "1", "2"}) || names[0] != NameGRPCStatus || names[1] != NameOther {
		t.Errorf("trailers %v, %d values", names, len(values))
	}
	for _, trailer := range []string{"my_key: 1\r\n", "x: " + long + "\r\n"} {
		if _, _, err := new(Chunked).Scan([]byte("0\r\n" + trailer + "\r\n")); err == nil {
			t.Errorf("a request's trailer %.10q is let pass", trailer)
		}
	}
	c = Chunked{Answer: true}
	if _, _, err := c.Scan([]byte("0\r\nx: " + strings.Repeat(long, 4) + "\r\n\r\n")); err == nil {
		t.Error("an answer's trailers have no bound")
	}
}
