// A portal as it is kept in Redis: readable, but for its sealed credentials.

package portals

import (
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
	// ones last imported, InstallSource of the ones last brought by an install.
	// They differ once tokens were refreshed: importing an unchanged file, or
	// repeating an install, must not bring dead tokens back.
	Credential    string `json:"credential"`
	Account       string `json:"account,omitempty"`
	Source        string `json:"source"`
	InstallSource string `json:"install_source,omitempty"`
	Sealed        string `json:"sealed"`
	// Records without what follows are of an early version, and still read.
	Origin     string `json:"origin,omitempty"`     // [Portal.Origin]
	Generation int64  `json:"generation,omitempty"` // of the credentials; 0 counts as 1
	// Earlier are the sources of tokens that newer ones have replaced: they are
	// dead, and an old file must not bring them back.
	Earlier []string `json:"earlier,omitempty"`
	// Later are the sources of what came after the present credentials, in that
	// order: these were imported again when those did not open.
	Later []string `json:"later,omitempty"`
	// AppHash is the SHA-256 of the application_token, in hexadecimal.
	AppHash  string      `json:"app_hash,omitempty"`
	Installs int         `json:"installs,omitempty"` // [Installed.Count]
	Gone     *goneRecord `json:"gone,omitempty"`
}

// goneRecord is [Gone], with unix milliseconds.
type goneRecord struct {
	Reason string `json:"reason"`
	Since  int64  `json:"since_ms"`
}

// recordVersion is the version of the form. Fields may be added without a new
// one, as long as records without them are read and readers may ignore them.
const recordVersion = 1

// sealedAccess is what is sealed.
type sealedAccess struct {
	Webhook  string `json:"webhook,omitempty"`
	Endpoint string `json:"endpoint,omitempty"`
	Token    string `json:"token,omitempty"`
	Refresh  string `json:"refresh,omitempty"`
}

// generation is the credentials' generation.
func (rec *record) generation() int64 { return max(rec.Generation, 1) }

// bound is the additional data of a seal: a record opens only under the id and
// names that it was sealed for.
func (rec *record) bound(id string) string {
	b := "botfleet portal\x00" + id + "\x00" + rec.Name
	if rec.Origin != "" {
		b += "\x00" + rec.Origin
	}
	return b
}

// newRecord is an entry's record without credentials.
func newRecord(e *Entry, queue string) record {
	return record{
		V: recordVersion, Name: e.Access.Host(), Queue: queue,
		ClientID: e.ClientID, MemberID: normalName(e.MemberID), Plan: e.Plan,
		Rate: e.Limits.Rate, Burst: e.Limits.Burst, Headroom: e.Limits.Headroom,
		Operating:       e.Limits.Operating.Milliseconds(),
		OperatingWindow: e.Limits.OperatingWindow.Milliseconds(),
		ServerTimeout:   e.ServerTimeout.Milliseconds(),
	}
}

// rename gives the record another host, and remembers the first.
func (rec *record) rename(host string) {
	if rec.Origin == "" {
		rec.Origin = rec.Name
	}
	if rec.Name = host; rec.Origin == host {
		rec.Origin = ""
	}
}

// seal puts credentials into the record, which has its names already.
func (rec *record) seal(keys Keyring, id string, access bitrix.Access, refresh bitrix.Secret) error {
	s := sealedAccess{}
	if s.Webhook, s.Token = access.Reveal(); s.Webhook == "" {
		s.Endpoint, s.Refresh = access.Endpoint(), refresh.Reveal()
	}
	plain, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("seal the credentials of portal %s: %w", rec.Name, err)
	}
	if rec.Sealed, err = keys.seal(plain, rec.bound(id)); err != nil {
		return fmt.Errorf("seal the credentials of portal %s: %w", rec.Name, err)
	}
	rec.Kind = OAuth
	if access.Webhook() {
		rec.Kind = Webhook
	}
	rec.Credential, rec.Account = access.Fingerprint(), access.Account()
	return nil
}

// open gets the credentials out of the record.
func (rec *record) open(keys Keyring, id string) (access bitrix.Access, refresh bitrix.Secret, err error) {
	plain, err := keys.open(rec.Sealed, rec.bound(id))
	if errors.Is(err, ErrNoKey) {
		return access, refresh, fmt.Errorf("open the credentials of portal %s: %w", rec.Name, err)
	}
	if err != nil {
		var missing missingKey
		errors.As(err, &missing)
		return access, refresh, &SealedError{Portal: rec.Name, KeyID: string(missing)}
	}
	var s sealedAccess
	if json.Unmarshal(plain, &s) != nil {
		return access, refresh, &SealedError{Portal: rec.Name}
	}
	if s.Webhook != "" {
		access, err = bitrix.ParseWebhook(s.Webhook)
	} else {
		access, err = bitrix.NewOAuth(s.Endpoint, s.Token)
	}
	if err != nil || access.Host() != rec.Name {
		return bitrix.Access{}, refresh, &SealedError{Portal: rec.Name}
	}
	return access, bitrix.NewSecret(s.Refresh), nil
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
		return fmt.Sprintf("credentials of portal %s do not open: the record was changed, or moved from another portal; import the portal again with --lost-key", e.Portal)
	}
	return fmt.Sprintf("credentials of portal %s do not open: they are sealed under key %s, which SECRETS_KEY does not hold; add that key, or import the portal again with --lost-key", e.Portal, e.KeyID)
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
	p := Portal{
		ID: id, Name: rec.Name, Queue: rec.Queue, Kind: rec.Kind,
		ClientID: rec.ClientID, MemberID: rec.MemberID, Plan: rec.Plan,
		Limits: ratelimit.Limits{Rate: rec.Rate, Burst: rec.Burst, Headroom: rec.Headroom,
			Operating: ms(rec.Operating), OperatingWindow: ms(rec.OperatingWindow)},
		ServerTimeout: ms(rec.ServerTimeout),
		Origin:        rec.Origin,
		Credential:    rec.Credential,
		Account:       rec.Account,
		Generation:    rec.generation(),
		Installed:     rec.AppHash != "",
	}
	if rec.Account == "" && rec.Kind == OAuth {
		p.Account = oauthAccount
	}
	if rec.Gone != nil {
		p.Gone = &Gone{Reason: rec.Gone.Reason, Since: time.UnixMilli(rec.Gone.Since).UTC()}
	}
	return p
}

// oauthAccount is what [bitrix.Access.Account] is for every application.
const oauthAccount = "oauth"
