// The portals that a command line names.

package command

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"botfleet/bitrix/portals"
)

// shownUnknown is how many unknown portals an error names.
const shownUnknown = 20

// findPortals returns the portals with some hosts, member_ids or ids, each once,
// in the order in which they were given. All that are not known are in the error.
func findPortals(ctx context.Context, r *portals.Registry, names []string) ([]portals.Portal, error) {
	for _, name := range names {
		if strings.ContainsAny(name, "/@?") {
			return nil, errNotAName()
		}
	}
	known, err := r.FindMany(ctx, names)
	if err != nil {
		return nil, err
	}
	var found []portals.Portal
	var unknown []error
	for _, name := range names {
		p, ok := known[name]
		if !ok {
			p, err = findByID(ctx, r, name)
		}
		switch {
		case err == nil:
			if !slices.ContainsFunc(found, func(q portals.Portal) bool { return q.ID == p.ID }) {
				found = append(found, p)
			}
		case errors.Is(err, portals.ErrUnknown):
			unknown = append(unknown, err)
			err = nil
		default:
			return nil, err
		}
		if len(unknown) == shownUnknown {
			break
		}
	}
	return found, errors.Join(unknown...)
}

// errNotAName is for what cannot name a portal. It may be a credential, so it
// is not repeated.
func errNotAName() error {
	return &usageError{"PORTAL is a host (acme.bitrix24.ru), a member_id or an id, and not a URL"}
}

// findByID finds a portal by its permanent id; one that is not known is an
// [*portals.UnknownError] that names the nearest host.
func findByID(ctx context.Context, r *portals.Registry, name string) (portals.Portal, error) {
	id := strings.ToLower(strings.TrimSpace(name))
	if raw, err := hex.DecodeString(id); err == nil && len(raw) == 8 {
		p, err := r.Get(ctx, id)
		if err == nil || !errors.Is(err, portals.ErrUnknown) {
			return p, err
		}
	}
	return r.Find(ctx, name)
}
