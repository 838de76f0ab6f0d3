// Passes: what keeps others' guesses from shutting out who has signed in.

package guard

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"time"

	"botfleet/bitrix"
)

// passes gives browsers a cookie once they have sent the right password. It opens
// nothing, as the password is asked for all the same: it only lets the wrong guesses
// of one browser be counted apart from those of its address. Behind a proxy everybody
// has one address, and a stranger's guesses would shut out whoever works there.
//
// It does not depend on the password: who goes on with an old one, as a page left
// open does, has only itself shut out.
type passes struct {
	key []byte
	now func() time.Time
}

const (
	passName = "botfleet-pass" //nolint:gosec // a name, no credential
	// passLife is how long a pass lasts: longer than people stay away from a dashboard
	// that they need at night. It is given anew when half of it is over.
	passLife = 30 * 24 * time.Hour

	passID   = 16                     // bytes, random
	passBody = 8 + passID             // when it ends, and its id
	passSize = passBody + sha256.Size // and what vouches for both

	// passUse makes the key another one than the secret has in its other uses.
	passUse = "botfleet guard, browser, v1" //nolint:gosec // a label, no credential
)

// newPasses signs with a key made from a secret; without one passes die with the process.
func newPasses(secret bitrix.Secret, now func() time.Time) passes {
	from := secret.Reveal()
	if from == "" {
		from = rand.Text()
	}
	return passes{key: sign([]byte(from), []byte(passUse)), now: now}
}

func sign(key, text []byte) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write(text) // a hash takes everything
	return h.Sum(nil)
}

// give sends a new pass. SameSite is Lax, as a link in an alert should take it along;
// that other sites change nothing does not rest on it.
func (p passes) give(w http.ResponseWriter, r *http.Request) {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, passSize), uint64(p.now().Add(passLife).Unix())) //nolint:gosec // after 1970
	b = b[:passBody]
	_, _ = rand.Read(b[8:]) // it never fails
	b = append(b, sign(p.key, b)...)
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure where it can be
		Name: passName, Value: base64.RawURLEncoding.EncodeToString(b), Path: "/", MaxAge: int(passLife.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteLaxMode,
		// Who says of himself what is not so changes his own cookie alone.
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	})
}

// of returns the id of a request's pass, empty if it has none that holds, and how
// long it holds yet.
func (p passes) of(r *http.Request) (id string, left time.Duration) {
	for _, c := range r.CookiesNamed(passName) { // others of the host may have set one too
		b, err := base64.RawURLEncoding.DecodeString(c.Value)
		if err != nil || len(b) != passSize || !hmac.Equal(b[passBody:], sign(p.key, b[:passBody])) {
			continue
		}
		ends := time.Unix(int64(binary.BigEndian.Uint64(b)), 0) //nolint:gosec // we wrote it
		if left := ends.Sub(p.now()); left > 0 {
			return string(b[8:passBody]), left
		}
	}
	return "", 0
}
