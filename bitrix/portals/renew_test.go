package portals_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
)

func TestRenew(t *testing.T) {
	onAll(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		e := oauth(t, "acme.bitrix24.ru", "", "t1", "r1")
		mustImport(t, r, portals.Imported{Added: 2}, e, oauth(t, "evil.bitrix24.ru", "m2", "t", "r"))
		p := mustFind(t, r, e.Name)
		if p.Generation != 1 || p.Refresh.Reveal() != "r1" || p.Account != "oauth" {
			t.Fatalf("got %+v", p)
		}
		if _, err := r.HoldCredential(t.Context(), p.ID, p.Credential, "expired_token", time.Now()); err != nil {
			t.Fatal(err)
		}
		a, refresh := pair(t, "acme-new.bitrix24.ru", "t2")
		got, err := r.Renew(t.Context(), p.ID, 1, a, refresh, "M1")
		if err != nil || got.Name != "acme-new.bitrix24.ru" || got.Origin != e.Name || got.MemberID != "m1" || got.Generation != 2 ||
			got.Held != nil || got.Queue != p.Queue || got.Limits != p.Limits || got.Refresh.Reveal() != refresh.Reveal() {
			t.Errorf("%+v, %v", got, err)
		}
		for _, name := range []string{e.Name, "acme-new.bitrix24.ru", "m1"} {
			if mustFind(t, r, name).ID != p.ID {
				t.Errorf("%s leads elsewhere", name)
			}
		}
		// The file that was imported says the first host and the dead tokens.
		mustImport(t, r, portals.Imported{Unchanged: 1}, e)
		e.Limits.Burst = 7
		mustImport(t, r, portals.Imported{Updated: 1}, e)
		if now := mustFind(t, r, "m1"); now.Generation != 2 || now.Name != "acme-new.bitrix24.ru" || now.Limits.Burst != 7 {
			t.Errorf("got %+v", now)
		}
		if _, err := r.Renew(t.Context(), p.ID, 1, e.Access, refresh, ""); !errors.Is(err, portals.ErrChanged) {
			t.Errorf("an old generation: %v", err)
		}
		if _, err := r.Renew(t.Context(), "nobody", 1, a, refresh, ""); !errors.Is(err, portals.ErrUnknown) {
			t.Errorf("nobody: %v", err)
		}
		// An answer of another portal must not be stored.
		there, _ := pair(t, "evil.bitrix24.ru", "t3")
		for want, try := range map[string]func() error{
			"the new host of portal acme-new.bitrix24.ru belongs to the stored portal evil.bitrix24.ru": func() error {
				_, err := r.Renew(t.Context(), p.ID, 2, there, refresh, "m1")
				return err
			},
			"the new member_id of portal acme-new.bitrix24.ru belongs to the stored portal evil.bitrix24.ru": func() error {
				_, err := r.Renew(t.Context(), p.ID, 2, a, refresh, "m2")
				return err
			},
			"portal acme-new.bitrix24.ru is known with another member_id": func() error {
				_, err := r.Renew(t.Context(), p.ID, 2, a, refresh, "m3")
				return err
			},
			"the new host of portal acme-new.bitrix24.ru belongs to": func() error {
				at, _ := a.At("https", "evil.bitrix24.ru")
				_, err := r.Move(t.Context(), p.ID, 2, at)
				return err
			},
		} {
			var other *portals.ConflictError
			if err := try(); !errors.As(err, &other) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
		}
		if all := broken(t.Context(), client, r); len(all) > 0 {
			t.Error(all)
		}
	})
}

func TestOperatorsHoldStands(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		mustImport(t, r, portals.Imported{Added: 1}, oauth(t, "acme.bitrix24.ru", "m1", "t", "r"))
		p := mustFind(t, r, "m1")
		since := time.UnixMilli(1_700_000_000_000).UTC()
		if err := r.Hold(t.Context(), p.ID, "debt", since); err != nil {
			t.Fatal(err)
		}
		if held, err := r.HoldCredential(t.Context(), p.ID, p.Credential, "refused", time.Now()); !held || err != nil {
			t.Errorf("%v, %v", held, err)
		}
		a, refresh := pair(t, p.Name, "t2")
		renewed, err := r.Renew(t.Context(), p.ID, 1, a, refresh, "")
		if err != nil {
			t.Fatal(err)
		}
		b, refresh := pair(t, p.Name, "t3")
		installed, err := r.Install(t.Context(), portals.Install{MemberID: "m1", Access: b, Refresh: refresh, AppToken: bitrix.NewSecret("app")})
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range []portals.Portal{renewed, installed.Portal, mustFind(t, r, "m1")} {
			if want := (portals.Hold{Reason: "debt", Since: since, ByOperator: true}); got.Held == nil || *got.Held != want {
				t.Errorf("held %v", got.Held)
			}
		}
		mustImport(t, r, portals.Imported{Updated: 1}, oauth(t, p.Name, "m1", "t4", "r4"))
		if mustFind(t, r, "m1").Held != nil {
			t.Error("an import of new credentials does not end it")
		}
	})
}

func TestMoveWithAWebhook(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		e := webhook(t, "acme.bitrix24.ru", "s")
		mustImport(t, r, portals.Imported{Added: 1}, e)
		p := mustFind(t, r, e.Name)
		there, err := p.Access.At("https", "acme2.bitrix24.ru")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Renewing(t.Context(), p.ID, 1); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			got, err := r.Move(t.Context(), p.ID, 1, there)
			if err != nil || got.Name != "acme2.bitrix24.ru" || got.Generation != 1 || got.Account != p.Account || got.Credential == p.Credential || got.Renewals != 1 {
				t.Errorf("%+v, %v", got, err)
			}
		}
		other, _ := bitrix.ParseWebhook("https://acme3.bitrix24.ru/rest/1/other/")
		if _, err := r.Move(t.Context(), p.ID, 1, other); !errors.Is(err, portals.ErrChanged) {
			t.Errorf("another webhook: %v", err)
		}
		// Rows and files go on saying the old host, and are no second portal.
		mustImport(t, r, portals.Imported{Unchanged: 1}, e)
		// A portal of another company gets the old host: the name is its own.
		mustInstall(t, r, installOf(t, e.Name, "m9", "t", "app"), true, 1)
		if got := mustFind(t, r, e.Name); got.ID == p.ID || got.MemberID != "m9" {
			t.Errorf("the old host leads to %+v", got)
		}
		if all := broken(t.Context(), client, r); len(all) > 0 {
			t.Error(all)
		}
	})
}

func TestRenewals(t *testing.T) {
	onAll(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		e := oauth(t, "acme.bitrix24.ru", "m1", "t", "r")
		mustImport(t, r, portals.Imported{Added: 1}, e)
		p := mustFind(t, r, "m1")
		for want := range 3 {
			if n, err := r.Renewing(t.Context(), p.ID, 1); n != want || err != nil {
				t.Errorf("%d earlier trades, %v, want %d", n, err, want)
			}
		}
		if err := r.NotRenewed(t.Context(), p.ID, 1); err != nil {
			t.Fatal(err)
		}
		e.Limits.Rate = 3 // what an import changes has nothing to do with it
		mustImport(t, r, portals.Imported{Updated: 1}, e)
		if n := mustFind(t, r, "m1").Renewals; n != 2 {
			t.Errorf("%d trades", n)
		}
		if _, err := r.Renewing(t.Context(), p.ID, 2); !errors.Is(err, portals.ErrChanged) {
			t.Errorf("another generation: %v", err)
		}
		if _, err := r.Renewing(t.Context(), "nobody", 1); !errors.Is(err, portals.ErrUnknown) {
			t.Errorf("nobody: %v", err)
		}
		a, refresh := pair(t, e.Name, "t2")
		if got, err := r.Renew(t.Context(), p.ID, 1, a, refresh, ""); err != nil || got.Renewals != 0 {
			t.Errorf("%+v, %v", got, err)
		}
		if err := r.NotRenewed(t.Context(), p.ID, 1); err != nil {
			t.Errorf("late: %v", err)
		}
		if n, err := r.Renewing(t.Context(), p.ID, 2); n != 0 || err != nil {
			t.Errorf("%d earlier trades of the new pair, %v", n, err)
		}
	})
}

// twice sends every script again, as the client does when an answer is lost.
type twice struct{ redis.Hook }

func (twice) DialHook(next redis.DialHook) redis.DialHook { return next }

func (twice) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (twice) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if slices.Contains([]string{"evalsha", "eval"}, cmd.Name()) && err == nil {
			err = next(ctx, cmd)
		}
		return err
	}
}

func TestLostAnswersAreNoChanges(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		client.(*redis.Client).AddHook(twice{})
		r := newRegistry(t, client)
		a, refresh := pair(t, "acme.bitrix24.ru", "t1")
		in := portals.Install{MemberID: "m1", Access: a, Refresh: refresh, AppToken: bitrix.NewSecret("app")}
		got, err := r.Install(t.Context(), in)
		if err != nil || !got.New || got.Count != 1 {
			t.Errorf("%+v, %v", got, err)
		}
		b, refresh := pair(t, "acme.bitrix24.ru", "t2")
		renewed, err := r.Renew(t.Context(), got.Portal.ID, 1, b, refresh, "")
		if err != nil || renewed.Generation != 2 {
			t.Errorf("%+v, %v", renewed, err)
		}
		there, _ := b.At("https", "acme2.bitrix24.ru")
		if moved, err := r.Move(t.Context(), got.Portal.ID, 2, there); err != nil || moved.Name != "acme2.bitrix24.ru" {
			t.Errorf("%+v, %v", moved, err)
		}
		if gone, err := r.Uninstall(t.Context(), "m1", in.AppToken, time.Now()); err != nil || gone.Gone == nil {
			t.Errorf("%+v, %v", gone, err)
		}
	})
}

func TestANoteThatRedisTakesTwiceCountsOnce(t *testing.T) {
	onAll(t, func(t *testing.T, client redis.UniversalClient) {
		client.AddHook(twice{})
		r := newRegistry(t, client)
		e := oauth(t, "acme.bitrix24.ru", "", "t1", "r1")
		mustImport(t, r, portals.Imported{Unchanged: 1}, e) // found there the second time
		p := mustFind(t, r, e.Name)
		for want := range 3 {
			if n, err := r.Renewing(t.Context(), p.ID, 1); n != want || err != nil {
				t.Errorf("%d, %v; want %d", n, err, want)
			}
		}
		for want := 2; want >= 0; want-- {
			if err := r.NotRenewed(t.Context(), p.ID, 1); err != nil {
				t.Error(err)
			}
			if now := mustFind(t, r, e.Name); now.Renewals != want {
				t.Errorf("%d notes; want %d", now.Renewals, want)
			}
		}
	})
}
