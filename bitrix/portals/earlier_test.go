package portals_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
)

// Tokens that newer ones have replaced are dead: an old file does not bring them
// back. A webhook is not dead, and comes back.
func TestAnOlderFileDoesNotBringDeadTokensBack(t *testing.T) {
	onAll(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		a, b := oauth(t, "acme.bitrix24.ru", "m1", "t1", "r1"), oauth(t, "acme.bitrix24.ru", "m1", "t2", "r2")
		mustImport(t, r, portals.Imported{Added: 1}, a)
		mustImport(t, r, portals.Imported{Updated: 1}, b)
		mustImport(t, r, portals.Imported{Unchanged: 1}, a)
		if p := mustFind(t, r, "m1"); p.Refresh.Reveal() != "r2" || p.Generation != 2 {
			t.Errorf("%+v", p)
		}
		a.Limits.Burst = 7 // what else an old file says holds
		mustImport(t, r, portals.Imported{Updated: 1}, a)
		if p := mustFind(t, r, "m1"); p.Refresh.Reveal() != "r2" || p.Limits.Burst != 7 {
			t.Errorf("%+v", p)
		}
		one, two := webhook(t, "hook.bitrix24.ru", "aaaaaaaaaaaaaaaa"), webhook(t, "hook.bitrix24.ru", "bbbbbbbbbbbbbbbb")
		mustImport(t, r, portals.Imported{Added: 1}, one)
		mustImport(t, r, portals.Imported{Updated: 1}, two)
		mustImport(t, r, portals.Imported{Updated: 1}, one)
		if p := mustFind(t, r, "hook.bitrix24.ru"); p.Access.Fingerprint() != one.Access.Fingerprint() {
			t.Error("the first webhook did not come back")
		}
	})
}
