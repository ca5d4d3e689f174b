package http1

import "weir.dev/weir/traffic/uri"

// Error says why a message was refused. All values are declared in this package and never
// change: a refusal allocates nothing, and two of them compare by identity.
type Error struct {
	// Status is the answer's status: 400, 413, 414, 431, 501 or 505 for a request, 502 for
	// an upstream's answer.
	Status int
	// Reason is what was wrong, in words, for logs.
	Reason string

	upstream *Error // the same fault in an upstream's answer
}

// Error returns the reason.
func (e *Error) Error() string { return e.Reason }

// fault declares a fault of a request, with its twin for an upstream's answer.
func fault(status int, reason string) *Error {
	return &Error{Status: status, Reason: reason, upstream: &Error{Status: 502, Reason: reason}}
}

// Faults of lines and fields.
var (
	errBareLF       = fault(400, "line feed without carriage return")
	errBareCR       = fault(400, "carriage return without line feed")
	errHeadTooLarge = fault(431, "head too large")
	errTooMany      = fault(431, "too many header fields")
	errFold         = fault(400, "folded header line")
	errNoColon      = fault(400, "header line without a colon")
	errEmptyName    = fault(400, "empty header name")
	errSpaceInName  = fault(400, "space before the colon of a header")
	errName         = fault(400, "bad character in a header name")
	errUnderscore   = fault(400, "underscore in a header name")
	errValue        = fault(400, "control character in a header value")
)

// Faults of the request line and its target.
var (
	errLineTooLong = fault(414, "request line too long")
	errFirstByte   = fault(400, "not a request line")
	errBlankLines  = fault(400, "empty line instead of a request line")
	errRequestLine = fault(400, "malformed request line")
	errMethodLong  = fault(501, "method too long")
	errConnect     = fault(501, "CONNECT is not supported")
	errVersion     = fault(400, "malformed HTTP version")
	errNotOne      = fault(505, "HTTP version is neither 1.0 nor 1.1")
	errTarget      = fault(400, uri.ErrTarget.Reason)
	errFragment    = fault(400, "fragment in the request target")
	errForm        = fault(400, uri.ErrForm.Reason)
	errAsterisk    = fault(400, "asterisk as target of a method other than OPTIONS")
	errBackslash   = fault(400, uri.ErrBackslash.Reason)
	errEscape      = fault(400, uri.ErrEscape.Reason)
	errEscapedNUL  = fault(400, uri.ErrEscapedNUL.Reason)
	errEscapedSep  = fault(400, uri.ErrEscapedSeparator.Reason)
	errDotEscape   = fault(400, uri.ErrDotEscape.Reason)
	errAboveRoot   = fault(400, uri.ErrAboveRoot.Reason)
)

// ErrVersion is the fault of a request line that names no version of HTTP.
var ErrVersion error = errVersion

// Faults of hosts.
var (
	errNoHost       = fault(400, "no Host")
	errHosts        = fault(400, "several Hosts")
	errHost         = fault(400, uri.ErrHost.Reason)
	errUserinfo     = fault(400, uri.ErrUserinfo.Reason)
	errPort         = fault(400, uri.ErrPort.Reason)
	errIPv6         = fault(400, uri.ErrIPv6.Reason)
	errHostDisagree = fault(400, "the target's authority and Host disagree")
)

// uriFaults are the faults of paths and authorities, by what package uri says of them.
var uriFaults = map[*uri.Error]*Error{
	uri.ErrForm: errForm, uri.ErrTarget: errTarget, uri.ErrBackslash: errBackslash, uri.ErrEscape: errEscape,
	uri.ErrEscapedNUL: errEscapedNUL, uri.ErrEscapedSeparator: errEscapedSep,
	uri.ErrDotEscape: errDotEscape, uri.ErrAboveRoot: errAboveRoot,
	uri.ErrHost: errHost, uri.ErrUserinfo: errUserinfo, uri.ErrPort: errPort, uri.ErrIPv6: errIPv6,
}

// faultOf returns the fault that is err; nil for nil.
func faultOf(err *uri.Error) *Error {
	if err == nil {
		return nil
	}
	return uriFaults[err]
}

// Faults of framing and connection options.
var (
	errLengths       = fault(400, "several Content-Lengths")
	errLength        = fault(400, "malformed Content-Length")
	errLengthCoding  = fault(400, "both Content-Length and Transfer-Encoding")
	errCodings       = fault(400, "several Transfer-Encodings")
	errCoding        = fault(400, "malformed Transfer-Encoding")
	errCodingUnknown = fault(501, "transfer coding other than chunked")
	errCodingOld     = fault(400, "Transfer-Encoding in HTTP/1.0")
	errTraceBody     = fault(400, "TRACE with a body")
	errOption        = fault(400, "malformed Connection option")
	errOptions       = fault(400, "too many Connection options")
	errOptionPinned  = fault(400, "Connection names a field that belongs to the whole path")
)

// Faults that only an upstream's answer can have.
var (
	errStatusLine  = fault(502, "malformed status line")
	errStatus      = fault(502, "status outside 100 to 599")
	errNoContent   = fault(502, "body announced by an answer that cannot have one")
	errSwitch      = fault(502, "switching protocols without naming one")
	errReasonBytes = fault(502, "control character in the reason phrase")
)

// Faults of chunked bodies.
var (
	errChunkSize     = fault(400, "malformed chunk size")
	errChunkHuge     = fault(400, "chunk size too large")
	errChunkExt      = fault(400, "chunk extension")
	errChunkLine     = fault(400, "chunk size without CRLF")
	errChunkEnd      = fault(400, "chunk without CRLF at its end")
	errTrailerLarge  = fault(431, "trailer section too large")
	errTrailerMany   = fault(431, "too many trailer fields")
	errTrailerFields = fault(400, "field that may not stand in a trailer section")
)
