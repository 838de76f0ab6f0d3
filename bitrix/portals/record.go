// A portal as it is kept in Redis: readable, but for its sealed credentials.

package portals

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"botfleet/bitrix"
	"botfleet/ratelimit"
)

// record is the JSON of a stored portal. Its id is the key it is kept under.
type record struct {
	V        int     `json:"v"` // version of this form
	Name     string  `json:"name"`
	Queue    string  `json:"queue"`
	Kind     Kind    `json:"kind"`
	ClientID string  `json:"client_id,omitempty"`
	MemberID string  `json:"member_id,omitempty"`
	Plan     string  `json:"plan"`
	Rate     float64 `json:"rate"`
	Burst    int     `json:"burst"`
	Headroom float64 `json:"headroom,omitempty"`
	// Milliseconds.
	Operating       int64 `json:"operating_ms"`
	OperatingWindow int64 `json:"operating_window_ms"`
	ServerTimeout   int64 `json:"server_timeout_ms"`
	// Credential is the fingerprint of the present credentials; Source of the
	// ones last imported, which differ once tokens were refreshed: importing
	// an unchanged file again must not bring dead tokens back.
	Credential string `json:"credential"`
	Source     string `json:"source"`
	Sealed     string `json:"sealed"`
}

const recordVersion = 1

// sealedAccess is what is sealed.
type sealedAccess struct {
	Webhook  string `json:"webhook,omitempty"`
	Endpoint string `json:"endpoint,omitempty"`
	Token    string `json:"token,omitempty"`
	Refresh  string `json:"refresh,omitempty"`
}

// bound is the additional data of a seal: a record opens only under the id and
// name that it was sealed for.
func bound(id, name string) string { return "botfleet portal\x00" + id + "\x00" + name }

// newRecord is an entry's record without credentials.
func newRecord(e *Entry, queue string) record {
	kind := OAuth
	if e.Access.Webhook() {
		kind = Webhook
	}
	return record{
		V: recordVersion, Name: e.Access.Host(), Queue: queue, Kind: kind,
		ClientID: e.ClientID, MemberID: normalName(e.MemberID), Plan: e.Plan,
		Rate: e.Limits.Rate, Burst: e.Limits.Burst, Headroom: e.Limits.Headroom,
		Operating:       e.Limits.Operating.Milliseconds(),
		OperatingWindow: e.Limits.OperatingWindow.Milliseconds(),
		ServerTimeout:   e.ServerTimeout.Milliseconds(),
	}
}

// source is the fingerprint of an entry's credentials, refresh token included.
func source(e *Entry) string {
	sum := sha256.Sum256([]byte(e.Access.Fingerprint() + "\x00" + e.RefreshToken.Reveal()))
	return hex.EncodeToString(sum[:8])
}

// seal puts an entry's credentials into the record.
func (rec *record) seal(keys Keyring, id string, e *Entry) error {
	var s sealedAccess
	if s.Webhook, s.Token = e.Access.Reveal(); s.Webhook == "" {
		s.Endpoint, s.Refresh = e.Access.Endpoint(), e.RefreshToken.Reveal()
	}
	plain, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("seal the credentials of portal %s: %w", rec.Name, err)
	}
	if rec.Sealed, err = keys.seal(plain, bound(id, rec.Name)); err != nil {
		return fmt.Errorf("seal the credentials of portal %s: %w", rec.Name, err)
	}
	rec.Credential, rec.Source = e.Access.Fingerprint(), source(e)
	return nil
}

// open gets the credentials out of the record.
func (rec *record) open(keys Keyring, id string) (bitrix.Access, error) {
	plain, err := keys.open(rec.Sealed, bound(id, rec.Name))
	if errors.Is(err, ErrNoKey) {
		return bitrix.Access{}, fmt.Errorf("open the credentials of portal %s: %w", rec.Name, err)
	}
	if err != nil {
		var missing missingKey
		errors.As(err, &missing)
		return bitrix.Access{}, &SealedError{Portal: rec.Name, KeyID: string(missing)}
	}
	var s sealedAccess
	if json.Unmarshal(plain, &s) != nil {
		return bitrix.Access{}, &SealedError{Portal: rec.Name}
	}
	var a bitrix.Access
	if s.Webhook != "" {
		a, err = bitrix.ParseWebhook(s.Webhook)
	} else {
		a, err = bitrix.NewOAuth(s.Endpoint, s.Token)
	}
	if err != nil || a.Host() != rec.Name {
		return bitrix.Access{}, &SealedError{Portal: rec.Name}
	}
	return a, nil
}

// ErrSealed is what a [SealedError] is.
var ErrSealed = errors.New("portal's credentials do not open")

// SealedError is returned for a stored portal whose credentials do not open.
type SealedError struct {
	Portal string
	// KeyID names the missing key. It is empty when the key is there, but the
	// record was changed or belongs to another portal.
	KeyID string
}

func (e *SealedError) Error() string {
	if e.KeyID == "" {
		return fmt.Sprintf("credentials of portal %s do not open: the record was changed, or moved from another portal; import the portal again", e.Portal)
	}
	return fmt.Sprintf("credentials of portal %s do not open: they are sealed under key %s, which SECRETS_KEY does not hold; add that key, or import the portal again", e.Portal, e.KeyID)
}

// Is makes errors.Is(err, ErrSealed) true.
func (e *SealedError) Is(target error) bool { return target == ErrSealed }

// decodeRecord reads a stored record.
func decodeRecord(id, raw string) (record, error) {
	var rec record
	if err := json.Unmarshal([]byte(raw), &rec); err != nil || rec.V != recordVersion {
		return record{}, fmt.Errorf("stored portal %s is not readable: it was written by another version, or changed", id)
	}
	return rec, nil
}

// encode is the stored form.
func (rec *record) encode() (string, error) {
	raw, err := json.Marshal(rec)
	if err != nil {
		return "", fmt.Errorf("store portal %s: %w", rec.Name, err)
	}
	return string(raw), nil
}

// portal is the record as its readers see it, without credentials.
func (rec *record) portal(id string) Portal {
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	return Portal{
		ID: id, Name: rec.Name, Queue: rec.Queue, Kind: rec.Kind,
		ClientID: rec.ClientID, MemberID: rec.MemberID, Plan: rec.Plan,
		Limits: ratelimit.Limits{Rate: rec.Rate, Burst: rec.Burst, Headroom: rec.Headroom,
			Operating: ms(rec.Operating), OperatingWindow: ms(rec.OperatingWindow)},
		ServerTimeout: ms(rec.ServerTimeout),
		Credential:    rec.Credential,
	}
}
