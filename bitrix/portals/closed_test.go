// Imports under a key that is not the fleet's.

package portals_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
)

// wantClosed imports portals, and wants that it is refused and that nothing of
// the registry has changed.
func wantClosed(t *testing.T, client redis.UniversalClient, r *portals.Registry, want portals.ClosedError, entries ...portals.Entry) {
	t.Helper()
	before := contents(t, client)
	got, err := r.Import(t.Context(), entries)
	var closed *portals.ClosedError
	if !errors.As(err, &closed) || *closed != want || !errors.Is(err, portals.ErrSealed) || got != (portals.Imported{}) {
		t.Fatalf("%+v, %v, want %+v", got, err, want)
	}
	for _, words := range []string{"do not open under this SECRETS_KEY", want.Example, "enqueue portals import --lost-key"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%q is not in %q", words, err)
		}
	}
	if after := contents(t, client); !maps.Equal(before, after) {
		t.Errorf("stored %v, want %v", after, before)
	}
}

// contents are the records, names and version of a registry.
func contents(t *testing.T, client redis.UniversalClient) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, key := range []string{"records", "names", "members"} {
		found, err := client.HGetAll(t.Context(), "botfleet:{portals}:"+key).Result()
		if err != nil {
			t.Fatal(err)
		}
		for field, value := range found {
			all[key+" "+field] = value
		}
	}
	return all
}

func TestImportUnderAStrayKeyIsRefused(t *testing.T) {
	onAll(t, func(t *testing.T, client redis.UniversalClient) {
		ours, key := newRegistry(t, client), portals.NewKey()
		stray := portals.New(client, mustKeys(t, key), portals.Options{})
		var all []portals.Entry
		for i := range 6 {
			all = append(all, webhook(t, fmt.Sprintf("p%d.bitrix24.ru", i), fmt.Sprintf("aaaaaaaaaaaaaaa%d", i)))
		}
		mustImport(t, ours, portals.Imported{Added: 6}, all...)
		changed := webhook(t, "p0.bitrix24.ru", "bbbbbbbbbbbbbbbb")
		fresh := webhook(t, "fresh.bitrix24.ru", "s")
		wantClosed(t, client, stray, portals.ClosedError{Portals: 6, Example: "p0.bitrix24.ru"}, all...)
		wantClosed(t, client, stray, portals.ClosedError{Portals: 1, Example: "p0.bitrix24.ru"}, fresh, changed)
		mustImport(t, ours, portals.Imported{Unchanged: 6}, all...)

		// A repair of some leaves the others refused.
		mustRepair(t, stray, portals.Imported{Updated: 1}, changed)
		wantClosed(t, client, stray, portals.ClosedError{Portals: 5, Example: "p1.bitrix24.ru"}, append(all[1:], changed)...)
		mustImport(t, stray, portals.Imported{Added: 1, Unchanged: 1}, changed, fresh)
		mustRepair(t, stray, portals.Imported{Updated: 5}, all[1:]...)
		mustImport(t, stray, portals.Imported{Unchanged: 6}, append(all[1:], changed)...)
	})
}

// A new portal under a stray key would be closed to the fleet as well.
func TestImportOfNewPortalsUnderAStrayKey(t *testing.T) {
	onAll(t, func(t *testing.T, client redis.UniversalClient) {
		acme, fresh := webhook(t, "acme.bitrix24.ru", "s"), webhook(t, "fresh.bitrix24.ru", "s")
		mustImport(t, newRegistry(t, client), portals.Imported{Added: 1}, acme)
		key := portals.NewKey()
		stray := portals.New(client, mustKeys(t, key), portals.Options{})
		for _, r := range []*portals.Registry{stray, portals.New(client, mustKeys(t, key), portals.Options{WithoutSecrets: true})} {
			wantClosed(t, client, r, portals.ClosedError{Example: "acme.bitrix24.ru"}, fresh)
		}
		mustImport(t, stray, portals.Imported{})
		mustRepair(t, stray, portals.Imported{Added: 1}, fresh)
		// One that opens shows that the key is one of the fleet's.
		mustImport(t, stray, portals.Imported{Added: 1}, webhook(t, "next.bitrix24.ru", "s"))
	})
}

// Where few of many open, as after a repair of some, no lot decides.
func TestImportOfNewPortalsWhereFewOpen(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		var all []portals.Entry
		for i := range 1500 {
			all = append(all, webhook(t, fmt.Sprintf("p%d.bitrix24.ru", i), "aaaaaaaaaaaaaaaa"))
		}
		mustImport(t, newRegistry(t, client), portals.Imported{Added: len(all)}, all...)
		r := portals.New(client, mustKeys(t, portals.NewKey()), portals.Options{})
		mustRepair(t, r, portals.Imported{Updated: 1}, all[0])
		one := mustFind(t, r, "p0.bitrix24.ru")
		if id, err := r.FindOpen(t.Context()); err != nil || id != one.ID {
			t.Errorf("%q, %v, want %q", id, err, one.ID)
		}
		for i := range 5 {
			fresh := webhook(t, fmt.Sprintf("fresh%d.bitrix24.ru", i), "s")
			mustImport(t, r, portals.Imported{Added: 1}, fresh)
			if err := r.Remove(t.Context(), mustFind(t, r, fresh.Name).ID); err != nil { // or it would open too
				t.Fatal(err)
			}
		}
		if id, err := newRegistry(t, client).FindOpen(t.Context()); err != nil || id != "" {
			t.Errorf("%q, %v, want none", id, err)
		}
	})
}

// New credentials seal under the new key while the old one still opens.
func TestImportWhileTheKeyIsChanged(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		older, newer := portals.NewKey(), portals.NewKey()
		r := func(keys ...string) *portals.Registry {
			return portals.New(client, mustKeys(t, strings.Join(keys, ",")), portals.Options{})
		}
		mustImport(t, r(older), portals.Imported{Added: 1}, webhook(t, "acme.bitrix24.ru", "s"))
		mustImport(t, r(newer, older), portals.Imported{Updated: 1, Added: 1},
			webhook(t, "acme.bitrix24.ru", "bbbbbbbbbbbbbbbb"), webhook(t, "other.bitrix24.ru", "s"))
		if _, _, err := r(newer, older).Rekey(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantClosed(t, client, r(older), portals.ClosedError{Portals: 1, Example: "acme.bitrix24.ru"}, webhook(t, "acme.bitrix24.ru", "s"))
		if p := mustFind(t, r(newer), "acme.bitrix24.ru"); p.Access == (bitrix.Access{}) {
			t.Error("no credentials")
		}
	})
}
