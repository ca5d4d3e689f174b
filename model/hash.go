package model

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Hash identifies an object's content. Two objects with equal hashes are the same.
type Hash string

// HashOf returns the hash of v's JSON form, in which maps are sorted: the first sixteen
// bytes of its SHA-256 in hexadecimal. v's own Hash field must be empty. It panics where
// v holds what JSON cannot (a channel, a function): model objects never do.
func HashOf(v any) Hash {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("model: %v", err))
	}
	sum := sha256.Sum256(b)
	return Hash(hex.EncodeToString(sum[:16]))
}
