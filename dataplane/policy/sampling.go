package policy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"sync"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/model"
	"weir.dev/weir/traffic/expression"
)

// Cohorts find the group of a release that a request belongs to. Where a condition is in error
// for a request it does not hold.
type Cohorts struct{ list []*expression.Program }

// CompileCohorts prepares cohorts; nil for none. Translation has refused what does not compile.
func CompileCohorts(list []model.Cohort) *Cohorts {
	if len(list) == 0 {
		return nil
	}
	c := &Cohorts{make([]*expression.Program, len(list))}
	for i, m := range list {
		c.list[i], _ = expression.Compile(m.When, expression.Forwarding, expression.Bool)
	}
	return c
}

// First returns the place of the first cohort that a request belongs to, and -1 for none.
func (c *Cohorts) First(f *Facts) int {
	for i, when := range c.list {
		if when == nil {
			continue
		}
		if holds, err := when.Bool(f); err == nil && holds {
			return i
		}
	}
	return -1
}

// UserID is what a client is told apart by that nothing else tells apart: random, the same for all
// releases, and never the arm. It says nothing about the client but that it has come before.
type UserID [16]byte

// NewUserID makes an id of two random numbers.
func NewUserID(high, low uint64) (id UserID) {
	binary.BigEndian.PutUint64(id[:8], high)
	binary.BigEndian.PutUint64(id[8:], low)
	return id
}

// UserIDs reads and writes the cookie that holds a UserID, signed with a secret that all proxies
// share, so that nobody chooses its bucket, and nobody else's id comes back.
//
// On the wire it is the URL-safe base64 of 30 bytes, 40 characters: the id and the first 14 bytes
// of its HMAC-SHA256 (RFC 2104 section 5 allows for truncation). The cookie is HttpOnly,
// SameSite=Lax and ends with the browser's session; it is Secure where the client speaks https.
type UserIDs struct{ signers sync.Pool }

const (
	userCookie = "weir-user"
	userLabel  = "weir user id 1:" // in front of what is signed: the secret may sign other things
	userMAC    = 14
	userBytes  = len(UserID{}) + userMAC
	userText   = userBytes / 3 * 4
	// userTries bounds the cookies of the name that are looked at: each costs a signature.
	userTries = 3
)

// signer is what one signature takes. It is pooled, so that a request allocates nothing.
type signer struct {
	mac  hash.Hash
	text [len(userLabel) + len(UserID{})]byte
	sum  [sha256.Size]byte
	raw  [userBytes]byte
}

// NewUserIDs returns nil without a secret: then there are no ids.
func NewUserIDs(secret []byte) *UserIDs {
	if len(secret) == 0 {
		return nil
	}
	key := append([]byte(nil), secret...)
	u := &UserIDs{}
	u.signers.New = func() any {
		s := &signer{mac: hmac.New(sha256.New, key)}
		copy(s.text[:], userLabel)
		return s
	}
	return u
}

// Read returns the id that a request has, and false for none, and for one that was forged, signed with
// another secret, or is malformed.
func (u *UserIDs) Read(h *http1.Head) (id UserID, ok bool) {
	s := u.signers.Get().(*signer)
	defer u.signers.Put(s)
	tries := 0
	for text := range cookies(h, userCookie) {
		if tries++; tries > userTries {
			break
		}
		if len(text) != userText {
			continue
		}
		n, err := base64.RawURLEncoding.Decode(s.raw[:], text)
		if err != nil || n != userBytes {
			continue
		}
		copy(id[:], s.raw[:])
		if hmac.Equal(s.sign(id), s.raw[len(id):]) {
			return id, true
		}
	}
	return UserID{}, false
}

// sign returns an id's signature, which is valid until the next.
func (s *signer) sign(id UserID) []byte {
	copy(s.text[len(userLabel):], id[:])
	s.mac.Reset()
	s.mac.Write(s.text[:])
	return s.mac.Sum(s.sum[:0])[:userMAC]
}

// AppendTo appends the field of an answer that gives a client its id.
func (u *UserIDs) AppendTo(dst []byte, id UserID, https bool) []byte {
	s := u.signers.Get().(*signer)
	defer u.signers.Put(s)
	signature := s.sign(id)
	copy(s.raw[:], id[:])
	copy(s.raw[len(id):], signature)
	dst = append(dst, "Set-Cookie: "+userCookie+"="...)
	dst = base64.RawURLEncoding.AppendEncode(dst, s.raw[:])
	dst = append(dst, "; Path=/; HttpOnly; SameSite=Lax"...)
	if https {
		dst = append(dst, "; Secure"...)
	}
	return append(dst, "\r\n"...)
}
