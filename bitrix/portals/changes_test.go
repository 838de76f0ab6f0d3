package portals

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/ratelimit/redistest"
)

// listing is a registry of five portals that lists changes of three.
func listing(t *testing.T, client redis.UniversalClient) (r *Registry, all []Portal) {
	t.Helper()
	r = New(client, mustParse(t, NewKey()), Options{})
	r.listed = 3
	for i := range 5 {
		a, err := bitrix.NewOAuth(fmt.Sprintf("p%d.bitrix24.ru", i), "t")
		if err != nil {
			t.Fatal(err)
		}
		e := Entry{Name: a.Host(), Plan: Standard, Limits: PlanLimits(Standard), ServerTimeout: DefaultServerTimeout, Access: a}
		if _, err := r.Import(t.Context(), []Entry{e}); err != nil {
			t.Fatal(err)
		}
		p, err := r.Find(t.Context(), a.Host())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return r, all
}

func TestRenewedPairsDropOnlyTheirPortals(t *testing.T) {
	redistest.Both(t, func(t *testing.T, client redis.UniversalClient, _ string) {
		r, all := listing(t, client)
		c := NewCache(r, 0)
		renew := func(n int) {
			for i := range n {
				a, err := bitrix.NewOAuth(all[i].Name, fmt.Sprint("t", all[i].Generation))
				if err != nil {
					t.Fatal(err)
				}
				if all[i], err = r.Renew(t.Context(), all[i].ID, all[i].Generation, a, bitrix.NewSecret("r"), ""); err != nil {
					t.Fatal(err)
				}
			}
		}
		refresh := func(loud bool, kept int) {
			t.Helper()
			if changed, err := c.Refresh(t.Context()); changed != loud || err != nil || c.Len() != kept {
				t.Errorf("changed %v, %v, %d kept; want %v, %d", changed, err, c.Len(), loud, kept)
			}
			for _, p := range all {
				if got, err := c.Get(t.Context(), p.ID); err != nil || got.Generation != p.Generation || got.Credential != p.Credential {
					t.Errorf("got %+v, %v", got, err)
				}
			}
		}
		refresh(true, 0)
		renew(2)
		refresh(false, 3)
		renew(3)
		renew(1)
		refresh(false, 2) // three portals, one of them twice
		renew(4)
		refresh(false, 0) // more than are listed: any may have changed
		renew(1)
		if err := r.Release(t.Context(), all[4].ID); err != nil { // changes nothing
			t.Fatal(err)
		}
		refresh(false, 4)
		if err := r.Hold(t.Context(), all[4].ID, "x", time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		renew(2)
		refresh(true, 2)
		if n := client.ZCard(t.Context(), keyChanges).Val(); n > 3 {
			t.Errorf("%d changes are listed", n)
		}
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if changed, err := c.Refresh(t.Context()); !changed || err != nil || c.Len() != 0 {
			t.Errorf("after a loss of all data: %v, %v, %d kept", changed, err, c.Len())
		}
	})
}

// counting notes the names of commands.
type counting struct {
	redis.Hook
	names []string
}

func (c *counting) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *counting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.names = append(c.names, "pipeline")
		return next(ctx, cmds)
	}
}

func (c *counting) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.names = append(c.names, cmd.Name())
		return next(ctx, cmd)
	}
}

// A worker refreshes every second, however idle it is.
func TestRefreshIsOneGet(t *testing.T) {
	redistest.Both(t, func(t *testing.T, client redis.UniversalClient, _ string) {
		r, all := listing(t, client)
		c := NewCache(r, 0)
		if _, err := c.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		sent := &counting{}
		client.AddHook(sent)
		if _, err := c.Refresh(t.Context()); err != nil || !slices.Equal(sent.names, []string{"get"}) {
			t.Errorf("%v, %v", sent.names, err)
		}
		if err := r.Hold(t.Context(), all[0].ID, "x", time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		sent.names = nil
		if _, err := c.Refresh(t.Context()); err != nil || !slices.Equal(sent.names, []string{"get", "evalsha"}) {
			t.Errorf("after a change %v, %v", sent.names, err)
		}
		sent.names = nil
		if _, err := c.Get(t.Context(), all[0].ID); err != nil || !slices.Equal(sent.names, []string{"pipeline"}) {
			t.Errorf("a portal took %v, %v", sent.names, err)
		}
	})
}
