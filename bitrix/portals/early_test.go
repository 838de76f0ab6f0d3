package portals_test

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
)

// earlyKey sealed testdata/early.json.
func earlyKey() string {
	return base64.StdEncoding.EncodeToString([]byte("test key for old records, 32 B!!!")[:32])
}

// putEarly stores what the first version of this package wrote: a held webhook
// portal and an OAuth one.
func putEarly(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	text, err := os.ReadFile("testdata/early.json")
	if err != nil {
		t.Fatal(err)
	}
	var early struct {
		Records, Names, Members, Holds map[string]string
		Queues                         []string
		Version                        string
	}
	if err := json.Unmarshal(text, &early); err != nil {
		t.Fatal(err)
	}
	_, err = client.Pipelined(t.Context(), func(p redis.Pipeliner) error {
		p.HSet(t.Context(), keys+"records", early.Records)
		p.HSet(t.Context(), keys+"names", early.Names)
		p.HSet(t.Context(), keys+"members", early.Members)
		p.HSet(t.Context(), keys+"holds", early.Holds)
		p.SAdd(t.Context(), keys+"queues", early.Queues)
		p.Set(t.Context(), keys+"version", early.Version, 0)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestEarlyRecordsAreReadAndChanged(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		putEarly(t, client)
		r := portals.New(client, mustKeys(t, earlyKey()), portals.Options{})
		c := portals.NewCache(r, 0)
		if changed, err := c.Refresh(t.Context()); !changed || err != nil {
			t.Fatal(changed, err)
		}
		w, o := mustFind(t, r, "acme.bitrix24.ru"), mustFind(t, r, "m1")
		if url, _ := w.Access.Reveal(); url != "https://acme.bitrix24.ru/rest/1/0ldwebh00k/" || w.Generation != 1 || w.Queue != "portals-2" ||
			w.Held == nil || *w.Held != (portals.Hold{Reason: "ACCESS_DENIED: no REST", Since: time.UnixMilli(1_700_000_000_123).UTC()}) {
			t.Errorf("got %+v", w)
		}
		if o.Refresh.Reveal() != "0ldrefresh" || o.Account != "oauth" || o.Generation != 1 || o.Installed || o.Gone != nil || o.Origin != "" {
			t.Errorf("got %+v", o)
		}
		if _, err := c.Get(t.Context(), w.ID); err != nil {
			t.Fatal(err)
		}
		// The same files again change nothing.
		we := webhook(t, "acme.bitrix24.ru", "0ldwebh00k")
		oe := oauth(t, "globex.bitrix24.com", "m1", "0ldt0ken", "0ldrefresh")
		oe.ServerTimeout = portals.DefaultServerTimeout
		mustImport(t, r, portals.Imported{Unchanged: 2}, we, oe)

		renewed, err := r.Renew(t.Context(), o.ID, 1, oe.Access, portals.NewSecret("n"), "m1")
		if err != nil || renewed.Generation != 2 || renewed.Queue != "portals-0" {
			t.Fatalf("%+v, %v", renewed, err)
		}
		// The list of changes begins where this cache stands: nothing is missing.
		if changed, err := c.Refresh(t.Context()); changed || err != nil || c.Len() != 1 {
			t.Errorf("Refresh: %v, %v, %d kept", changed, err, c.Len())
		}
		if err := r.Release(t.Context(), w.ID); err != nil {
			t.Fatal(err)
		}
		if all := broken(t.Context(), client, r); len(all) > 0 {
			t.Error(all)
		}
	})
}

// A worker of the first version counts a change and does not list it.
func TestUnlistedChangesForgetEverything(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		mustImport(t, r, portals.Imported{Added: 2}, webhook(t, "a.bitrix24.ru", "s"), oauth(t, "b.bitrix24.ru", "m", "t", "r"))
		a, b := mustFind(t, r, "a.bitrix24.ru"), mustFind(t, r, "b.bitrix24.ru")
		for _, then := range []func() error{
			func() error { return nil },
			func() error { // a quiet change on top
				_, err := r.Renew(t.Context(), b.ID, b.Generation, b.Access, b.Refresh, "")
				return err
			},
		} {
			c := portals.NewCache(r, 0)
			if _, err := c.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Get(t.Context(), a.ID); err != nil {
				t.Fatal(err)
			}
			client.Incr(t.Context(), keys+"version")
			if err := then(); err != nil {
				t.Fatal(err)
			}
			if changed, err := c.Refresh(t.Context()); !changed || err != nil || c.Len() != 0 {
				t.Errorf("Refresh: %v, %v, %d kept", changed, err, c.Len())
			}
		}
	})
}
