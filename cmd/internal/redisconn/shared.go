// Shared round trips.

package redisconn

import "github.com/redis/go-redis/v9"

// Shared returns a view of a client on which the commands of many goroutines
// travel together, each caller still waiting for its own answer. A round trip
// costs both sides far more than the command in it; a busy worker saves half
// of its Redis traffic's cost.
//
// A connection lost on the way repeats all that was on it, as it repeats a
// single command otherwise. The caller's context ends no command: the client's
// own timeouts do. Closing the client ends the view.
func Shared(c redis.UniversalClient) redis.UniversalClient {
	if p, ok := c.(interface {
		AutoPipeline() (*redis.AutoPipeliner, error)
	}); ok {
		if shared, err := p.AutoPipeline(); err == nil {
			return shared
		}
	}
	return c
}
