// An event as it lies in the queue: sealed, under an id of its own.

package onboard

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
)

// Types of the tasks that events are kept as.
const (
	TypeInstall   = "portal:install"
	TypeUninstall = "portal:uninstall"
)

// taskType is the task type of a known event.
func (e *event) taskType() string {
	if e.name == eventUninstall {
		return TypeUninstall
	}
	return TypeInstall
}

// id names the event: a form that is sent again has the same one. The time that
// the portal gives counts for uninstalls only. Of two installs with the same
// tokens one is a repeat; but an application_token may come back with a later
// install, whose uninstall is another event than the first one's.
func (e *event) id() string {
	at := ""
	if e.name == eventUninstall {
		at = e.at
	}
	h := sha256.New()
	for _, s := range [...]string{e.name, e.domain, e.endpoint, e.member, e.app.Reveal(), e.access.Reveal(), e.refresh.Reveal(), at} {
		_, _ = fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// payloadVersion grows when an older worker could misread a payload.
const payloadVersion = 1

// maxPayload bounds what is decoded: a payload is at most some 6 KB.
const maxPayload = 32 << 10

// payload is an event in the queue. What is open is for the people who read the
// dashboard; the seal is bound to it.
type payload struct {
	Version int       `json:"v"`
	Event   string    `json:"event"`
	Domain  string    `json:"domain"`
	At      time.Time `json:"at"` // when it was kept
	Sealed  string    `json:"sealed"`
}

// sealedEvent is what is sealed.
type sealedEvent struct {
	Endpoint string `json:"endpoint,omitempty"`
	Member   string `json:"member"`
	App      string `json:"app"`
	Access   string `json:"access,omitempty"`
	Refresh  string `json:"refresh,omitempty"`
}

func (p *payload) bound() string {
	return "botfleet event\x00" + p.Event + "\x00" + p.Domain + "\x00" + p.At.UTC().Format(time.RFC3339Nano)
}

// seal makes the payload of an event that is kept now.
func (e *event) seal(keys portals.Keyring, now time.Time) ([]byte, error) {
	plain, err := json.Marshal(sealedEvent{
		Endpoint: e.endpoint, Member: e.member, App: e.app.Reveal(), Access: e.access.Reveal(), Refresh: e.refresh.Reveal(),
	})
	if err != nil {
		return nil, fmt.Errorf("seal an event: %w", err)
	}
	p := payload{Version: payloadVersion, Event: e.name, Domain: e.domain, At: now.UTC().Truncate(time.Millisecond)}
	if p.Sealed, err = keys.Seal(plain, p.bound()); err != nil {
		return nil, fmt.Errorf("seal an event: %w", err)
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("seal an event: %w", err)
	}
	return raw, nil
}

// errUnreadable is a payload that nobody will ever be able to read.
var errUnreadable = errors.New("the task holds no event that this worker can read: another program or version has queued it, or it was changed")

// decodePayload reads what is open of a queued event; errUnreadable when it is none.
func decodePayload(raw []byte) (payload, error) {
	var p payload
	if len(raw) > maxPayload {
		return payload{}, errUnreadable
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	err := d.Decode(&p)
	if err != nil || p.Version != payloadVersion || len(bytes.TrimSpace(raw[d.InputOffset():])) > 0 {
		return payload{}, errUnreadable
	}
	e := event{name: p.Event}
	if !e.known() || p.Domain == "" || p.At.IsZero() || p.Sealed == "" {
		return payload{}, errUnreadable
	}
	return p, nil
}

// open gets the event out of its payload. The error is errUnreadable, or says
// which key is missing.
func (p *payload) open(keys portals.Keyring) (event, error) {
	plain, err := keys.Open(p.Sealed, p.bound())
	if errors.Is(err, portals.ErrNotOpened) {
		return event{}, errUnreadable
	}
	if err != nil {
		return event{}, fmt.Errorf("open a kept event: %w", err)
	}
	var s sealedEvent
	if json.Unmarshal(plain, &s) != nil {
		return event{}, errUnreadable
	}
	return event{
		name: p.Event, domain: p.Domain, endpoint: s.Endpoint, member: s.Member,
		app: bitrix.NewSecret(s.App), access: bitrix.NewSecret(s.Access), refresh: bitrix.NewSecret(s.Refresh),
	}, nil
}
