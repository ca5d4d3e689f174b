package console

import "regexp"

// quoted is what a message quotes, in any quotes, and what follows an unclosed one.
var quoted = regexp.MustCompile("\"(?:[^\"\\\\]|\\\\.)*(?:\"|$)|'[^']*(?:'|$)|`[^`]*(?:`|$)")

// withoutSecrets removes what a message about a Secret quotes: it may be its data.
func withoutSecrets(kind string, d Diagnostic) Diagnostic {
	if kind == "Secret" {
		d.Message = quoted.ReplaceAllString(d.Message, redacted)
	}
	return d
}
