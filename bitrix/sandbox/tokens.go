// What issued tokens look like: as long as real ones, and telling whose they
// are, so that a dead one is known without being kept.

package sandbox

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// tokenKind is what a token is for.
type tokenKind byte

const (
	accessToken  tokenKind = 1
	refreshToken tokenKind = 2
)

func (k tokenKind) String() string {
	if k == refreshToken {
		return "refresh token"
	}
	return "access token"
}

// token is what an issued token says.
type token struct {
	kind       tokenKind
	expires    uint32 // unix seconds
	serial     uint32 // of the portal
	generation uint32 // of its pair
}

// Sizes in bytes. All together make the 70 digits of real tokens, which begin
// with the time of expiry too.
const (
	expirySize = 4
	markSize   = 8
	sealAt     = expirySize + markSize + 4 + 4 + 1
	tokenSize  = 35
	// tokenDigits and markAt are counted in hexadecimal digits.
	tokenDigits = 2 * tokenSize
	markAt      = 2 * expirySize
)

// mint makes and reads the tokens of one sandbox.
type mint struct {
	key  [32]byte
	mark [markSize]byte // in every token, so that one is easily found in a text
}

func newMint() *mint {
	m := &mint{}
	_, _ = rand.Read(m.key[:]) // never fails, by its documentation
	_, _ = rand.Read(m.mark[:])
	return m
}

// markText is the mark as it stands in a token.
func (m *mint) markText() string { return hex.EncodeToString(m.mark[:]) }

func (m *mint) issue(t token) Secret {
	var b [tokenSize]byte
	binary.LittleEndian.PutUint32(b[:], t.expires)
	copy(b[expirySize:], m.mark[:])
	binary.LittleEndian.PutUint32(b[12:], t.serial)
	binary.LittleEndian.PutUint32(b[16:], t.generation)
	b[20] = byte(t.kind)
	seal := m.seal(b[:sealAt])
	copy(b[sealAt:], seal[:])
	return Secret(hex.EncodeToString(b[:]))
}

// read takes a token apart; false for what this mint has not issued.
func (m *mint) read(text []byte) (token, bool) {
	var b [tokenSize]byte
	if len(text) != tokenDigits {
		return token{}, false
	}
	if _, err := hex.Decode(b[:], text); err != nil {
		return token{}, false
	}
	seal := m.seal(b[:sealAt])
	if [tokenSize - sealAt]byte(b[sealAt:]) != [tokenSize - sealAt]byte(seal[:]) {
		return token{}, false
	}
	return token{
		kind: tokenKind(b[20]), expires: binary.LittleEndian.Uint32(b[:]),
		serial: binary.LittleEndian.Uint32(b[12:]), generation: binary.LittleEndian.Uint32(b[16:]),
	}, true
}

func (m *mint) seal(payload []byte) [sha256.Size]byte {
	var buf [32 + sealAt]byte
	copy(buf[copy(buf[:], m.key[:]):], payload)
	return sha256.Sum256(buf[:])
}

// applicationToken is a portal's application_token for its nth installation,
// of 32 digits as on real portals.
func (m *mint) applicationToken(serial uint32, n int) Secret {
	var b [sealAt]byte
	copy(b[:], "application")
	binary.LittleEndian.PutUint32(b[12:], serial)
	binary.LittleEndian.PutUint32(b[16:], uint32(n)) //nolint:gosec // a count of installations
	seal := m.seal(b[:])
	return Secret(hex.EncodeToString(seal[:16]))
}

// unix32 is a time as tokens hold it.
func unix32(t time.Time) uint32 { return uint32(t.Unix()) } //nolint:gosec // good until 2106

// TokenMark is a text that every access and refresh token of this sandbox
// contains, those long dead too, and nothing else: whoever searches logs or a
// database for leaked tokens searches for this.
func (s *Sandbox) TokenMark() string { return s.secrets.mint.markText() }
