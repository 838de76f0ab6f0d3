package portals_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
	"botfleet/ratelimit/redistest"
)

func TestCache(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		c := portals.NewCache(r, 2)
		e := webhook(t, "a.bitrix24.ru", "s")
		mustImport(t, r, portals.Imported{Added: 3}, e, webhook(t, "b.bitrix24.ru", "s"), webhook(t, "c.bitrix24.ru", "s"))
		if changed, err := c.Refresh(t.Context()); !changed || err != nil {
			t.Errorf("first Refresh: %v, %v", changed, err)
		}
		if changed, err := c.Refresh(t.Context()); changed || err != nil {
			t.Errorf("second Refresh: %v, %v", changed, err)
		}
		var ids []string
		for _, name := range []string{"a", "b", "c"} {
			ids = append(ids, mustFind(t, r, name+".bitrix24.ru").ID)
		}
		get := func(id string) portals.Portal {
			p, err := c.Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		for _, i := range []int{0, 1, 0, 2, 0} { // b is the one to go
			get(ids[i])
		}
		if c.Len() != 2 {
			t.Errorf("%d portals kept", c.Len())
		}
		if err := r.Hold(t.Context(), ids[0], "x", time.Now()); err != nil {
			t.Fatal(err)
		}
		if get(ids[0]).Held != nil {
			t.Error("a was not kept")
		}
		if changed, err := c.Refresh(t.Context()); !changed || err != nil || c.Len() != 1 {
			t.Errorf("Refresh after a hold: %v, %v, %d kept", changed, err, c.Len())
		}
		if get(ids[0]).Held == nil {
			t.Error("the hold is not seen")
		}
		if _, err := c.Get(t.Context(), "nobody"); !errors.Is(err, portals.ErrUnknown) {
			t.Errorf("err = %v", err)
		}
	})
}

// After a Refresh that saw a change, nobody may be given what was before it.
func TestCacheNeverKeepsWhatIsOld(t *testing.T) {
	r := newRegistry(t, redistest.Client(t, redistest.Start(t).URL))
	e := webhook(t, "a.bitrix24.ru", "s")
	mustImport(t, r, portals.Imported{Added: 1}, e)
	id := mustFind(t, r, e.Name).ID
	c := portals.NewCache(r, 0)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := c.Get(t.Context(), id); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 50 {
		e.ClientID = fmt.Sprint("app", i)
		mustImport(t, r, portals.Imported{Updated: 1}, e)
		if _, err := c.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if p, err := c.Get(t.Context(), id); err != nil || p.ClientID != e.ClientID {
			t.Fatalf("after change %d: %s, %v", i, p.ClientID, err)
		}
	}
	close(stop)
	readers.Wait()
}
