package portals_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
)

func TestRekey(t *testing.T) {
	onAll(t, func(t *testing.T, client redis.UniversalClient) {
		one, two := portals.NewKey(), portals.NewKey()
		old := portals.New(client, mustKeys(t, one), portals.Options{})
		var entries []portals.Entry
		for i := range 1200 {
			entries = append(entries, oauth(t, fmt.Sprintf("p%d.bitrix24.ru", i), "", "t", "r"))
		}
		mustImport(t, old, portals.Imported{Added: 1200}, entries...)
		renewed := mustFind(t, old, "p7.bitrix24.ru")
		version, _ := old.Version(t.Context())
		both := portals.New(client, mustKeys(t, two+","+one), portals.Options{})

		// Workers that still seal under the old key, and one that began anew.
		var live sync.WaitGroup
		live.Go(func() {
			for i := range int64(50) {
				a, refresh := pair(t, renewed.Name, fmt.Sprint("t", i))
				if _, err := both.Renew(t.Context(), renewed.ID, i+1, a, refresh, ""); err != nil {
					t.Error(err)
				}
			}
		})
		n, total, err := both.Rekey(t.Context())
		live.Wait()
		if err != nil || total != 1200 || n < 1199 {
			t.Errorf("%d of %d, %v", n, total, err)
		}
		if n, total, err := both.Rekey(t.Context()); err != nil || n != 0 || total != 1200 {
			t.Errorf("a second time: %d of %d, %v", n, total, err)
		}
		if v, _ := both.Version(t.Context()); v != version+50 {
			t.Errorf("%d changes were told", v-version)
		}
		after := portals.New(client, mustKeys(t, two), portals.Options{})
		if p := mustFind(t, after, renewed.Name); p.Generation != 51 {
			t.Errorf("a renewal was lost: %+v", p)
		}
		if all := broken(t.Context(), client, after); len(all) > 0 {
			t.Error(all)
		}
	})
}

func TestRekeyNamesWhatDoesNotOpen(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		lost, one, two := portals.NewKey(), portals.NewKey(), portals.NewKey()
		mustImport(t, portals.New(client, mustKeys(t, lost), portals.Options{}), portals.Imported{Added: 1}, webhook(t, "lost.bitrix24.ru", "s"))
		var entries []portals.Entry
		for i := range 20 {
			entries = append(entries, webhook(t, fmt.Sprintf("p%d.bitrix24.ru", i), "s"))
		}
		r := portals.New(client, mustKeys(t, one), portals.Options{})
		mustRepair(t, r, portals.Imported{Added: 20}, entries...)
		both := portals.New(client, mustKeys(t, two+","+one), portals.Options{})
		n, total, err := both.Rekey(t.Context())
		var failed *portals.RekeyError
		if n != 20 || total != 21 || !errors.As(err, &failed) || len(failed.Failed) != 1 || !errors.Is(err, portals.ErrSealed) ||
			!strings.Contains(err.Error(), "lost.bitrix24.ru") || !strings.Contains(err.Error(), mustKeys(t, lost).IDs()[0]) {
			t.Errorf("%d of %d, %v", n, total, err)
		}
		many := &portals.RekeyError{Failed: make([]error, 30)}
		for i := range many.Failed {
			many.Failed[i] = fmt.Errorf("portal %d", i)
		}
		if s := many.Error(); !strings.Contains(s, "portal 9") || strings.Contains(s, "portal 10") || !strings.Contains(s, "20 more") {
			t.Error(s)
		}
		if _, _, err := portals.New(client, portals.Keyring{}, portals.Options{}).Rekey(t.Context()); !errors.Is(err, portals.ErrNoKey) {
			t.Errorf("without a key: %v", err)
		}
	})
}

func TestRemove(t *testing.T) {
	onAll(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		mustImport(t, r, portals.Imported{Added: 2}, oauth(t, "acme.bitrix24.ru", "m1", "t", "r"), webhook(t, "other.bitrix24.ru", "s"))
		p := mustFind(t, r, "m1")
		there, _ := p.Access.At("https", "acme2.bitrix24.ru")
		if _, err := r.Move(t.Context(), p.ID, 1, there); err != nil {
			t.Fatal(err)
		}
		if err := r.Hold(t.Context(), p.ID, "x", time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := r.NoteHandlers(t.Context(), p.ID, "oauth", "d"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Renewing(t.Context(), p.ID, 1); err != nil {
			t.Fatal(err)
		}
		if err := r.Remove(t.Context(), p.ID); err != nil {
			t.Fatal(err)
		}
		if err := r.Remove(t.Context(), p.ID); !errors.Is(err, portals.ErrUnknown) {
			t.Errorf("a second time: %v", err)
		}
		for _, key := range client.Keys(t.Context(), "*").Val() {
			if key == keys+"changes" { // a cache must hear of it
				continue
			}
			text := key
			switch client.Type(t.Context(), key).Val() {
			case "hash":
				text += fmt.Sprint(client.HGetAll(t.Context(), key).Val())
			case "set":
				if !client.SIsMember(t.Context(), key, p.Queue).Val() {
					t.Error("its queue is not served any more")
				}
			}
			if strings.Contains(text, p.ID) || strings.Contains(text, "acme") {
				t.Errorf("left behind: %s", text)
			}
		}
		if all := broken(t.Context(), client, r); len(all) > 0 {
			t.Error(all)
		}
		// A record that cannot be read goes as well.
		other := mustFind(t, r, "other.bitrix24.ru")
		client.HSet(t.Context(), keys+"records", other.ID, "{")
		if err := r.Remove(t.Context(), other.ID); err != nil {
			t.Error(err)
		}
		mustImport(t, r, portals.Imported{Added: 1}, webhook(t, "other.bitrix24.ru", "s"))
	})
}
