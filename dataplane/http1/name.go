package http1

// Name is a header that the proxy knows; NameOther is every other.
type Name uint8

// The known headers.
const (
	NameOther Name = iota
	NameHost
	NameConnection
	NameContentLength
	NameTransferEncoding
	NameExpect
	NameUpgrade
	NameTE
	NameTrailer
	NameKeepAlive
	NameProxyConnection
	NameProxyAuthenticate
	NameProxyAuthorization
	NameProxyAuthenticationInfo
	NameHTTP2Settings
	NameXForwardedFor
	NameXForwardedProto
	NameXForwardedHost
	NameXForwardedPort
	NameXForwarded // any other x-forwarded-...
	NameXRealIP
	NameForwarded
	NameVia
	NameXRequestID
	NameTraceparent
	NameTracestate
	NameXWeir // any x-weir-...
	NameOrigin
	NameAccessControlRequestMethod
	NameAccessControlRequestHeaders
	NameAuthorization
	NameWWWAuthenticate
	NameCookie
	NameSetCookie
	NameDate
	NameServer
	NameRetryAfter
	NameLocation
	NameUserAgent
	NameReferer
	NameVary
	NameAge
	NameExpires
	NamePragma
	NameCacheControl
	NameContentType
	NameContentEncoding
	NameContentRange
	NameMaxForwards
	NameRange
	NameIfMatch
	NameIfNoneMatch
	NameIfModifiedSince
	NameIfUnmodifiedSince
	NameIfRange
	NameGRPCTimeout
	NameGRPCAttempts // grpc-previous-rpc-attempts
	NameGRPCStatus
	NameGRPCPushback // grpc-retry-pushback-ms
	nameCount
)

// trait is a set of bits that say how a header is treated.
type trait uint8

const (
	// hop: belongs to one connection and is never forwarded (RFC 9110 7.6.1). The
	// Proxy-Auth fields are meant for the next proxy only (RFC 9110 11.7), and Weir,
	// a gateway, neither asks for proxy credentials nor passes them on.
	hop trait = 1 << iota
	// pinned: a Connection option of this name is refused, because removing the field on
	// somebody's word would change framing, routing or identity behind the proxy.
	pinned
	// early: may not stand in a trailer section (RFC 9110 6.5.1): framing, routing,
	// modifiers, authentication, content format, and what proxies vouch for.
	early
)

// nameInfos describes every known header; its index is the Name. Names that end in "-" are prefixes.
var nameInfos = [nameCount]struct {
	lower, canonical string
	traits           trait
}{
	NameOther:                       {},
	NameHost:                        {"host", "Host", pinned | early},
	NameConnection:                  {"connection", "Connection", hop | early},
	NameContentLength:               {"content-length", "Content-Length", pinned | early},
	NameTransferEncoding:            {"transfer-encoding", "Transfer-Encoding", hop | early},
	NameExpect:                      {"expect", "Expect", early},
	NameUpgrade:                     {"upgrade", "Upgrade", hop | early},
	NameTE:                          {"te", "TE", hop | early},
	NameTrailer:                     {"trailer", "Trailer", early},
	NameKeepAlive:                   {"keep-alive", "Keep-Alive", hop | early},
	NameProxyConnection:             {"proxy-connection", "Proxy-Connection", hop | early},
	NameProxyAuthenticate:           {"proxy-authenticate", "Proxy-Authenticate", hop | early},
	NameProxyAuthorization:          {"proxy-authorization", "Proxy-Authorization", hop | early},
	NameProxyAuthenticationInfo:     {"proxy-authentication-info", "Proxy-Authentication-Info", hop | early},
	NameHTTP2Settings:               {"http2-settings", "HTTP2-Settings", hop | early},
	NameXForwardedFor:               {"x-forwarded-for", "X-Forwarded-For", pinned | early},
	NameXForwardedProto:             {"x-forwarded-proto", "X-Forwarded-Proto", pinned | early},
	NameXForwardedHost:              {"x-forwarded-host", "X-Forwarded-Host", pinned | early},
	NameXForwardedPort:              {"x-forwarded-port", "X-Forwarded-Port", pinned | early},
	NameXForwarded:                  {"x-forwarded-", "X-Forwarded-", pinned | early},
	NameXRealIP:                     {"x-real-ip", "X-Real-IP", pinned | early},
	NameForwarded:                   {"forwarded", "Forwarded", pinned | early},
	NameVia:                         {"via", "Via", pinned | early},
	NameXRequestID:                  {"x-request-id", "X-Request-ID", pinned | early},
	NameTraceparent:                 {"traceparent", "Traceparent", pinned | early},
	NameTracestate:                  {"tracestate", "Tracestate", pinned | early},
	NameXWeir:                       {"x-weir-", "X-Weir-", pinned | early},
	NameOrigin:                      {"origin", "Origin", pinned | early},
	NameAccessControlRequestMethod:  {"access-control-request-method", "Access-Control-Request-Method", pinned | early},
	NameAccessControlRequestHeaders: {"access-control-request-headers", "Access-Control-Request-Headers", pinned | early},
	NameAuthorization:               {"authorization", "Authorization", pinned | early},
	NameWWWAuthenticate:             {"www-authenticate", "WWW-Authenticate", pinned | early},
	NameCookie:                      {"cookie", "Cookie", pinned | early},
	NameSetCookie:                   {"set-cookie", "Set-Cookie", pinned | early},
	NameDate:                        {"date", "Date", early},
	NameServer:                      {"server", "Server", 0},
	NameRetryAfter:                  {"retry-after", "Retry-After", early},
	NameLocation:                    {"location", "Location", pinned | early},
	NameUserAgent:                   {"user-agent", "User-Agent", 0},
	NameReferer:                     {"referer", "Referer", 0},
	NameVary:                        {"vary", "Vary", pinned | early},
	NameAge:                         {"age", "Age", early},
	NameExpires:                     {"expires", "Expires", early},
	NamePragma:                      {"pragma", "Pragma", early},
	NameCacheControl:                {"cache-control", "Cache-Control", pinned | early},
	NameContentType:                 {"content-type", "Content-Type", pinned | early},
	NameContentEncoding:             {"content-encoding", "Content-Encoding", pinned | early},
	NameContentRange:                {"content-range", "Content-Range", pinned | early},
	NameMaxForwards:                 {"max-forwards", "Max-Forwards", early},
	NameRange:                       {"range", "Range", early},
	NameIfMatch:                     {"if-match", "If-Match", early},
	NameIfNoneMatch:                 {"if-none-match", "If-None-Match", early},
	NameIfModifiedSince:             {"if-modified-since", "If-Modified-Since", early},
	NameIfUnmodifiedSince:           {"if-unmodified-since", "If-Unmodified-Since", early},
	NameIfRange:                     {"if-range", "If-Range", early},
	NameGRPCTimeout:                 {"grpc-timeout", "Grpc-Timeout", pinned},
	NameGRPCAttempts:                {"grpc-previous-rpc-attempts", "Grpc-Previous-Rpc-Attempts", pinned},
	NameGRPCStatus:                  {"grpc-status", "Grpc-Status", pinned},
	NameGRPCPushback:                {"grpc-retry-pushback-ms", "Grpc-Retry-Pushback-Ms", pinned},
}

// String returns the header's name in lower case, empty for NameOther. For NameXWeir and
// NameXForwarded it is the prefix that they stand for.
func (n Name) String() string { return nameInfos[n].lower }

// Canonical returns the header's name as it is usually written.
func (n Name) Canonical() string { return nameInfos[n].canonical }

func (n Name) has(t trait) bool { return nameInfos[n].traits&t != 0 }

// byLength lists the known names of each length, so that a name is compared with two or
// three others at most, and mostly by their first byte alone.
var byLength = namesByLength()

func namesByLength() (t [32][]Name) {
	for n := NameOther + 1; n < nameCount; n++ {
		if s := nameInfos[n].lower; s[len(s)-1] != '-' {
			t[len(s)] = append(t[len(s)], n)
		}
	}
	return t
}

// recognise returns the Name of a header whose name is a valid, non-empty token.
func recognise(name []byte) Name {
	first := lower[name[0]]
	if len(name) < len(byLength) {
		for _, n := range byLength[len(name)] {
			if want := nameInfos[n].lower; want[0] == first && foldEqual(name, want) {
				return n
			}
		}
	}
	if first == 'x' {
		for _, n := range [...]Name{NameXWeir, NameXForwarded} {
			if p := nameInfos[n].lower; len(name) >= len(p) && foldEqual(name[:len(p)], p) {
				return n
			}
		}
	}
	return NameOther
}
