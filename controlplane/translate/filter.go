package translate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/model"
)

// compileFilters compiles the filters of the rule itself.
func (r *ruleView) compileFilters(filters []gatewayv1.HTTPRouteFilter) {
	for i := range filters {
		r.compileFilter(&filters[i], fmt.Sprintf("%s.filters[%d]", r.path, i))
	}
	if r.route.Redirect != nil && r.route.Rewrite != nil {
		r.refuseFor(gatewayv1.RouteReasonIncompatibleFilters, RuleInvalidValue, r.path+".filters", "RequestRedirect and URLRewrite cannot be combined")
	}
}

func (r *ruleView) compileFilter(f *gatewayv1.HTTPRouteFilter, field string) {
	switch {
	case f.Type == gatewayv1.HTTPRouteFilterRequestHeaderModifier && f.RequestHeaderModifier != nil:
		r.route.RequestHeaders = r.compileHeaders(f.RequestHeaderModifier, true, field+".requestHeaderModifier")
	case f.Type == gatewayv1.HTTPRouteFilterResponseHeaderModifier && f.ResponseHeaderModifier != nil:
		r.route.ResponseHeaders = r.compileHeaders(f.ResponseHeaderModifier, false, field+".responseHeaderModifier")
	case f.Type == gatewayv1.HTTPRouteFilterRequestMirror && f.RequestMirror != nil:
		r.compileMirror(f.RequestMirror, field+".requestMirror")
	case f.Type == gatewayv1.HTTPRouteFilterRequestRedirect && f.RequestRedirect != nil:
		r.compileRedirect(f.RequestRedirect, field+".requestRedirect")
	case f.Type == gatewayv1.HTTPRouteFilterURLRewrite && f.URLRewrite != nil:
		r.route.Rewrite = &model.Rewrite{
			Hostname: string(deref(f.URLRewrite.Hostname, "")),
			Path:     r.compilePath(f.URLRewrite.Path, field+".urlRewrite.path"),
		}
	case f.Type == gatewayv1.HTTPRouteFilterCORS && f.CORS != nil:
		r.route.CORS = compileCORS(f.CORS)
	case f.Type == gatewayv1.HTTPRouteFilterExtensionRef && f.ExtensionRef != nil:
		message := fmt.Sprintf("there is no filter of kind %s and group %q", f.ExtensionRef.Kind, f.ExtensionRef.Group)
		r.b.unresolved = cmp.Or(r.b.unresolved, gatewayv1.RouteReasonInvalidKind)
		r.b.unresolvedMessages = append(r.b.unresolvedMessages, message)
		r.refuse(RuleUnsupported, field+".extensionRef", "%s", message)
	default:
		r.refuse(RuleUnsupported, field+".type", "the filter %s is not supported by this version", f.Type)
	}
}

// framingHeaders frame messages or belong to one connection; no filter may touch them.
var framingHeaders = []string{
	"connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer",
	"transfer-encoding", "upgrade",
}

// compileHeaders compiles a header filter: names in lower case, of several entries for one
// name in a list the first.
func (r *ruleView) compileHeaders(f *gatewayv1.HTTPHeaderFilter, request bool, field string) *model.HeaderEdit {
	edit, problem := headerEdit(f, request)
	if problem != "" {
		r.refuse(RuleInvalidValue, field, "%s", problem)
	}
	return edit
}

// headerEdit compiles a header filter, or says what is wrong with it.
func headerEdit(f *gatewayv1.HTTPHeaderFilter, request bool) (*model.HeaderEdit, string) {
	edit := &model.HeaderEdit{}
	actions := map[string]string{}
	problem := ""
	// first reports whether an entry is the first for its name.
	first := func(name, action string) bool {
		switch before := actions[name]; {
		case slices.Contains(framingHeaders, name):
			problem = fmt.Sprintf("header %s frames messages and cannot be changed", name)
		case request && name == "host":
			problem = "header host is changed by the filter URLRewrite, field hostname"
		case before != "" && before != action:
			problem = fmt.Sprintf("header %s has two actions, %s and %s; Gateway API allows one", name, before, action)
		case before == action:
			return false
		}
		actions[name] = action
		return true
	}
	for _, h := range f.Set {
		if name := strings.ToLower(string(h.Name)); first(name, "set") {
			edit.Set = append(edit.Set, model.Header{Name: name, Value: h.Value})
		}
	}
	for _, h := range f.Add {
		if name := strings.ToLower(string(h.Name)); first(name, "add") {
			edit.Add = append(edit.Add, model.Header{Name: name, Value: h.Value})
		}
	}
	for _, name := range f.Remove {
		if name = strings.ToLower(name); first(name, "remove") {
			edit.Remove = append(edit.Remove, name)
		}
	}
	if problem != "" {
		return nil, problem
	}
	return edit, ""
}

var redirectCodes = []int{301, 302, 303, 307, 308}

func (r *ruleView) compileRedirect(f *gatewayv1.HTTPRequestRedirectFilter, field string) {
	out := &model.Redirect{
		Scheme:   deref(f.Scheme, ""),
		Hostname: string(deref(f.Hostname, "")),
		Port:     uint16(deref(f.Port, 0)),
		Path:     r.compilePath(f.Path, field+".path"),
		Status:   deref(f.StatusCode, 302),
	}
	if out.Scheme != "" && out.Scheme != "http" && out.Scheme != "https" {
		r.refuse(RuleInvalidValue, field+".scheme", "%q is not supported; use http or https", out.Scheme)
	}
	if !slices.Contains(redirectCodes, out.Status) {
		r.refuse(RuleInvalidValue, field+".statusCode", "%d is not supported; use one of %v", out.Status, redirectCodes)
	}
	r.route.Redirect = out
}

func (r *ruleView) compilePath(p *gatewayv1.HTTPPathModifier, field string) *model.PathChange {
	switch {
	case p == nil:
		return nil
	case p.Type == gatewayv1.FullPathHTTPPathModifier && p.ReplaceFullPath != nil:
		return &model.PathChange{Full: p.ReplaceFullPath}
	case p.Type == gatewayv1.PrefixMatchHTTPPathModifier && p.ReplacePrefixMatch != nil:
		r.prefixOnly = field
		return &model.PathChange{Prefix: p.ReplacePrefixMatch}
	}
	r.refuse(RuleUnsupported, field+".type", "the path modifier %q is not supported", p.Type)
	return nil
}

// compileMirror adds a mirror. One whose backend does not resolve is left out, as Gateway
// API demands: the requests themselves do not suffer.
func (r *ruleView) compileMirror(f *gatewayv1.HTTPRequestMirrorFilter, field string) {
	m := model.Mirror{Numerator: 100, Denominator: 100}
	switch {
	case f.Percent != nil:
		m.Numerator = uint32(*f.Percent)
	case f.Fraction != nil:
		m.Numerator = uint32(f.Fraction.Numerator)
		m.Denominator = uint32(deref(f.Fraction.Denominator, 100))
	}
	ref, name, answer := r.b.resolve(f.BackendRef, field+".backendRef")
	if answer != nil || m.Numerator == 0 {
		return
	}
	m.Name, m.Cluster = name, ref.cluster()
	r.route.Mirrors = append(r.route.Mirrors, m)
	r.mirrorRefs = append(r.mirrorRefs, ref)
}

func compileCORS(f *gatewayv1.HTTPCORSFilter) *model.CORS {
	out := &model.CORS{AllowCredentials: deref(f.AllowCredentials, false), MaxAge: time.Duration(f.MaxAge) * time.Second}
	if f.MaxAge == 0 {
		out.MaxAge = 5 * time.Second // the schema's default, for sources without one
	}
	for _, o := range f.AllowOrigins {
		out.AllowOrigins = append(out.AllowOrigins, string(o))
	}
	for _, m := range f.AllowMethods {
		out.AllowMethods = append(out.AllowMethods, string(m))
	}
	for _, h := range f.AllowHeaders {
		out.AllowHeaders = append(out.AllowHeaders, strings.ToLower(string(h)))
	}
	for _, h := range f.ExposeHeaders {
		out.ExposeHeaders = append(out.ExposeHeaders, string(h))
	}
	return out
}
