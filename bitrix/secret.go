// A string that does not print.

package bitrix

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

// Secret holds one secret text: a refresh token, an application's key. It
// prints, logs and marshals as "[hidden]"; [Secret.Reveal] is the one way out.
// Its zero value holds nothing. Secrets are not compared with ==.
type Secret struct {
	// reveal is a function, because some formatting verbs print what a string
	// or a pointer in a nested field holds.
	reveal func() string
}

// NewSecret hides s.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{func() string { return s }}
}

// Reveal returns the secret, for sealing and signing in only.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// String is "[hidden]", or empty when there is nothing to hide.
func (s Secret) String() string {
	if s.reveal == nil {
		return ""
	}
	return hidden
}

// Format prints String for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalJSON gives String as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// LogValue gives String to log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
