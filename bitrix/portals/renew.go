// New tokens and new hosts of stored portals, by compare-and-set.

package portals

import (
	"context"
	_ "embed" // the script
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
)

// ErrChanged is returned when a portal's credentials are others by now than
// those that the caller had.
var ErrChanged = errors.New("the portal's credentials were changed meanwhile")

// ConflictError is returned when a host or member_id that was to be stored
// for a portal belongs to another one. Nothing was stored.
type ConflictError struct {
	Portal string // the host of the portal that was to be changed
	Field  string // host or member_id
	Other  string // the host of the portal that it belongs to; empty when none of that member_id is stored
}

func (e *ConflictError) Error() string {
	if e.Other == "" {
		return fmt.Sprintf("portal %s is known with another member_id: another company's portal may have taken over the address", e.Portal)
	}
	return fmt.Sprintf("the new %s of portal %s belongs to the stored portal %s: remove one of the two", e.Field, e.Portal, e.Other)
}

//go:embed renewing.lua
var renewingSource string

// A Script is a source text and its hash; it holds no state.
var renewingScript = redis.NewScript(renewingSource)

// Renewing notes, before the authorization server is asked, that the pair of
// tokens of a generation is about to be traded. It returns how many earlier
// trades of that pair ended unknown. [ErrChanged] when the generation is not
// the present one, [*UnknownError] when there is no such portal.
func (r *Registry) Renewing(ctx context.Context, id string, generation int64) (unknown int, err error) {
	n, err := r.noteRenewal(ctx, id, generation, 1)
	switch {
	case err != nil:
		return 0, err
	case n == -1:
		return 0, &UnknownError{Name: id}
	case n == -2:
		return 0, ErrChanged
	}
	return n, nil
}

// NotRenewed takes a note of [Registry.Renewing] back: the server certainly
// did not trade the pair. It does nothing when the pair is another by now.
func (r *Registry) NotRenewed(ctx context.Context, id string, generation int64) error {
	_, err := r.noteRenewal(ctx, id, generation, -1)
	return err
}

func (r *Registry) noteRenewal(ctx context.Context, id string, generation int64, add int) (int, error) {
	n, err := renewingScript.Run(ctx, r.redis, []string{keyRecords, keyRenewals}, id, generation, add, newID()).Int()
	if err != nil {
		return 0, fmt.Errorf("note a refresh of portal %s: %w", id, err)
	}
	return n, nil
}

// decodeNote reads "generation count mark", which is of one generation only.
func decodeNote(s string, generation int64) int {
	of, count, _ := strings.Cut(s, " ")
	if of != strconv.FormatInt(generation, 10) {
		return 0
	}
	count, _, _ = strings.Cut(count, " ")
	n, _ := strconv.Atoi(count) // the script writes digits only
	return n
}

// Renew stores a new pair of tokens, and access's host, which may be new, if
// generation is still the present one, and returns the portal as it is now. It
// ends a hold, unless a person made it. The member_id is learned when none was
// known; an empty one says nothing. The same pair a second time is no error.
// Errors: [ErrChanged]; [*ConflictError]; [*UnknownError].
func (r *Registry) Renew(ctx context.Context, id string, generation int64, access bitrix.Access, refresh bitrix.Secret, memberID string) (Portal, error) {
	member := normalName(memberID)
	if access.IsZero() || access.Webhook() {
		return Portal{}, errors.New("renew portal " + id + ": an access token is needed")
	}
	if text := textProblem(member); text != "" {
		return Portal{}, errors.New("renew portal " + id + ": member_id " + text)
	}
	_, p, err := r.edit(ctx, func() (plan, error) {
		p, err := r.relocate(ctx, id, access.Host(), member)
		switch {
		case err != nil:
			return p, err
		case p.was.generation() == generation+1 && p.was.Credential == access.Fingerprint():
			return p, p.encode() // stored before, but its caller did not hear so
		case p.was.generation() != generation:
			return p, ErrChanged
		}
		if member != "" {
			p.is.MemberID = member
		}
		p.is.Generation = p.next()
		p.ends, p.tell = endOwn, tellPair
		if err := p.is.seal(r.keys, id, access, refresh); err != nil {
			return p, err
		}
		return p, p.encode()
	})
	return p, err
}

// Move gives a portal a new host, with the same credential, if generation is
// still the present one, and returns the portal as it is now. The generation
// stays: a refresh under way must still be stored. A portal that has the host
// already is no error. Errors as of [Registry.Renew].
func (r *Registry) Move(ctx context.Context, id string, generation int64, access bitrix.Access) (Portal, error) {
	if access.IsZero() {
		return Portal{}, errors.New("move portal " + id + ": credentials are needed")
	}
	_, p, err := r.edit(ctx, func() (plan, error) {
		p, err := r.relocate(ctx, id, access.Host(), "")
		switch {
		case err != nil:
			return p, err
		case p.was.generation() != generation:
			return p, ErrChanged
		case p.was.Credential == access.Fingerprint():
			return p, p.encode()
		}
		old, refresh, err := p.was.open(r.keys, id)
		if err != nil {
			return p, err
		}
		if there, err := old.At(access.Scheme(), access.Host()); err != nil || there.Fingerprint() != access.Fingerprint() {
			return p, ErrChanged
		}
		if err := p.is.seal(r.keys, id, access, refresh); err != nil {
			return p, err
		}
		return p, p.encode()
	})
	return p, err
}

// relocate begins a plan for a portal at a host, which may be new to it.
func (r *Registry) relocate(ctx context.Context, id, host, member string) (plan, error) {
	if text := nameProblem(host); text != "" {
		return plan{}, fmt.Errorf("portal %s: its new host %s", id, text)
	}
	byHost, byMember, err := r.holders(ctx, []string{host}, []string{member})
	if err != nil {
		return plan{}, err
	}
	own, err := r.holding(ctx, []string{id})
	if err != nil {
		return plan{}, err
	}
	p := planFor(own[0])
	if p.wasRaw == "" {
		return p, &UnknownError{Name: id}
	}
	if known := p.was.MemberID; member != "" && known != "" && known != member {
		return p, &ConflictError{Portal: p.was.Name, Field: "member_id", Other: byMember[0].rec.Name}
	}
	if other := byMember[0]; other.id != "" && other.id != id {
		return p, &ConflictError{Portal: p.was.Name, Field: "member_id", Other: other.rec.Name}
	}
	if other := byHost[0]; other.id != "" && other.id != id {
		if other.rec.Gone == nil && !other.formerly(host) {
			return p, &ConflictError{Portal: p.was.Name, Field: "host", Other: other.rec.Name}
		}
		p = p.over(other)
	}
	if host != p.was.Name {
		p.is.rename(host)
	}
	return p, nil
}
