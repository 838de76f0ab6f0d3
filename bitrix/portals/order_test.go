// The order of a portal's tokens, over imports, installs, refreshes and lost keys.

package portals_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"pgregory.net/rapid"

	"botfleet/bitrix/portals"
	"botfleet/ratelimit/redistest"
)

// TestTokensKeepTheirOrder tells stories of one portal. Its pairs stand in the
// order in which they first came, and one of them is stored: only what stands
// behind that one replaces it, and anything where the stored one does not open. An
// install proves that its pair lives, and where that one does not stand behind the
// stored one it becomes the newest.
func TestTokensKeepTheirOrder(t *testing.T) {
	t.Parallel()
	client := redistest.Client(t, "redis://"+miniredis.RunT(t).Addr())
	rapid.Check(t, func(rt *rapid.T) {
		ctx := context.Background()
		if err := client.FlushAll(ctx).Err(); err != nil {
			rt.Fatal(err)
		}
		fresh := func() *portals.Registry {
			return portals.New(client, mustKeys(t, portals.NewKey()), portals.Options{})
		}
		r, opens, refreshed, generation := fresh(), true, 0, int64(0)
		var order []int
		at, stored := -1, "" // the refresh token
		pairs := rapid.IntRange(1, 5)
		rt.Repeat(map[string]func(*rapid.T){
			"import": func(rt *rapid.T) {
				n := pairs.Draw(rt, "pair")
				there := slices.Index(order, n)
				switch {
				case there < 0:
					order = append(order, n)
					at = len(order) - 1
				case opens && there <= at:
					n = 0
				default:
					at = there
				}
				want := portals.Imported{Unchanged: 1}
				switch {
				case n != 0 && generation == 0:
					want = portals.Imported{Added: 1}
				case n != 0:
					want = portals.Imported{Updated: 1}
				}
				pair := n
				if n == 0 {
					pair = order[there]
				} else {
					opens, stored, generation = true, fmt.Sprint("r", n), generation+1
				}
				e := oauth(t, "acme.bitrix24.ru", "m1", fmt.Sprint("t", pair), fmt.Sprint("r", pair))
				e.Plan, e.Limits, e.ServerTimeout = portals.Standard, portals.PlanLimits(portals.Standard), portals.DefaultServerTimeout // an install's
				if got, err := r.ImportLostKey(ctx, []portals.Entry{e}); err != nil || got != want {
					rt.Fatalf("imported %+v, %v, want %+v", got, err, want)
				}
			},
			"install": func(rt *rapid.T) {
				n := pairs.Draw(rt, "pair")
				there := slices.Index(order, n)
				switch {
				case there >= 0 && there <= at && opens:
					n = 0
				case there > at:
					at = there
				default:
					if there >= 0 {
						order = slices.Delete(order, there, there+1)
					}
					order = append(order, n)
					at = len(order) - 1
				}
				pair := n
				if n == 0 {
					pair = order[there]
				} else {
					opens, stored, generation = true, fmt.Sprint("r", n), generation+1
				}
				a := access(rt, creds{"acme.bitrix24.ru", fmt.Sprint("t", pair), "", false})
				in := portals.Install{MemberID: "m1", Access: a, Refresh: portals.NewSecret(fmt.Sprint("r", pair)), AppToken: portals.NewSecret("app")}
				if _, err := r.Install(ctx, in); err != nil {
					rt.Fatal(err)
				}
			},
			"refresh": func(rt *rapid.T) {
				if generation == 0 || !opens {
					return
				}
				refreshed++
				p, err := r.Find(ctx, "m1")
				if err != nil {
					rt.Fatal(err)
				}
				stored = fmt.Sprint("refreshed", refreshed)
				a := access(rt, creds{"acme.bitrix24.ru", fmt.Sprint("access", refreshed), "", false})
				if _, err := r.Renew(ctx, p.ID, generation, a, portals.NewSecret(stored), ""); err != nil {
					rt.Fatal(err)
				}
				generation++
			},
			"lose the key": func(*rapid.T) { r, opens = fresh(), generation == 0 },
			"": func(rt *rapid.T) {
				if generation == 0 || !opens {
					return
				}
				if p, err := r.Find(ctx, "m1"); err != nil || p.Refresh.Reveal() != stored || p.Generation != generation {
					rt.Fatalf("%q of generation %d is stored, %v, want %q of %d; order %v", p.Refresh.Reveal(), p.Generation, err, stored, generation, order)
				}
			},
		})
	})
}
