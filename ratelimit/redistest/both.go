// One test on both kinds of Redis.

package redistest

import (
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// Both runs a subtest on a real server, and another on an in-memory one. Keys
// of the latter do not expire.
func Both(t *testing.T, f func(t *testing.T, client redis.UniversalClient, url string)) {
	t.Helper()
	t.Run("redis-server", func(t *testing.T) {
		s := Start(t)
		f(t, Client(t, s.URL), s.URL)
	})
	t.Run("in memory", func(t *testing.T) {
		url := "redis://" + miniredis.RunT(t).Addr() + "/0"
		f(t, Client(t, url), url)
	})
}

// Client opens a client for a test, which closes it.
func Client(tb testing.TB, url string) redis.UniversalClient {
	tb.Helper()
	o, err := redis.ParseURL(url)
	if err != nil {
		tb.Fatal(err)
	}
	o.ContextTimeoutEnabled = true
	client := redis.NewClient(o)
	tb.Cleanup(func() { _ = client.Close() })
	return client
}
