package portals_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit/redistest"
)

// newRegistry makes a registry with a fresh key.
func newRegistry(tb testing.TB, client redis.UniversalClient) *portals.Registry {
	tb.Helper()
	return portals.New(client, mustKeys(tb, portals.NewKey()), portals.Options{})
}

func mustKeys(tb testing.TB, s string) portals.Keyring {
	tb.Helper()
	k, err := portals.ParseKeys(s)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// webhook is an entry as a file would give it.
func webhook(tb testing.TB, host, secret string) portals.Entry {
	tb.Helper()
	a, err := bitrix.ParseWebhook("https://" + host + "/rest/1/" + secret + "/")
	if err != nil {
		tb.Fatal(err)
	}
	return portals.Entry{Name: host, Plan: portals.Standard, ClientID: "app.1", Limits: portals.PlanLimits(portals.Standard),
		ServerTimeout: portals.DefaultServerTimeout, Access: a}
}

func oauth(tb testing.TB, host, member, token, refresh string) portals.Entry {
	tb.Helper()
	a, err := bitrix.NewOAuth(host, token)
	if err != nil {
		tb.Fatal(err)
	}
	return portals.Entry{Name: host, MemberID: member, Plan: portals.Enterprise, Limits: portals.PlanLimits(portals.Enterprise),
		ServerTimeout: time.Second, Access: a, RefreshToken: portals.NewSecret(refresh)}
}

func mustImport(t *testing.T, r *portals.Registry, want portals.Imported, entries ...portals.Entry) {
	t.Helper()
	got, err := r.Import(t.Context(), entries)
	imported(t, got, want, err)
}

// mustRepair imports portals of which some are sealed under a lost key.
func mustRepair(t *testing.T, r *portals.Registry, want portals.Imported, entries ...portals.Entry) {
	t.Helper()
	got, err := r.ImportLostKey(t.Context(), entries)
	imported(t, got, want, err)
}

func imported(t *testing.T, got, want portals.Imported, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Fatalf("imported %+v, want %+v", got, want)
	}
}

func mustFind(t *testing.T, r *portals.Registry, name string) portals.Portal {
	t.Helper()
	p, err := r.Find(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestImportAndFind(t *testing.T) {
	onAll(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		w, o := webhook(t, "acme.bitrix24.ru", "s3cretwebhook"), oauth(t, "globex.bitrix24.com", "M1", "t0ken", "r3fresh")
		mustImport(t, r, portals.Imported{Added: 2}, w, o)

		p := mustFind(t, r, " ACME.bitrix24.ru:443")
		url, _ := p.Access.Reveal()
		if url != "https://acme.bitrix24.ru/rest/1/s3cretwebhook/" {
			t.Error("the webhook did not come back")
		}
		if len(p.ID) != 16 || !strings.HasPrefix(p.Queue, "portals-") || p.Kind != portals.Webhook || p.ClientID != "app.1" ||
			p.Credential != w.Access.Fingerprint() || p.Limits != w.Limits || p.ServerTimeout != w.ServerTimeout || p.Held != nil {
			t.Errorf("got %+v", p)
		}
		g := mustFind(t, r, "m1")
		if _, token := g.Access.Reveal(); token != "t0ken" || g.Name != "globex.bitrix24.com" || g.Kind != portals.OAuth {
			t.Errorf("got %+v", g)
		}
		if got, err := r.Get(t.Context(), p.ID); err != nil || got.Name != p.Name {
			t.Errorf("Get: %+v, %v", got, err)
		}
		found, err := r.FindMany(t.Context(), []string{"Acme.Bitrix24.ru", "m1", "nobody.bitrix24.ru", ""})
		if err != nil || len(found) != 2 || found["Acme.Bitrix24.ru"].ID != p.ID || found["m1"].ID != g.ID {
			t.Errorf("FindMany: %v, %v", found, err)
		}
		if n, err := r.Count(t.Context()); n != 2 || err != nil {
			t.Errorf("Count = %d, %v", n, err)
		}
		want := []string{p.Queue, g.Queue}
		slices.Sort(want)
		if q, err := r.Queues(t.Context()); err != nil || !slices.Equal(q, slices.Compact(want)) {
			t.Errorf("Queues = %v, %v", q, err)
		}
	})
}

func TestImportAgainKeepsIDAndQueue(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		keys := mustKeys(t, portals.NewKey())
		r := portals.New(client, keys, portals.Options{})
		e := oauth(t, "acme.bitrix24.ru", "m1", "one", "r")
		mustImport(t, r, portals.Imported{Added: 1}, e)
		before := mustFind(t, r, "m1")
		version, _ := r.Version(t.Context())
		mustImport(t, r, portals.Imported{Unchanged: 1}, e)
		if v, _ := r.Version(t.Context()); v != version {
			t.Error("nothing changed, but the version did")
		}

		e.Limits.Rate = 3
		more := portals.New(client, keys, portals.Options{Shards: 100})
		mustImport(t, more, portals.Imported{Updated: 1}, e)
		if p := mustFind(t, r, "m1"); p.ID != before.ID || p.Queue != before.Queue || p.Limits.Rate != 3 {
			t.Errorf("got %+v, before %+v", p, before)
		}
		if v, _ := r.Version(t.Context()); v <= version {
			t.Errorf("version %d after %d", v, version)
		}

		renamed := oauth(t, "acme-new.bitrix24.ru", "m1", "two", "r2")
		mustImport(t, r, portals.Imported{Updated: 1}, renamed)
		if p := mustFind(t, r, "acme-new.bitrix24.ru"); p.ID != before.ID || p.Queue != before.Queue {
			t.Errorf("got %+v, before %+v", p, before)
		}
		if _, err := r.Find(t.Context(), "acme.bitrix24.ru"); !errors.Is(err, portals.ErrUnknown) {
			t.Errorf("the old name still leads somewhere: %v", err)
		}
	})
}

func TestNewCredentialsReleaseAHold(t *testing.T) {
	onAll(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		e := webhook(t, "acme.bitrix24.ru", "one")
		mustImport(t, r, portals.Imported{Added: 1}, e)
		p := mustFind(t, r, e.Name)
		since := time.UnixMilli(1_700_000_000_123).UTC()
		for i, reason := range []struct{ said, kept string }{
			{"ACCESS_DENIED:\nno REST", "ACCESS_DENIED: no REST"},
			{"access_denied: REST is available only on commercial plans", "ACCESS_DENIED: no REST"},
			{"OVERLOAD_LIMIT: blocked", "OVERLOAD_LIMIT: blocked"},
			{"still no REST", "still no REST"},
		} {
			if held, err := r.HoldCredential(t.Context(), p.ID, p.Credential, reason.said, since.Add(time.Duration(i)*time.Hour)); !held || err != nil {
				t.Fatal(held, err)
			}
			if got := mustFind(t, r, e.Name).Held; got == nil || got.Reason != reason.kept {
				t.Errorf("held %v after %q", got, reason.said)
			}
		}
		want := portals.Hold{Reason: "still no REST", Since: since}
		if got := mustFind(t, r, e.Name).Held; got == nil || *got != want {
			t.Errorf("held %v, want %v", got, want)
		}
		if held, err := r.Held(t.Context()); err != nil || !cmp.Equal(held, map[string]portals.Hold{p.ID: want}) {
			t.Errorf("Held = %v, %v", held, err)
		}
		e.Limits.Burst = 9
		mustImport(t, r, portals.Imported{Updated: 1}, e)
		if mustFind(t, r, e.Name).Held == nil {
			t.Error("the same credentials released the hold")
		}
		mustImport(t, r, portals.Imported{Updated: 1}, webhook(t, e.Name, "two"))
		if mustFind(t, r, e.Name).Held != nil {
			t.Error("new credentials did not release the hold")
		}
		if held, err := r.HoldCredential(t.Context(), p.ID, p.Credential, "refused", since); held || err != nil {
			t.Errorf("a refusal of the old credentials held the new ones: %v, %v", held, err)
		}
		now := mustFind(t, r, e.Name).Credential
		if held, err := r.HoldCredential(t.Context(), p.ID, now, "refused", since); !held || err != nil {
			t.Errorf("HoldCredential: %v, %v", held, err)
		}
		if err := r.Release(t.Context(), p.ID); err != nil {
			t.Fatal(err)
		}
		if err := r.Release(t.Context(), p.ID); err != nil {
			t.Errorf("a second release: %v", err)
		}
		if held, _ := r.Held(t.Context()); len(held) != 0 {
			t.Errorf("still held: %v", held)
		}
		if err := r.Hold(t.Context(), "0000000000000000", "x", since); !errors.Is(err, portals.ErrUnknown) {
			t.Errorf("holding nobody: %v", err)
		}
	})
}

func TestImportRefusesConflicts(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		mustImport(t, r, portals.Imported{Added: 2}, oauth(t, "a.bitrix24.ru", "m1", "t", ""), webhook(t, "b.bitrix24.ru", "s"))
		version, _ := r.Version(t.Context())
		fresh := webhook(t, "fresh.bitrix24.ru", "s")
		old := webhook(t, "a.bitrix24.ru", "s")
		for name, entries := range map[string][]portals.Entry{
			"member and host of two portals":  {fresh, oauth(t, "b.bitrix24.ru", "m1", "t", "")},
			"another member on a known host":  {fresh, oauth(t, "a.bitrix24.ru", "m2", "t", "")},
			"two entries that are one portal": {old, oauth(t, "new.bitrix24.ru", "m1", "t", ""), fresh},
			"the same host twice":             {fresh, fresh},
			"a bad entry":                     {fresh, {Name: "x.bitrix24.ru"}},
		} {
			var refused *portals.FileError
			if _, err := r.Import(t.Context(), entries); !errors.As(err, &refused) {
				t.Errorf("%s: err = %v", name, err)
			}
		}
		if v, _ := r.Version(t.Context()); v != version {
			t.Error("something was stored")
		}
		if _, err := r.Find(t.Context(), "fresh.bitrix24.ru"); !errors.Is(err, portals.ErrUnknown) {
			t.Errorf("err = %v", err)
		}
	})
}

func TestTwoImportsAtOnceAgree(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		var entries []portals.Entry
		for i := range 250 {
			entries = append(entries, oauth(t, fmt.Sprintf("p%d.bitrix24.ru", i), fmt.Sprintf("m%d", i), "t", "r"))
		}
		const importers = 4
		var total portals.Imported
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range importers {
			mine := slices.Clone(entries)
			for j := range mine {
				mine[j].Limits.Burst = 50 + i
			}
			if i%2 == 1 {
				slices.Reverse(mine)
			}
			wg.Go(func() {
				got, err := r.Import(context.Background(), mine)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				total.Added += got.Added
				total.Updated += got.Updated
				total.Unchanged += got.Unchanged
			})
		}
		wg.Wait()
		if total.Added != len(entries) || total.Added+total.Updated+total.Unchanged != importers*len(entries) {
			t.Errorf("in all %+v", total)
		}
		names := make(map[string]string)
		if err := r.Each(t.Context(), func(p portals.Portal) error { names[p.Name] = p.ID; return nil }); err != nil {
			t.Fatal(err)
		}
		if n, _ := r.Count(t.Context()); n != len(entries) || len(names) != n {
			t.Errorf("%d portals, %d names", n, len(names))
		}
		for i, e := range entries {
			if p := mustFind(t, r, fmt.Sprintf("m%d", i)); p.Name != e.Name || p.ID != names[e.Name] {
				t.Fatalf("member m%d leads to %s", i, p.Name)
			}
		}
	})
}

func TestWithoutAKey(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		mustImport(t, newRegistry(t, client), portals.Imported{Added: 1}, webhook(t, "acme.bitrix24.ru", "s"))
		none := portals.New(client, portals.Keyring{}, portals.Options{})
		if _, err := none.Import(t.Context(), nil); !errors.Is(err, portals.ErrNoKey) {
			t.Errorf("Import: %v", err)
		}
		if _, err := none.Find(t.Context(), "acme.bitrix24.ru"); !errors.Is(err, portals.ErrNoKey) {
			t.Errorf("Find: %v", err)
		}
		reader := portals.New(client, portals.Keyring{}, portals.Options{WithoutSecrets: true})
		if p := mustFind(t, reader, "acme.bitrix24.ru"); !p.Access.IsZero() || p.Plan != portals.Standard {
			t.Errorf("got %+v", p)
		}
	})
}

func TestSealedUnderAnotherKey(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		oldKey, newKey := portals.NewKey(), portals.NewKey()
		old := portals.New(client, mustKeys(t, oldKey), portals.Options{})
		e := webhook(t, "acme.bitrix24.ru", "s3cretwebhook")
		mustImport(t, old, portals.Imported{Added: 1}, e)

		lost := portals.New(client, mustKeys(t, newKey), portals.Options{})
		_, err := lost.Find(t.Context(), e.Name)
		var sealed *portals.SealedError
		if !errors.As(err, &sealed) || !errors.Is(err, portals.ErrSealed) ||
			sealed.KeyID != mustKeys(t, oldKey).IDs()[0] || sealed.Portal != e.Name || !strings.Contains(err.Error(), sealed.KeyID) {
			t.Errorf("err = %v", err)
		}
		both := portals.New(client, mustKeys(t, newKey+","+oldKey), portals.Options{})
		mustFind(t, both, e.Name)
		mustRepair(t, lost, portals.Imported{Updated: 1}, e) // the cure when the key is gone
		mustFind(t, lost, e.Name)
	})
}

// A person with write access to Redis must not be able to lead one portal's
// credentials elsewhere.
func TestMovedRecordsDoNotOpen(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		const records, names = "botfleet:{portals}:records", "botfleet:{portals}:names"
		r := newRegistry(t, client)
		mustImport(t, r, portals.Imported{Added: 2}, oauth(t, "acme.bitrix24.ru", "m1", "t", ""), oauth(t, "evil.bitrix24.ru", "m2", "t", ""))
		acme, evil := mustFind(t, r, "m1"), mustFind(t, r, "m2")
		raw := client.HGet(t.Context(), records, acme.ID).Val()
		put := func(key, field, value string) {
			if err := client.HSet(t.Context(), key, field, value).Err(); err != nil {
				t.Fatal(err)
			}
		}
		put(records, evil.ID, raw)
		if _, err := r.Get(t.Context(), evil.ID); !errors.Is(err, portals.ErrSealed) {
			t.Errorf("under another id: %v", err)
		}
		put(records, evil.ID, strings.Replace(raw, `"acme.`, `"evil.`, 1))
		if _, err := r.Find(t.Context(), "evil.bitrix24.ru"); !errors.Is(err, portals.ErrSealed) {
			t.Errorf("under another id and name: %v", err)
		}
		put(records, acme.ID, strings.Replace(raw, `"acme.`, `"evil.`, 1))
		if _, err := r.Get(t.Context(), acme.ID); !errors.Is(err, portals.ErrSealed) {
			t.Errorf("under another name: %v", err)
		}
		put(records, acme.ID, strings.Replace(raw, `"sealed"`, `"origin":"evil.bitrix24.ru","sealed"`, 1))
		if _, err := r.Get(t.Context(), acme.ID); !errors.Is(err, portals.ErrSealed) {
			t.Errorf("with another origin: %v", err)
		}
		put(records, acme.ID, raw)
		put(names, "evil.bitrix24.ru", acme.ID)
		if p, err := r.Find(t.Context(), "evil.bitrix24.ru"); !errors.Is(err, portals.ErrUnknown) {
			t.Errorf("by another name: %+v, %v", p, err)
		}
		put(records, acme.ID, "{")
		if _, err := r.Get(t.Context(), acme.ID); err == nil {
			t.Error("a broken record was read")
		}
	})
}

func TestUnknownNamesTheNearest(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		mustImport(t, r, portals.Imported{Added: 2}, webhook(t, "acme.bitrix24.ru", "s"), webhook(t, "globex.bitrix24.com", "s"))
		_, err := r.Find(t.Context(), "amce.bitrix24.ru")
		var unknown *portals.UnknownError
		if !errors.As(err, &unknown) || unknown.Nearest != "acme.bitrix24.ru" {
			t.Errorf("err = %v", err)
		}
		if _, err = r.Find(t.Context(), "example.org"); !errors.As(err, &unknown) || unknown.Nearest != "" {
			t.Errorf("err = %v", err)
		}
	})
}

func TestHandlers(t *testing.T) {
	onAll(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		if err := r.NoteHandlers(t.Context(), "p1", "custom1", "old"); err != nil {
			t.Fatal(err)
		}
		if err := r.NoteAllHandlers(t.Context(), []portals.HandlerNote{{"p1", "custom1", "d1"}, {"p1", "custom2", "d2"}, {"p2", "oauth", "d3"}}); err != nil {
			t.Fatal(err)
		}
		want := map[string]map[string]string{"p1": {"custom1": "d1", "custom2": "d2"}, "p2": {"oauth": "d3"}}
		if got, err := r.AllHandlers(t.Context(), []string{"p1", "p2", "p3"}); err != nil || !cmp.Equal(got, want) {
			t.Errorf("got %v, %v", got, err)
		}
		if got, err := r.Handlers(t.Context(), "p1"); err != nil || !cmp.Equal(got, want["p1"]) {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

func TestNothingReadableIsSecret(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		w, o := webhook(t, "acme.bitrix24.ru", "plantedAAA"), oauth(t, "b.bitrix24.ru", "m1", "plantedBBB", "plantedCCC")
		mustImport(t, r, portals.Imported{Added: 2}, w, o)
		var all strings.Builder
		for k, v := range client.HGetAll(t.Context(), "botfleet:{portals}:records").Val() {
			all.WriteString(k + v)
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			fmt.Fprintf(&all, verb+verb+verb, w, &o, mustFind(t, r, "m1"))
			fmt.Fprintf(&all, verb, struct{ s portals.Secret }{o.RefreshToken})
		}
		for _, secret := range []string{"plantedAAA", "plantedBBB", "plantedCCC"} {
			if strings.Contains(all.String(), secret) {
				t.Errorf("%s shows", secret)
			}
		}
	})
}

func TestEachStopsAndPages(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		var entries []portals.Entry
		for i := range 1200 {
			entries = append(entries, webhook(t, fmt.Sprintf("p%d.bitrix24.ru", i), "s"))
		}
		mustImport(t, r, portals.Imported{Added: 1200}, entries...)
		seen := make(map[string]bool)
		if err := r.Each(t.Context(), func(p portals.Portal) error { seen[p.Name] = true; return nil }); err != nil || len(seen) != 1200 {
			t.Errorf("%d portals, %v", len(seen), err)
		}
		stop := errors.New("stop")
		calls := 0
		if err := r.Each(t.Context(), func(portals.Portal) error { calls++; return stop }); !errors.Is(err, stop) || calls != 1 {
			t.Errorf("%d calls, %v", calls, err)
		}
		queues, err := r.Queues(t.Context())
		if err != nil || !slices.Equal(queues, []string{"portals-0", "portals-1", "portals-2", "portals-3"}) {
			t.Errorf("queues %v, %v", queues, err)
		}
	})
}

func TestCancelledContextEndsAnImport(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := newRegistry(t, client).Import(ctx, []portals.Entry{webhook(t, "a.bitrix24.ru", "s")})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v", err)
		}
	})
}

// A full Redis takes no transactions; portals are found all the same.
func TestAFullRedisIsRead(t *testing.T) {
	client := redistest.Client(t, redistest.Start(t).URL)
	r := newRegistry(t, client)
	mustImport(t, r, portals.Imported{Added: 1}, webhook(t, "acme.bitrix24.ru", "aaaaaaaaaaaaaaaa"))
	if err := client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if p := mustFind(t, r, "acme.bitrix24.ru"); p.Name != "acme.bitrix24.ru" {
		t.Errorf("%+v", p)
	}
}
