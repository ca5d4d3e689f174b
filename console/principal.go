package console

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"strings"

	"sigs.k8s.io/yaml"
)

// Principal is who asks for a mutation.
type Principal struct {
	Name   string   `json:"name"`
	Groups []string `json:"groups,omitempty"` // as in team:payments
}

// Owner is who holds the token of the token file: whoever may read that file.
const Owner = "admin"

type principalKey struct{}

// PrincipalOf returns who asks, in a handler of a mutation.
func PrincipalOf(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}

// maxTokens bounds the named tokens.
const maxTokens = 1000

// namedToken is one entry of the file of named tokens.
type namedToken struct {
	Principal
	// SHA256 is the hash of the token in hexadecimal. The token itself stands nowhere.
	SHA256 string `json:"sha256"`
}

// readTokens reads the named tokens of a file. It is read at each mutation, so that an entry that
// is taken out ends at once.
func readTokens(path string) ([]namedToken, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("named tokens: %w", err)
	}
	var list []namedToken
	if err := yaml.UnmarshalStrict(b, &list); err != nil {
		return nil, fmt.Errorf("named tokens: %s: %w; want a list of name, groups and sha256", path, err)
	}
	if len(list) > maxTokens {
		return nil, fmt.Errorf("named tokens: %s: %d of them, at most %d", path, len(list), maxTokens)
	}
	names := map[string]bool{}
	for i, t := range list {
		wrong := ""
		switch sum, err := hex.DecodeString(t.SHA256); {
		case t.Name == "" || strings.ContainsAny(t.Name, " \t\r\n"):
			wrong = "a name is one word"
		case t.Name == Owner:
			wrong = "the name " + Owner + " is the token file's"
		case names[t.Name]:
			wrong = "the name stands twice"
		case err != nil || len(sum) != sha256.Size:
			wrong = "sha256 is the token's SHA-256 in hexadecimal, 64 digits: printf %s TOKEN | sha256sum"
		}
		if wrong != "" {
			return nil, fmt.Errorf("named tokens: %s: entry %d (%q): %s", path, i+1, t.Name, wrong)
		}
		names[t.Name] = true
	}
	return list, nil
}

// principal returns whose token a request carries. An error says why nobody's can be known.
func (c *Console) principal(r *http.Request) (p Principal, known bool, err error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return p, false, nil
	}
	got := sha256.Sum256([]byte(strings.TrimSpace(token)))
	if c.cfg.Token != "" {
		if want := sha256.Sum256([]byte(c.cfg.Token)); subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
			return Principal{Name: Owner}, true, nil
		}
	}
	if c.cfg.TokensFile == "" {
		return p, false, nil
	}
	list, err := readTokens(c.cfg.TokensFile)
	if err != nil {
		return p, false, err
	}
	for _, t := range list {
		want, _ := hex.DecodeString(t.SHA256)
		if subtle.ConstantTimeCompare(got[:], want) == 1 {
			return t.Principal, true, nil
		}
	}
	return p, false, nil
}
