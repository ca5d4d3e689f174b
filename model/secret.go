package model

import "strings"

// Redacted stands where a secret would.
const Redacted = "(redacted)"

// secretWords are parts of the names of headers and query parameters whose values are
// never shown.
var secretWords = []string{
	"auth", "token", "cookie", "secret", "password", "passwd", "pwd", "passphrase", "key", "credential", "session", "signature",
	"jwt", "bearer", "csrf", "xsrf",
}

// Hidden returns the value of a header or query parameter as it may be shown: Redacted if
// its name says that it may be a secret.
func Hidden(name, value string) string {
	lower := strings.ToLower(name)
	for _, word := range secretWords {
		if strings.Contains(lower, word) {
			return Redacted
		}
	}
	return value
}
