// Imports under a key that is not the fleet's.

package portals

import (
	"context"
	"errors"
	"fmt"
)

// closedSample is at how many stored portals an import of new ones looks first, to
// see whether its keys are those of the others.
const closedSample = 100

// ClosedError is returned by [Registry.Import] when the credentials that it finds
// stored do not open under the keys at hand: it would seal portals so that the
// holders of the right keys open them no more.
type ClosedError struct {
	// Portals is how many of the portals to be imported are stored and do not
	// open. It is 0 when none of them is stored, and none of the others opens.
	Portals int
	Example string // the host of one that does not open
}

func (e *ClosedError) Error() string {
	which := "other portals"
	if e.Portals > 0 {
		which = fmt.Sprintf("%d of these portals", e.Portals)
	}
	return fmt.Sprintf("the stored credentials of %s do not open under this SECRETS_KEY (for example %s): is it the workers' key? If that key is lost: enqueue portals import --lost-key", which, e.Example)
}

// Is makes errors.Is(err, ErrSealed) true.
func (e *ClosedError) Is(target error) bool { return target == ErrSealed }

// closed is a [*ClosedError] when the plans are under keys that are not those of
// what is stored: of any of the planned portals, or of all others if none of the
// planned is stored.
func (r *Registry) closed(ctx context.Context, plans []plan) error {
	known := false
	e := &ClosedError{}
	for i := range plans {
		p := &plans[i]
		if p.wasRaw == "" {
			continue
		}
		if known = true; p.was.opens(r.keys, p.id) {
			continue
		}
		if e.Portals++; e.Example == "" {
			e.Example = p.was.Name
		}
	}
	if e.Portals > 0 {
		return e
	}
	if known || len(plans) == 0 {
		return nil
	}
	opening := *r
	opening.open = true // also for those who read without secrets
	o, err := opening.Opens(ctx, nil, closedSample)
	if err != nil || !o.None() {
		return err
	}
	// The sample may have missed the few that open, as after a lost key.
	if id, err := opening.FindOpen(ctx); err != nil || id != "" {
		return err
	}
	if sealed, ok := errors.AsType[*SealedError](o.Example); ok {
		e.Example = sealed.Portal
		return e
	}
	return nil
}
