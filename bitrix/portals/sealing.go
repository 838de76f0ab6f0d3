// Sealing other secrets than stored portals, under the same keys.

package portals

import (
	"errors"
	"fmt"
)

// ErrNotOpened is what errors.Is finds in [Keyring.Open]'s error for a text that
// no key will ever open: it was changed, or was sealed for something else.
var ErrNotOpened = errors.New("the sealed text was changed, or was sealed for something else")

// Seal encrypts plain under the first key. The result is text, and opens only
// with the same bound text, which is not in it and need not be secret: say there
// what is sealed and for whom. Without a key it is [ErrNoKey].
func (k Keyring) Seal(plain []byte, bound string) (string, error) { return k.seal(plain, bound) }

// Open undoes [Keyring.Seal], under any of the keys. Its errors hold nothing of
// the text: [ErrNoKey]; [ErrNotOpened]; any other names a key that is missing,
// and with which it would open.
func (k Keyring) Open(sealed, bound string) ([]byte, error) {
	plain, err := k.open(sealed, bound)
	switch missing, isMissing := errors.AsType[missingKey](err); {
	case errors.Is(err, errBroken):
		return nil, ErrNotOpened
	case isMissing:
		return nil, fmt.Errorf("it is sealed under key %s, which SECRETS_KEY does not hold", string(missing))
	}
	return plain, err
}
