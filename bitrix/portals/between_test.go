// What happens between a read and what follows it, made to happen.

package portals_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
	"botfleet/ratelimit/redistest"
)

// between calls script once before a script, and read once after a pipeline of
// reads was answered.
type between struct {
	redis.Hook
	script, read func()
}

func once(f *func()) {
	if g := *f; g != nil {
		*f = nil
		g()
	}
}

func (b *between) DialHook(next redis.DialHook) redis.DialHook { return next }

func (b *between) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if cmds[0].Name() == "multi" { // and not what a new connection begins with
			once(&b.read)
		}
		return err
	}
}

func (b *between) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.HasPrefix(cmd.Name(), "eval") {
			once(&b.script)
		}
		return next(ctx, cmd)
	}
}

// hooked is the same registry over the same client, through a hook that r does
// not pass.
func hooked(t *testing.T, client redis.UniversalClient, hook redis.Hook, key string) *portals.Registry {
	t.Helper()
	other := redistest.Client(t, "redis://"+client.(*redis.Client).Options().Addr)
	other.AddHook(hook)
	return portals.New(other, mustKeys(t, key), portals.Options{})
}

// A portal that is gone loses its host to another one, unless it comes back
// just before.
func TestWhoComesBackFirstKeepsTheHost(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		key, hook := portals.NewKey(), &between{}
		r, slow := portals.New(client, mustKeys(t, key), portals.Options{}), hooked(t, client, hook, key)
		in := installOf(t, "acme.bitrix24.ru", "m1", "t1", "app1")
		p := mustInstall(t, r, in, true, 1)
		if _, err := r.Uninstall(t.Context(), "m1", in.AppToken, time.Now()); err != nil {
			t.Fatal(err)
		}
		hook.script = func() { mustInstall(t, r, in, true, 2) }
		var no *portals.RefusedError
		if got, err := slow.Install(t.Context(), installOf(t, p.Name, "m9", "t", "app9")); !errors.As(err, &no) {
			t.Errorf("%+v, %v", got, err)
		}
		if mustFind(t, r, p.Name).ID != p.ID {
			t.Error("it lost its host")
		}
		if all := broken(t.Context(), client, r); len(all) > 0 {
			t.Error(all)
		}
	})
}

// The id of a removed portal must not come back: who still has its generation
// would take the new portal for the old one.
func TestRemovedIDsAreNotUsedAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		key, hook := portals.NewKey(), &between{}
		r, slow := portals.New(client, mustKeys(t, key), portals.Options{}), hooked(t, client, hook, key)
		e := oauth(t, "acme.bitrix24.ru", "m1", "t", "r")
		mustImport(t, r, portals.Imported{Added: 1}, e)
		p := mustFind(t, r, "m1")
		remove := func() {
			if err := r.Remove(t.Context(), p.ID); err != nil {
				t.Error(err)
			}
		}
		hook.script = remove
		mustImport(t, slow, portals.Imported{Added: 1}, oauth(t, e.Name, "m1", "t2", "r2"))
		if now := mustFind(t, r, "m1"); now.ID == p.ID {
			t.Error("the id is used again")
		}
		// Names may lead to nobody, when a record was lost or could not be read.
		p = mustFind(t, r, "m1")
		client.HDel(t.Context(), keys+"records", p.ID)
		mustImport(t, r, portals.Imported{Added: 1}, e)
		if now := mustFind(t, r, "m1"); now.ID == p.ID || now.Name != e.Name {
			t.Errorf("got %+v", now)
		}
		a, refresh := pair(t, e.Name, "t3")
		if _, err := r.Renew(t.Context(), p.ID, 1, a, refresh, ""); !errors.Is(err, portals.ErrUnknown) {
			t.Errorf("a renewal of the removed portal: %v", err)
		}
		if all := broken(t.Context(), client, r); len(all) > 0 {
			t.Error(all)
		}
	})
}

func TestCacheDoesNotKeepWhatChangedWhileItWasRead(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		key, hook := portals.NewKey(), &between{}
		r, slow := portals.New(client, mustKeys(t, key), portals.Options{}), hooked(t, client, hook, key)
		e := oauth(t, "acme.bitrix24.ru", "m1", "t", "r")
		mustImport(t, r, portals.Imported{Added: 1}, e)
		p := mustFind(t, r, "m1")
		c := portals.NewCache(slow, 0)
		if _, err := c.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		hook.read = func() {
			a, refresh := pair(t, e.Name, "t2")
			if _, err := r.Renew(t.Context(), p.ID, 1, a, refresh, ""); err != nil {
				t.Error(err)
			}
			if _, err := c.Refresh(t.Context()); err != nil {
				t.Error(err)
			}
		}
		for generation := range 2 {
			if got, err := c.Get(t.Context(), p.ID); err != nil || got.Generation != int64(generation)+1 {
				t.Errorf("%+v, %v", got, err)
			}
		}
	})
}

// Between a move and its store the portal gets new tokens: the move must not
// bring the old ones back.
func TestMovesDoNotUndoImports(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		key, hook := portals.NewKey(), &between{}
		r, slow := portals.New(client, mustKeys(t, key), portals.Options{}), hooked(t, client, hook, key)
		mustImport(t, r, portals.Imported{Added: 1}, oauth(t, "acme.bitrix24.ru", "m1", "t", "r"))
		p := mustFind(t, r, "m1")
		there, err := p.Access.At("https", "acme2.bitrix24.ru")
		if err != nil {
			t.Fatal(err)
		}
		hook.script = func() {
			mustImport(t, r, portals.Imported{Updated: 1}, oauth(t, "acme.bitrix24.ru", "m1", "t2", "r2"))
		}
		if _, err := slow.Move(t.Context(), p.ID, p.Generation, there); !errors.Is(err, portals.ErrChanged) {
			t.Error(err)
		}
	})
}
