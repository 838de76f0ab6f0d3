// Repair by import when the key of the stored credentials is lost.

package portals_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
)

// keyless is a portal with one pair of tokens after another, and a registry
// that has not the key they were sealed under.
type keyless struct {
	*portals.Registry

	t     *testing.T
	id    string
	pairs map[string]portals.Entry
}

func loseKey(t *testing.T, client redis.UniversalClient, pairs ...string) keyless {
	t.Helper()
	k := keyless{portals.New(client, mustKeys(t, portals.NewKey()), portals.Options{}), t, "", map[string]portals.Entry{}}
	before := newRegistry(t, client)
	for _, name := range []string{"a", "b", "c", "new"} {
		k.pairs[name] = oauth(t, "acme.bitrix24.ru", "m1", "t-"+name, "r-"+name)
	}
	for i, name := range pairs {
		want := portals.Imported{Updated: 1}
		if i == 0 {
			want = portals.Imported{Added: 1}
		}
		mustImport(t, before, want, k.pairs[name])
	}
	k.id = mustFind(t, before, "m1").ID
	return k
}

// brings imports a pair, and wants it stored.
func (k keyless) brings(pair string) {
	k.t.Helper()
	mustRepair(k.t, k.Registry, portals.Imported{Updated: 1}, k.pairs[pair])
	k.has(pair)
	mustImport(k.t, k.Registry, portals.Imported{Unchanged: 1}, k.pairs[pair])
}

// keepsOut imports a pair, and wants it left out.
func (k keyless) keepsOut(pair, stored string) {
	k.t.Helper()
	mustImport(k.t, k.Registry, portals.Imported{Unchanged: 1}, k.pairs[pair])
	k.has(stored)
}

func (k keyless) has(pair string) {
	k.t.Helper()
	if p := mustFind(k.t, k.Registry, "m1"); p.Refresh.Reveal() != "r-"+pair {
		k.t.Fatalf("%q is stored, not %q", p.Refresh.Reveal(), "r-"+pair)
	}
}

// Whatever is imported replaces what does not open; what came after it may
// follow, and what came before it is kept out as ever.
func TestImportRepairsALostKey(t *testing.T) {
	onAll(t, func(t *testing.T, client redis.UniversalClient) {
		for name, story := range map[string]func(k keyless){
			"the current pair": func(k keyless) { k.brings("c"); k.keepsOut("b", "c"); k.keepsOut("a", "c") },
			"the oldest first": func(k keyless) {
				k.brings("a")
				k.brings("c")
				k.keepsOut("a", "c")
				k.keepsOut("b", "c")
			},
			"one after another": func(k keyless) {
				k.brings("a")
				k.brings("b")
				k.brings("c")
				k.keepsOut("a", "c")
				k.keepsOut("b", "c")
			},
			"a middle one first": func(k keyless) {
				k.brings("b")
				k.keepsOut("a", "b")
				k.brings("c")
				k.keepsOut("b", "c")
			},
			// An old file of all portals must not undo the repair of one.
			"a new pair": func(k keyless) {
				k.brings("new")
				for _, old := range []string{"a", "b", "c"} {
					k.keepsOut(old, "new")
				}
			},
			"an old pair, then a new one": func(k keyless) {
				k.brings("a")
				k.brings("new")
				for _, old := range []string{"a", "b", "c"} {
					k.keepsOut(old, "new")
				}
			},
			"lost again and again": func(k keyless) {
				k.brings("b")
				k.Registry = newRegistry(k.t, client)
				k.brings("a")
				k.Registry = newRegistry(k.t, client)
				k.brings("b")
				k.keepsOut("a", "b")
				k.brings("c")
				k.keepsOut("b", "c")
			},
		} {
			if err := client.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			t.Log(name)
			story(loseKey(t, client, "a", "b", "c"))
		}
	})
}

// The pair of an install is one among the others.
func TestImportRepairsALostKeyOfAnInstall(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		before := newRegistry(t, client)
		in := installOf(t, "acme.bitrix24.ru", "m1", "t-in", "app1")
		installed := oauth(t, "acme.bitrix24.ru", "m1", "t-in", in.Refresh.Reveal())
		a := oauth(t, "acme.bitrix24.ru", "m1", "t-a", "r-a")
		mustImport(t, before, portals.Imported{Added: 1}, a)
		mustInstall(t, before, in, true, 1)
		fingerprint := func(r *portals.Registry) string { return mustFind(t, r, "m1").Access.Fingerprint() }

		one := newRegistry(t, client)
		mustRepair(t, one, portals.Imported{Updated: 1}, a)
		mustRepair(t, one, portals.Imported{Updated: 1}, installed)
		if mustImport(t, one, portals.Imported{Unchanged: 1}, a); fingerprint(one) != installed.Access.Fingerprint() {
			t.Error("the file's pair came back")
		}
		two := newRegistry(t, client) // lost once more
		mustRepair(t, two, portals.Imported{Updated: 1}, a)
		mustInstall(t, two, in, false, 1)
		if fingerprint(two) != installed.Access.Fingerprint() {
			t.Error("the install that came later was taken for a repeat")
		}
		three := newRegistry(t, client)
		mustInstall(t, three, in, false, 1) // what an install brings works
		if mustImport(t, three, portals.Imported{Unchanged: 1}, a); fingerprint(three) != installed.Access.Fingerprint() {
			t.Error("the file's pair replaced what the portal brought")
		}
	})
}

// A webhook that an application has taken the place of does not come back once
// the application's pair was repaired, but is repaired itself, if it is all there is.
func TestALostKeyOfAWebhookThatBecameAnApplication(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		before := newRegistry(t, client)
		hook := webhook(t, "acme.bitrix24.ru", "aaaaaaaaaaaaaaaa")
		in := installOf(t, "acme.bitrix24.ru", "m1", "t-in", "app1")
		pair := oauth(t, "acme.bitrix24.ru", "m1", "t-in", in.Refresh.Reveal())
		mustImport(t, before, portals.Imported{Added: 1}, hook)
		mustInstall(t, before, in, true, 1)

		r := newRegistry(t, client)
		mustRepair(t, r, portals.Imported{Updated: 1}, pair)
		hook.Limits, hook.Plan, hook.ServerTimeout = pair.Limits, pair.Plan, pair.ServerTimeout
		if _, err := r.Import(t.Context(), []portals.Entry{hook}); err != nil {
			t.Fatal(err)
		}
		if p := mustFind(t, r, "m1"); p.Kind != portals.OAuth {
			t.Error("the webhook came back")
		}
		r = newRegistry(t, client)
		mustRepair(t, r, portals.Imported{Updated: 1}, hook)
		mustRepair(t, r, portals.Imported{Updated: 1}, pair)
		if p := mustFind(t, r, "m1"); p.Kind != portals.OAuth {
			t.Error("the application's pair was kept out")
		}
	})
}

// A hold that the fleet made is about the credentials that were held.
func TestImportOverALostKeyEndsTheHoldOfOthers(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		k := loseKey(t, client, "a", "b")
		hold := func(of string) {
			t.Helper()
			fingerprint := k.pairs[of].Access.Fingerprint()
			if held, err := k.HoldCredential(t.Context(), k.id, fingerprint, "refused", time.Now()); !held || err != nil {
				t.Fatal(held, err)
			}
		}
		hold("b")
		k.brings("b")
		if mustFind(t, k.Registry, "m1").Held == nil {
			t.Error("the pair that was refused is in use again")
		}
		k.Registry = newRegistry(t, client)
		k.brings("a")
		if mustFind(t, k.Registry, "m1").Held != nil {
			t.Error("another pair is held with what it replaced")
		}
	})
}
