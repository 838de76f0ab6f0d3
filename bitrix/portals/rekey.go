// Sealing every stored portal under the first key.

package portals

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// RekeyError is returned by [Registry.Rekey] for portals that do not open.
type RekeyError struct {
	Failed []error // one for each, with its portal and the reason
}

// namedFailures is how many portals a RekeyError's text names.
const namedFailures = 10

func (e *RekeyError) Error() string {
	named := e.Failed[:min(len(e.Failed), namedFailures)]
	s := fmt.Sprintf("portals that could not be sealed anew: %d\n%v", len(e.Failed), errors.Join(named...))
	if more := len(e.Failed) - len(named); more > 0 {
		s += fmt.Sprintf("\nand %d more", more)
	}
	return s
}

// Unwrap returns the single errors: [*SealedError], most of them.
func (e *RekeyError) Unwrap() []error { return e.Failed }

// Rekey seals the credentials of all portals under the first key. It goes page
// by page beside live workers, and may be ended and begun again at any time:
// what is under the first key already is left alone, and a change made by
// somebody else is kept. It returns how many were sealed anew, and how many
// there are. When some could not be, it does the rest and returns a
// [*RekeyError]. Once it has done all, and no process is left whose SECRETS_KEY
// begins with another key, the other keys are needed no more.
func (r *Registry) Rekey(ctx context.Context) (resealed, total int, err error) {
	if r.keys.Empty() {
		return 0, 0, ErrNoKey
	}
	var failed []error
	err = r.pages(ctx, func(ids []string) error {
		total += len(ids)
		n, broken, err := r.rekey(ctx, ids)
		resealed += n
		failed = append(failed, broken...)
		return err
	})
	if err == nil && len(failed) > 0 {
		err = &RekeyError{failed}
	}
	return resealed, total, err
}

// rekey seals one page of portals anew, again and again those that somebody
// else changed meanwhile.
func (r *Registry) rekey(ctx context.Context, ids []string) (resealed int, failed []error, err error) {
	for range importRounds {
		plans, broken, err := r.planRekey(ctx, ids)
		if err != nil {
			return resealed, failed, err
		}
		failed = append(failed, broken...)
		ids = nil
		for part := range slices.Chunk(plans, writeChunk) {
			done, err := r.write(ctx, part)
			if err != nil {
				return resealed, failed, err
			}
			for i, ok := range done {
				if ok {
					resealed++
				} else {
					ids = append(ids, part[i].id)
				}
			}
		}
		if len(ids) == 0 {
			return resealed, failed, nil
		}
	}
	return resealed, failed, errors.New("seal portals anew: others keep changing them; try again when those have ended")
}

// planRekey plans for those portals that are not under the first key.
func (r *Registry) planRekey(ctx context.Context, ids []string) (plans []plan, broken []error, err error) {
	all, err := r.read(ctx, ids)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range all {
		if s.raw == "" {
			continue
		}
		rec, err := decodeRecord(s.id, s.raw)
		if err != nil {
			broken = append(broken, err)
			continue
		}
		access, refresh, err := rec.open(r.keys, s.id)
		if err != nil {
			broken = append(broken, err)
			continue
		}
		if strings.HasPrefix(rec.Sealed, r.keys.IDs()[0]+".") {
			continue
		}
		p := planFor(holder{s, rec})
		p.tell = tellNobody // what is sealed stays the same
		if err := p.is.seal(r.keys, s.id, access, refresh); err != nil {
			return nil, nil, err
		}
		if err := p.encode(); err != nil {
			return nil, nil, err
		}
		plans = append(plans, p)
	}
	return plans, broken, nil
}
