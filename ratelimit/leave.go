// Leaving the line: rows that will not come.

package ratelimit

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Leave takes rows out of the lines of their portals in a fleet's gate: codes by
// portal. Their places would otherwise stand until they were to ask again, which
// may be hours, and rows that come later would be put behind them.
func Leave(ctx context.Context, client redis.UniversalClient, codes map[string][]string) error {
	if len(codes) == 0 {
		return nil
	}
	_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for portal, own := range codes {
			members := make([]any, len(own))
			for i, code := range own {
				members[i] = strings.ToLower(code)
			}
			keys := keysOf(portal)
			p.ZRem(ctx, keys.line, members...)
			p.ZRem(ctx, keys.asks, members...)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("leave the lines of portals: %w", err)
	}
	return nil
}
