package policy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir.dev/weir/model"
)

const preflightVary = "Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers"

func TestPreflight(t *testing.T) {
	full := &model.CORS{
		AllowOrigins: []string{"https://www.foo.com", "https://*.bar.com"}, AllowCredentials: true,
		AllowMethods: []string{"GET", "OPTIONS"}, AllowHeaders: []string{"x-header-1", "x-header-2"},
		ExposeHeaders: []string{"x-header-3", "x-header-4"}, MaxAge: time.Hour,
	}
	anything := &model.CORS{
		AllowOrigins: []string{"*"}, AllowMethods: []string{"*"}, AllowHeaders: []string{"*"}, ExposeHeaders: []string{"*"},
	}
	credentials := *anything
	credentials.AllowCredentials = true
	allowed := func(origin string) []string {
		return []string{
			preflightVary, "Access-Control-Allow-Origin: " + origin,
			"Access-Control-Allow-Credentials: true", "Access-Control-Expose-Headers: x-header-3, x-header-4",
			"Access-Control-Allow-Methods: GET, OPTIONS", "Access-Control-Allow-Headers: x-header-1, x-header-2",
			"Access-Control-Max-Age: 3600",
		}
	}
	tests := []struct {
		name   string
		cors   *model.CORS
		fields []string
		want   []string
	}{
		{"exact origin", full, []string{"Origin: https://www.foo.com", "Access-Control-Request-Method: GET"}, allowed("https://www.foo.com")},
		{"wildcard origin", full, []string{"Origin: https://a.b.bar.com", "Access-Control-Request-Method: PUT"}, allowed("https://a.b.bar.com")},
		{"other origin", full, []string{"Origin: https://foo.com", "Access-Control-Request-Method: GET"}, []string{preflightVary}},
		{"no origins configured", &model.CORS{}, []string{"Origin: https://foo.com", "Access-Control-Request-Method: GET"}, []string{preflightVary}},
		{
			"everything, headers echoed", anything,
			[]string{"Origin: null", "Access-Control-Request-Method: PURGE", "Access-Control-Request-Headers: x-a, x-b", "Access-Control-Request-Headers: x-c"},
			[]string{
				preflightVary, "Access-Control-Allow-Origin: null", "Access-Control-Expose-Headers: *", "Access-Control-Max-Age: 5",
				"Access-Control-Allow-Methods: PURGE", "Access-Control-Allow-Headers: x-a, x-b,x-c",
			},
		},
		{
			"everything with credentials never says *", &credentials,
			[]string{"Origin: https://other.foo.com", "Access-Control-Request-Method: PUT"},
			[]string{
				preflightVary, "Access-Control-Allow-Origin: https://other.foo.com", "Access-Control-Allow-Credentials: true",
				"Access-Control-Max-Age: 5", "Access-Control-Allow-Methods: PUT",
			},
		},
		{
			"nonsense is not echoed", anything,
			[]string{"Origin: https://a.com", "Access-Control-Request-Method: G T", "Access-Control-Request-Headers: x-a, x b"},
			[]string{preflightVary, "Access-Control-Allow-Origin: https://a.com", "Access-Control-Expose-Headers: *", "Access-Control-Max-Age: 5"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := request(t, append([]string{"OPTIONS /x HTTP/1.1", "Host: a"}, tt.fields...)...)
			got, handled := CompileCORS(tt.cors).Preflight(nil, req)
			if !handled {
				t.Fatal("not taken for a preflight")
			}
			if diff := cmp.Diff(tt.want, fieldLines(t, got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNotPreflight(t *testing.T) {
	if CompileCORS(nil) != nil {
		t.Error("nil became a policy")
	}
	c := CompileCORS(&model.CORS{AllowOrigins: []string{"*"}})
	for _, lines := range [][]string{
		{"GET / HTTP/1.1", "Host: a", "Origin: https://a.com", "Access-Control-Request-Method: GET"},
		{"OPTIONS / HTTP/1.1", "Host: a", "Origin: https://a.com"},
		{"OPTIONS / HTTP/1.1", "Host: a", "Access-Control-Request-Method: GET"},
	} {
		if got, handled := c.Preflight(nil, request(t, lines...)); handled || len(got) > 0 {
			t.Errorf("%q: handled %v with %q", lines, handled, got)
		}
	}
}

func TestCORSResponse(t *testing.T) {
	c := CompileCORS(&model.CORS{
		AllowOrigins: []string{"https://www.foo.com"}, AllowCredentials: true,
		ExposeHeaders: []string{"*", "x-a"}, AllowMethods: []string{"GET"},
	})
	for origin, want := range map[string][]string{
		"": {"Vary: Origin"}, "https://evil.com": {"Vary: Origin"},
		"https://www.foo.com": {
			"Vary: Origin", "Access-Control-Allow-Origin: https://www.foo.com",
			"Access-Control-Allow-Credentials: true", "Access-Control-Expose-Headers: x-a",
		},
	} {
		if diff := cmp.Diff(want, fieldLines(t, c.AppendResponse(nil, []byte(origin)))); diff != "" {
			t.Errorf("%s: %s", origin, diff)
		}
	}
	for name, want := range map[string]bool{
		"access-control-allow-origin": true, "Access-Control-Max-Age": true, "ACCESS-CONTROL-EXPOSE-HEADERS": true,
		"access-control-allow-credentials": true, "access-control-allow-methods": true, "access-control-allow-headers": true,
		"access-control-request-method": false, "access-control-": false, "vary": false, "access-control-allow-originx": false,
	} {
		if got := c.Owns([]byte(name)); got != want {
			t.Errorf("Owns(%q) = %v", name, got)
		}
	}
}

func TestOrigins(t *testing.T) {
	tests := []struct {
		allowed, origin string
		want            bool
	}{
		{"https://foo.com", "https://foo.com", true},
		{"https://Foo.com", "HTTPS://fOO.com", true},
		{"https://foo.com", "https://foo.com:443", true},
		{"https://foo.com:443", "https://foo.com", true},
		{"https://foo.com", "https://foo.com:8443", false},
		{"https://foo.com:8443", "https://foo.com", false},
		{"https://foo.com:8443", "https://foo.com:8443", true},
		{"http://foo.com", "http://foo.com:80", true},
		{"http://foo.com", "https://foo.com", false},
		{"https://foo.com", "https://foo.com.evil.com", false},
		{"https://foo.com", "https://evil.com/https://foo.com", false},
		{"https://*.foo.com", "https://a.foo.com", true},
		{"https://*.foo.com", "https://a.b.foo.com:443", true},
		{"https://*.foo.com", "https://foo.com", false},
		{"https://*.foo.com", "https://.foo.com", false},
		{"https://*.foo.com", "https://evilfoo.com", false},
		{"https://*.foo.com", "https://evil.com/.foo.com", false},
		{"https://*.foo.com", "https://evil.com?.foo.com", false},
		{"https://*.foo.com", "https://evil.com#.foo.com", false},
		{"https://*.foo.com", "https://user@a.foo.com", false},
		{"https://*.foo.com:81", "https://a.foo.com:81", true},
		{"https://*.foo.com:81", "https://a.foo.com", false},
		{"https://*", "https://anything.example", true},
		{"https://*", "http://anything.example", false},
		{"https://*", "null", false},
		{"https://*:81", "https://x:81", true},
		{"*", "null", true},
		{"*", "https://foobar.com:12345", true},
		{"*", "https://a.com https://b.com", false},
		{"*", "", false},
		{"ftp://foo.com", "ftp://foo.com", false},
		{"https://a*b.com", "https://axb.com", false},
		{"https://foo.com", "https://foo.com:", false},
	}
	for _, tt := range tests {
		c := CompileCORS(&model.CORS{AllowOrigins: []string{tt.allowed}})
		if got := c.allows([]byte(tt.origin)); got != tt.want {
			t.Errorf("%q allows %q: %v", tt.allowed, tt.origin, got)
		}
	}
}

func TestCORSAllocations(t *testing.T) {
	c := CompileCORS(&model.CORS{AllowOrigins: []string{"https://*.foo.com"}, AllowHeaders: []string{"*"}, AllowMethods: []string{"*"}})
	req := request(t, "OPTIONS / HTTP/1.1", "Host: a", "Origin: https://a.foo.com",
		"Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: a", "Access-Control-Request-Headers: b")
	dst := make([]byte, 0, 1024)
	origin := []byte("https://a.foo.com")
	noAllocations(t, func() { dst, _ = c.Preflight(dst[:0], req) })
	noAllocations(t, func() { dst = c.AppendResponse(dst[:0], origin) })
}
