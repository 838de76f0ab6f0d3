// Which handler URLs an application was last registered with on a portal: one
// application has one set of them, so that others redirect earlier bots' events.

package portals

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// handlersFor is how long a portal's handlers are remembered after they were
// last noted.
const handlersFor = 400 * 24 * time.Hour

// HandlerNote says that an application's bots on a portal were registered with
// the handler URLs of a digest.
type HandlerNote struct {
	PortalID string
	App      string // [Portal.Application]
	Digest   string // of the set of URLs
}

// NoteHandlers remembers one note, in place of an earlier one for the same
// portal and application.
func (r *Registry) NoteHandlers(ctx context.Context, portalID, app, digest string) error {
	return r.NoteAllHandlers(ctx, []HandlerNote{{portalID, app, digest}})
}

// NoteAllHandlers remembers many notes.
func (r *Registry) NoteAllHandlers(ctx context.Context, notes []HandlerNote) error {
	for part := range slices.Chunk(notes, readChunk) {
		_, err := r.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, n := range part {
				p.HSet(ctx, keyHandler+n.PortalID, n.App, n.Digest)
				p.Expire(ctx, keyHandler+n.PortalID, handlersFor)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("note handler URLs: %w", err)
		}
	}
	return nil
}

// Handlers returns a portal's digests by application.
func (r *Registry) Handlers(ctx context.Context, portalID string) (map[string]string, error) {
	all, err := r.AllHandlers(ctx, []string{portalID})
	return all[portalID], err
}

// AllHandlers returns, by portal id, the digests by application of the portals
// that have any.
func (r *Registry) AllHandlers(ctx context.Context, portalIDs []string) (map[string]map[string]string, error) {
	all := make(map[string]map[string]string)
	for part := range slices.Chunk(portalIDs, readChunk) {
		answers := make([]*redis.MapStringStringCmd, len(part))
		_, err := r.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, id := range part {
				answers[i] = p.HGetAll(ctx, keyHandler+id)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read handler URLs: %w", err)
		}
		for i, id := range part {
			if m := answers[i].Val(); len(m) > 0 {
				all[id] = m
			}
		}
	}
	return all, nil
}
