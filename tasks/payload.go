// The task as it lies in the queue.

package tasks

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"botfleet/tasks/runs"
)

// TypeName is the asynq task type of a registration.
const TypeName = "imbot:register"

// payloadVersion grows when an older worker could misread a payload.
const payloadVersion = 1

// maxPayload bounds what is decoded: a payload is a few hundred bytes.
const maxPayload = 64 << 10

// Payload refers to a row of a run. It holds no secret, and nothing that
// decides what is registered but the reference: Portal, Code and Name are for
// the people who read the dashboard.
type Payload struct {
	Version  int    `json:"v"`
	Run      string `json:"run"`
	Row      int    `json:"row"`
	Gen      int    `json:"gen,omitempty"`
	PortalID string `json:"pid"`
	Portal   string `json:"portal"`
	Code     string `json:"code"`
	Name     string `json:"name,omitempty"`
}

// Encode returns the payload as it is queued.
func (p Payload) Encode() ([]byte, error) {
	p.Version = payloadVersion
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode payload: %w", err)
	}
	return b, nil
}

// DecodePayload reads a queued payload. Its errors say what is wrong with it,
// in words fit for the dashboard.
func DecodePayload(b []byte) (Payload, error) {
	var p Payload
	if len(b) > maxPayload {
		return p, fmt.Errorf("the payload has %d bytes, more than %d", len(b), maxPayload)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	err := d.Decode(&p)
	if err != nil || p.Version != payloadVersion || len(bytes.TrimSpace(b[d.InputOffset():])) > 0 {
		return Payload{}, unreadable(b, err)
	}
	if p.Row < 1 || p.Gen < 0 || p.PortalID == "" {
		return p, errors.New("the payload names no row of a run")
	}
	// The run becomes part of keys.
	if err := runs.CheckID(p.Run); err != nil {
		return Payload{}, errors.New(cut("the payload names no run: "+err.Error(), maxReason))
	}
	return p, nil
}

// maxReason bounds what is said of a payload, in characters: it may quote it.
const maxReason = 200

// unreadable says what is wrong with a payload that is not this version's. A
// version that is not known explains everything else.
func unreadable(b []byte, strict error) error {
	var version struct {
		V *int `json:"v"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return errors.New(cut("the payload is not readable: "+err.Error(), maxReason))
	}
	if version.V == nil {
		return errors.New("the payload has no version")
	}
	if *version.V != payloadVersion {
		return fmt.Errorf("the payload has version %d, and this worker knows version %d", *version.V, payloadVersion)
	}
	return errors.New(cut("the payload is not readable: "+strict.Error(), maxReason))
}

// TaskID is the id under which a bot is queued: the same for the same CODE of
// the same application on the same portal, whatever the portal is called
// today. CODEs that differ only in case are one on a portal. The ids of one
// portal begin alike, so that its tasks can be found in a queue.
func TaskID(portalID, application, code string) string {
	h := sha256.New()
	for _, s := range [...]string{portalID, application, strings.ToLower(code)} {
		_, _ = fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return taskIDPrefix(portalID) + hex.EncodeToString(h.Sum(nil)[:14])
}

// taskIDPrefix is what the ids of a portal's tasks begin with. It is made of a
// hash, as a portal's id may hold anything where a service keeps its own portals.
func taskIDPrefix(portalID string) string {
	h := sha256.Sum256([]byte(portalID))
	return hex.EncodeToString(h[:5]) + "-"
}
