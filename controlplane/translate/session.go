package translate

import (
	"regexp/syntax"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/model"
)

// sessionPath is where a route's session has its origin.
const sessionPath = "sessionPersistence"

// compileSession compiles the rule's session persistence (GEP-1619). Rules share a session
// only if they name it alike.
func (r *ruleView) compileSession(s *gatewayv1.SessionPersistence) {
	if s == nil {
		return
	}
	field := r.path + "." + sessionPath
	out := &model.Session{Type: model.SessionType(deref(s.Type, gatewayv1.CookieBasedSessionPersistence)), Name: deref(s.SessionName, "")}
	if out.Name == "" {
		// Hidden behind a hash, the names of routes stay inside.
		out.Name = defaultSessionPrefix + string(hashBytes([]byte(r.route.Name)))[:8]
	}
	switch {
	case out.Type != model.SessionCookie && out.Type != model.SessionHeader:
		r.refuse(RuleUnsupported, field+".type", "%q is not supported; use Cookie or Header", out.Type)
	case !isToken(out.Name):
		r.refuse(RuleInvalidValue, field+".sessionName", "%q is not the name of a cookie or header", out.Name)
	case out.Type == model.SessionHeader:
		out.Name = strings.ToLower(out.Name)
		if reason := reservedHeader(out.Name); reason != "" {
			r.refuse(RuleInvalidValue, field+".sessionName", "header %s %s and cannot carry a session", out.Name, reason)
		}
	default:
		out.Path = cookiePath(r.route.Matches)
	}
	if d := r.duration(field+".absoluteTimeout", s.AbsoluteTimeout); d != nil {
		out.AbsoluteTimeout = d.value
	}
	if c := s.CookieConfig; c != nil {
		out.Permanent = deref(c.LifetimeType, gatewayv1.SessionCookieLifetimeType) == gatewayv1.PermanentCookieLifetimeType
	}
	// The attribute Max-Age has seconds, and 0 of them delete a cookie.
	if out.Permanent && out.AbsoluteTimeout < time.Second {
		r.refuse(RuleInvalidValue, field+".absoluteTimeout", "a cookie of lifetimeType Permanent needs at least 1s")
	}
	r.route.Session = out
	r.sessionOrigin = originOf(r.b.object, field)
}

// reservedHeader says what a header is for that no session can be carried in.
func reservedHeader(name string) string {
	for _, h := range framingHeaders {
		if h == name {
			return "frames messages"
		}
	}
	switch name {
	case "host", "cookie", "set-cookie":
		return "has a meaning of its own"
	}
	return ""
}

// isToken reports whether a name is a token (RFC 9110, section 5.6.2), as the names of
// headers and cookies are.
func isToken(name string) bool {
	return name != "" && strings.IndexFunc(name, func(c rune) bool {
		return c <= ' ' || c > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
	}) < 0
}

// cookiePath is the Path attribute of a session's cookie: the deepest path below which all of
// the rule's matches are. For example:
//
//	/shop/cart                            → /shop/cart
//	/shop/cart and /shop/orders           → /shop
//	/shop/[0-9]+/cart, a regular expression → /shop
//	/cart and /orders                     → /
func cookiePath(matches []model.Match) string {
	var common []string // segments
	for i, m := range matches {
		path := m.Path.Value
		if m.Path.Type == model.MatchRegex {
			path = literalPath(path)
		}
		segments := strings.Split(strings.TrimSuffix(strings.TrimPrefix(safePath(path), "/"), "/"), "/")
		if i == 0 {
			common = segments
			continue
		}
		n := 0
		for n < min(len(common), len(segments)) && common[n] == segments[n] {
			n++
		}
		common = common[:n]
	}
	return "/" + strings.Join(common, "/")
}

// literalPath is the longest path that everything begins with which a regular expression for
// whole paths matches.
func literalPath(expr string) string {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return "/"
	}
	parts := []*syntax.Regexp{re}
	if re.Op == syntax.OpConcat {
		parts = re.Sub
	}
	for len(parts) > 0 && (parts[0].Op == syntax.OpBeginText || parts[0].Op == syntax.OpBeginLine) {
		parts = parts[1:]
	}
	if len(parts) == 0 || parts[0].Op != syntax.OpLiteral || parts[0].Flags&syntax.FoldCase != 0 {
		return "/"
	}
	literal := string(parts[0].Rune)
	for _, p := range parts[1:] {
		if p.Op != syntax.OpEndText && p.Op != syntax.OpEndLine {
			return parentPath(literal)
		}
	}
	return literal
}

// safePath cuts a path before the segment with the first byte that would end a cookie's
// attribute (RFC 6265, section 4.1.1).
func safePath(path string) string {
	i := strings.IndexFunc(path, func(c rune) bool { return c <= ' ' || c > '~' || c == ';' })
	if i < 0 {
		return path
	}
	return parentPath(path[:i])
}

// parentPath is a path up to its last slash.
func parentPath(path string) string {
	return path[:strings.LastIndexByte(path, '/')+1]
}
