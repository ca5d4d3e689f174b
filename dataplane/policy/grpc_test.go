package policy

import (
	"bytes"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"pgregory.net/rapid"

	"weir.dev/weir/model"
)

func TestGRPCTimeouts(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1n": 1, "20u": 20 * time.Microsecond, "300m": 300 * time.Millisecond, "4S": 4 * time.Second, "5M": 5 * time.Minute, "6H": 6 * time.Hour,
		"0S": 0, "00000007S": 7 * time.Second, "99999999n": 99999999, "99999999H": longest, "99999999M": longest, "99999999S": 99999999 * time.Second,
	} {
		if got, ok := ParseGRPCTimeout([]byte(text)); !ok || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "S", "1", "1s", "1h", "-1S", "+1S", " 1S", "1S ", "1 S", "1.5S", "123456789S", "1SS", "0x1S", "1S,2S"} {
		if got, ok := ParseGRPCTimeout([]byte(text)); ok {
			t.Errorf("%q: %v, want it refused", text, got)
		}
	}
}

// TestGRPCTimeoutShrinks: what is written is read again as at most as much, and not much less.
func TestGRPCTimeoutShrinks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(-10, int64(longest)).Draw(t, "d"))
		line := string(AppendGRPCTimeout(nil, d))
		value, ok := strings.CutPrefix(line, "Grpc-Timeout: ")
		value, ended := strings.CutSuffix(value, "\r\n")
		got, valid := ParseGRPCTimeout([]byte(value))
		if !ok || !ended || !valid || got > max(d, 1) || got < max(d, 1)-max(d, 1)/50_000-1 {
			t.Fatalf("%d: %q is %d", d, line, got)
		}
	})
}

func TestGRPCMessagesAreEscaped(t *testing.T) {
	for text, want := range map[string]string{
		"plain (UH): ok": "plain (UH): ok", "100%": "100%25", "a\r\nGrpc-Status: 0": "a%0D%0AGrpc-Status: 0", "é\x00\x7f": "%C3%A9%00%7F",
	} {
		want = "Content-Type: application/grpc\r\nGrpc-Status: 14\r\nGrpc-Message: " + want + "\r\n"
		if got := string(AppendGRPCRefusal(nil, model.GRPCUnavailable, text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestGRPCCodesAreGRPCs compares numbers and names with those of a library that others wrote.
func TestGRPCCodesAreGRPCs(t *testing.T) {
	for code := range model.GRPCCodes {
		var theirs codes.Code
		if err := theirs.UnmarshalJSON([]byte(`"` + code.String() + `"`)); err != nil || int(theirs) != int(code) {
			t.Errorf("%v is %d, theirs is %d, %v", code, code, theirs, err)
		}
		if back, ok := model.ParseGRPCCode(code.String()); !ok || back != code {
			t.Errorf("%v is read as %v", code, back)
		}
	}
	if got := model.GRPCCodes.String(); got != "17" {
		t.Errorf("a code without a name is %q", got)
	}
}

func TestGRPCRefusals(t *testing.T) {
	for _, test := range []struct {
		flag   model.Flag
		status int // 0: the flag's
		want   model.GRPCCode
	}{
		{model.FlagUF, 0, model.GRPCUnavailable},
		{model.FlagUH, 0, model.GRPCUnavailable},
		{model.FlagUC, 0, model.GRPCUnavailable},
		{model.FlagOM, 0, model.GRPCUnavailable},
		{model.FlagUT, 0, model.GRPCDeadlineExceeded},
		{model.FlagPT, 0, model.GRPCDeadlineExceeded},
		{model.FlagPA, 0, model.GRPCPermissionDenied},
		{model.FlagPA, 401, model.GRPCUnauthenticated},
		{model.FlagUAEX, 401, model.GRPCUnauthenticated},
		{model.FlagPA, 503, model.GRPCUnavailable},
		{model.FlagRL, 0, model.GRPCResourceExhausted},
		{model.FlagNR, 0, model.GRPCUnimplemented},
		{model.FlagNC, 0, model.GRPCUnavailable}, // as GRPCRouteRule.backendRefs demands
		{model.FlagNC, 500, model.GRPCUnavailable},
		{model.FlagWI, 0, model.GRPCInternal},
		{model.FlagWD, 0, model.GRPCUnavailable},
		{model.FlagDPE, 0, model.GRPCInternal},
		{model.FlagDPE, 408, model.GRPCInternal},
		{model.FlagDPE, 413, model.GRPCResourceExhausted},
		{model.FlagDPE, 421, model.GRPCUnavailable},
	} {
		status := test.status
		if status == 0 {
			status = model.FlagInfos[test.flag].Status
		}
		if got := GRPCRefusal(test.flag, status); got != test.want {
			t.Errorf("%v with %d: %v, want %v", test.flag, status, got, test.want)
		}
	}
	for f := model.FlagNone + 1; f < model.FlagCount; f++ {
		if model.FlagInfos[f].GRPC == model.GRPCOK {
			t.Errorf("%v would be a success", f)
		}
	}
}

func TestGRPCPauses(t *testing.T) {
	for text, want := range map[string]time.Duration{"0": 0, "250": 250 * time.Millisecond, "-1": -1, "": -1, "1s": -1, "99999999999999999999": -1} {
		if got, ok := ParsePushback([]byte(text)); ok != (want >= 0) || ok && got != want {
			t.Errorf("pushback %q: %v, %v", text, got, ok)
		}
	}
	for text, want := range map[string]int{"": 0, "x": 0, "-1": 0, "3": 3, "123456789": maxAttempts} {
		if got := ParseGRPCAttempts([]byte(text)); got != want {
			t.Errorf("attempts %q: %d, want %d", text, got, want)
		}
	}
	if got := ParseGRPCStatus([]byte("x")); got != model.GRPCUnknown {
		t.Errorf("a status that is no number is %v", got)
	}
	if got := ParseGRPCStatus([]byte("99999999999")); got != model.GRPCUnknown {
		t.Errorf("a huge status is %v", got)
	}
}

func TestGRPCFields(t *testing.T) {
	const te = "Connection: TE\r\nTE: trailers\r\n"
	for _, test := range []struct {
		left  time.Duration
		tries int
		skip  Generated
		want  string
	}{
		{0, 0, 0, te},
		{time.Second, 0, 0, te + "Grpc-Timeout: 1000000u\r\n"},
		{time.Second, 2, GeneratedGRPCTimeout, te + "Grpc-Previous-Rpc-Attempts: 2\r\n"},
	} {
		if got := AppendGRPCFields(nil, test.left, test.tries, test.skip); !bytes.Equal(got, []byte(test.want)) {
			t.Errorf("%v %d: %q, want %q", test.left, test.tries, got, test.want)
		}
	}
}

// FuzzGRPCTimeout compares the reader with a pattern and big numbers.
func FuzzGRPCTimeout(f *testing.F) {
	for _, text := range []string{"1S", "99999999H", "0n", "123456789m", "1s", ""} {
		f.Add([]byte(text))
	}
	valid := regexp.MustCompile(`^[0-9]{1,8}[HMSmun]$`)
	units := map[byte]int64{'H': 3600e9, 'M': 60e9, 'S': 1e9, 'm': 1e6, 'u': 1e3, 'n': 1}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, ok := ParseGRPCTimeout(text)
		if ok != valid.Match(text) {
			t.Fatalf("%q: %v, %v", text, got, ok)
		}
		if !ok {
			return
		}
		n, _ := new(big.Int).SetString(string(text[:len(text)-1]), 10)
		n.Mul(n, big.NewInt(units[text[len(text)-1]]))
		if n.Cmp(big.NewInt(int64(longest))) > 0 {
			n.SetInt64(int64(longest))
		}
		if n.Int64() != int64(got) {
			t.Fatalf("%q: %v, want %v", text, got, n)
		}
	})
}
