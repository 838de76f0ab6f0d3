// Sealing: AES-GCM under the keys of SECRETS_KEY.

package portals

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// keyBytes is the length of a key: AES-256.
const keyBytes = 32

// ErrNoKey is returned by what cannot do without a key.
var ErrNoKey = errors.New("SECRETS_KEY is not set: it seals the portals' credentials; make one with `head -c 32 /dev/urandom | base64`")

// Keyring seals with its first key and opens with any. Its zero value has no
// key. It never prints them.
type Keyring struct {
	keys func() []key // a function, which fmt cannot look into
}

type key struct {
	id   string // names the key in sealed records; no secret
	aead cipher.AEAD
}

// ParseKeys reads SECRETS_KEY: keys of 32 bytes in base64 (standard or URL
// alphabet, padded or not), separated by commas. An empty string is [ErrNoKey].
// Errors name a key by its place and never show it.
func ParseKeys(s string) (Keyring, error) {
	if strings.TrimSpace(s) == "" {
		return Keyring{}, ErrNoKey
	}
	var keys []key
	for i, text := range strings.Split(s, ",") {
		k, err := parseKey(strings.TrimSpace(text))
		if err != nil {
			return Keyring{}, fmt.Errorf("SECRETS_KEY: key %d %w; make one with `head -c 32 /dev/urandom | base64`", i+1, err)
		}
		for j, other := range keys {
			if other.id == k.id {
				return Keyring{}, fmt.Errorf("SECRETS_KEY: keys %d and %d are the same", j+1, i+1)
			}
		}
		keys = append(keys, k)
	}
	return Keyring{func() []key { return keys }}, nil
}

func parseKey(text string) (key, error) {
	if text == "" {
		return key{}, errors.New("is empty")
	}
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil { // its text is only an offset, but says nothing to a person
		return key{}, errors.New("is not base64")
	}
	if len(raw) != keyBytes {
		return key{}, fmt.Errorf("has %d bytes, not %d", len(raw), keyBytes)
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return key{}, err
	}
	// The nonce is random and travels in front: 2³² seals under one key are safe.
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return key{}, err
	}
	sum := sha256.Sum256(append([]byte("botfleet key id\x00"), raw...))
	return key{id: hex.EncodeToString(sum[:4]), aead: aead}, nil
}

// NewKey makes a random key in the form that [ParseKeys] reads.
func NewKey() string {
	raw := make([]byte, keyBytes)
	_, _ = rand.Read(raw) // never fails: crypto/rand ends the process instead
	return base64.StdEncoding.EncodeToString(raw)
}

func (k Keyring) all() []key {
	if k.keys == nil {
		return nil
	}
	return k.keys()
}

// Empty reports whether there is no key.
func (k Keyring) Empty() bool { return len(k.all()) == 0 }

// IDs names the keys, the sealing one first. They are no secrets.
func (k Keyring) IDs() []string {
	ids := make([]string, 0, len(k.all()))
	for _, key := range k.all() {
		ids = append(ids, key.id)
	}
	return ids
}

// String shows the keys' ids.
func (k Keyring) String() string { return "keys " + strings.Join(k.IDs(), ",") }

// Format prints String for every verb.
func (k Keyring) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.String())) }

// MarshalJSON gives String as a JSON string.
func (k Keyring) MarshalJSON() ([]byte, error) { return json.Marshal(k.String()) }

// seal gives KEYID.BASE64; it opens only with the same bound text.
func (k Keyring) seal(plain []byte, bound string) (string, error) {
	if k.Empty() {
		return "", ErrNoKey
	}
	first := k.all()[0]
	return first.id + "." + base64.RawStdEncoding.EncodeToString(first.aead.Seal(nil, nil, plain, []byte(bound))), nil //nolint:gosec // the cipher draws its own nonce
}

// errBroken: the key is there, but the sealed text is not what it sealed, or
// was sealed for another portal.
var errBroken = errors.New("sealed text was changed, or belongs to another portal")

// missingKey is the id of a key that is not in the ring.
type missingKey string

func (m missingKey) Error() string { return "key " + string(m) + " is missing" }

// open undoes seal. Its errors are ErrNoKey, missingKey and errBroken.
func (k Keyring) open(sealed, bound string) ([]byte, error) {
	if k.Empty() {
		return nil, ErrNoKey
	}
	id, text, _ := strings.Cut(sealed, ".")
	for _, key := range k.all() {
		if key.id != id {
			continue
		}
		raw, err := base64.RawStdEncoding.DecodeString(text)
		if err != nil {
			return nil, errBroken
		}
		plain, err := key.aead.Open(nil, nil, raw, []byte(bound))
		if err != nil {
			return nil, errBroken
		}
		return plain, nil
	}
	if _, err := hex.DecodeString(id); err != nil || len(id) != 8 {
		return nil, errBroken
	}
	return nil, missingKey(id)
}
