// One test on both kinds of Redis.

package redistest

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"botfleet/cmd/internal/embedded"
	"botfleet/cmd/internal/redisconn"
)

// Both runs a subtest on a real server, and another on the embedded one.
func Both(t *testing.T, f func(t *testing.T, client redis.UniversalClient, url string)) {
	t.Helper()
	t.Run("redis-server", func(t *testing.T) {
		s := Start(t)
		f(t, Client(t, s.URL), s.URL)
	})
	t.Run("embedded", func(t *testing.T) {
		s, err := embedded.Start("")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		f(t, Client(t, s.URL()), s.URL())
	})
}

// Client opens a client for a test, as the programs open theirs.
func Client(tb testing.TB, url string) redis.UniversalClient {
	tb.Helper()
	c, err := redisconn.Parse(url)
	if err != nil {
		tb.Fatal(err)
	}
	client := c.Client(redisconn.Store)
	tb.Cleanup(func() { _ = client.Close() })
	return client
}
