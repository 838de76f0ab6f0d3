package portals_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
)

func installOf(t *testing.T, host, member, token, app string) portals.Install {
	t.Helper()
	a, refresh := pair(t, host, token)
	return portals.Install{MemberID: member, Access: a, Refresh: refresh, AppToken: bitrix.NewSecret(app)}
}

func mustInstall(t *testing.T, r *portals.Registry, in portals.Install, fresh bool, count int) portals.Portal {
	t.Helper()
	if err := r.MayInstall(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	got, err := r.Install(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if got.New != fresh || got.Count != count || !got.Portal.Installed || got.Portal.Gone != nil {
		t.Fatalf("got %+v, want new %v, count %d", got, fresh, count)
	}
	return got.Portal
}

func mustRefuse(t *testing.T, r *portals.Registry, in portals.Install, why string) {
	t.Helper()
	_, err := r.Install(t.Context(), in)
	for _, err := range []error{err, r.MayInstall(t.Context(), in)} {
		var no *portals.RefusedError
		if !errors.As(err, &no) || !strings.Contains(no.Reason, why) {
			t.Errorf("%v, want %q", err, why)
		}
	}
}

func TestInstall(t *testing.T) {
	onAll(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		in := installOf(t, "acme.bitrix24.ru", "M1", "t1", "app1")
		in.Plan, in.Limits = portals.Enterprise, ratelimit.Limits{}
		p := mustInstall(t, r, in, true, 1)
		if p.MemberID != "m1" || p.Kind != portals.OAuth || p.Generation != 1 || p.Limits != portals.PlanLimits(portals.Enterprise) ||
			p.ServerTimeout != portals.DefaultServerTimeout || p.Refresh.Reveal() != in.Refresh.Reveal() {
			t.Errorf("got %+v", p)
		}
		version, _ := r.Version(t.Context())
		mustInstall(t, r, in, false, 1)
		if v, _ := r.Version(t.Context()); v != version {
			t.Error("a repeat changed something")
		}
		a, refresh := pair(t, p.Name, "t2")
		if _, err := r.Renew(t.Context(), p.ID, 1, a, refresh, ""); err != nil {
			t.Fatal(err)
		}
		if again := mustInstall(t, r, in, false, 1); again.Generation != 2 || again.Credential != a.Fingerprint() {
			t.Errorf("a repeat brought dead tokens back: %+v", again)
		}
		if _, err := r.HoldCredential(t.Context(), p.ID, a.Fingerprint(), "invalid_grant", time.Now()); err != nil {
			t.Fatal(err)
		}
		in.Plan = portals.Standard
		in.Access, in.Refresh = pair(t, "acme2.bitrix24.ru", "t3")
		moved := mustInstall(t, r, in, false, 1)
		if moved.ID != p.ID || moved.Queue != p.Queue || moved.Limits != p.Limits || moved.Held != nil || moved.Generation != 3 || moved.Origin != p.Name {
			t.Errorf("got %+v", moved)
		}
		mustRefuse(t, r, installOf(t, "acme2.bitrix24.ru", "m1", "t4", "app2"), "application_token is not the known one")
		mustRefuse(t, r, installOf(t, "acme2.bitrix24.ru", "m2", "t4", "app2"), "belongs to another stored portal")
	})
}

func TestInstallOfAnImportedPortal(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		w := webhook(t, "hook.bitrix24.ru", "s")
		w.Limits.Burst = 9
		mustImport(t, r, portals.Imported{Added: 2}, w, oauth(t, "acme.bitrix24.ru", "m1", "t", "r"))
		hook, acme := mustFind(t, r, w.Name), mustFind(t, r, "m1")
		mustRefuse(t, r, installOf(t, "else.bitrix24.ru", "m1", "t1", "app"), "no application_token is known, and the host")
		if p := mustInstall(t, r, installOf(t, acme.Name, "m1", "t1", "app"), true, 1); p.ID != acme.ID {
			t.Errorf("got %+v", p)
		}
		p := mustInstall(t, r, installOf(t, w.Name, "m2", "t1", "app"), true, 1)
		if p.ID != hook.ID || p.Kind != portals.OAuth || p.Limits != w.Limits || p.ClientID != "" || p.MemberID != "m2" {
			t.Errorf("got %+v", p)
		}
		// The operator's file still says the webhook: it is what it was.
		mustImport(t, r, portals.Imported{Updated: 1}, w) // its client_id comes back
		if now := mustFind(t, r, w.Name); now.Kind != portals.OAuth || now.Generation != p.Generation {
			t.Errorf("got %+v", now)
		}
	})
}

func TestGoneAndBack(t *testing.T) {
	onAll(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		in := installOf(t, "acme.bitrix24.ru", "m1", "t1", "app1")
		p := mustInstall(t, r, in, true, 1)
		mustImport(t, r, portals.Imported{Added: 1}, oauth(t, "plain.bitrix24.ru", "m2", "t", "r"))
		at := time.UnixMilli(1_700_000_000_000).UTC()
		var no *portals.RefusedError
		if _, err := r.Uninstall(t.Context(), "m1", bitrix.NewSecret("app2"), at); !errors.As(err, &no) || strings.Contains(err.Error(), "app2") {
			t.Errorf("another application_token: %v", err)
		}
		if _, err := r.Uninstall(t.Context(), "m2", bitrix.NewSecret(""), at); !errors.As(err, &no) {
			t.Errorf("without any: %v", err)
		}
		if _, err := r.Uninstall(t.Context(), "m3", in.AppToken, at); !errors.Is(err, portals.ErrUnknown) {
			t.Errorf("nobody: %v", err)
		}
		// Portals go though their credentials do not open any more.
		lost := portals.New(client, mustKeys(t, portals.NewKey()), portals.Options{})
		for i := range 2 {
			gone, err := lost.Uninstall(t.Context(), "M1", in.AppToken, at.Add(time.Duration(i)*time.Hour))
			want := portals.Gone{Reason: "the application was uninstalled", Since: at}
			if err != nil || gone.Gone == nil || *gone.Gone != want || !gone.Access.IsZero() {
				t.Errorf("%+v, %v", gone, err)
			}
		}
		if held, err := r.Held(t.Context()); err != nil || len(held) != 0 {
			t.Errorf("Held = %v, %v", held, err)
		}
		// Another company may get its host, before it comes back from another.
		other := mustInstall(t, r, installOf(t, p.Name, "m9", "t", "app9"), true, 1)
		if got := mustFind(t, r, p.Name); got.ID != other.ID || other.ID == p.ID {
			t.Errorf("%s leads to %+v", p.Name, got)
		}
		mustRefuse(t, r, installOf(t, p.Name, "m1", "t2", "app2"), "belongs to another stored portal")
		back := mustInstall(t, r, installOf(t, "back.bitrix24.ru", "m1", "t2", "app2"), true, 2)
		if back.ID != p.ID || back.Queue != p.Queue {
			t.Errorf("got %+v", back)
		}
		if _, err := r.Uninstall(t.Context(), "m1", bitrix.NewSecret("app2"), at); err != nil {
			t.Fatal(err)
		}
		mustImport(t, r, portals.Imported{Updated: 1}, oauth(t, "back.bitrix24.ru", "m1", "t5", "r5"))
		if now := mustFind(t, r, "m1"); now.Gone != nil || now.Installed {
			t.Errorf("got %+v", now)
		}
		mustInstall(t, r, installOf(t, "back.bitrix24.ru", "m1", "t6", "app3"), true, 3)
		if all := broken(t.Context(), client, r); len(all) > 0 {
			t.Error(all)
		}
	})
}

func TestUselessInstalls(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		good := installOf(t, "acme.bitrix24.ru", "m1", "plantedAAA", "plantedBBB")
		for why, spoil := range map[string]func(*portals.Install){
			"member_id is missing":             func(in *portals.Install) { in.MemberID = "" },
			"member_id holds a space":          func(in *portals.Install) { in.MemberID = "m\n1" },
			"member_id is longer":              func(in *portals.Install) { in.MemberID = strings.Repeat("m", 300) },
			"application_token is missing":     func(in *portals.Install) { in.AppToken = bitrix.Secret{} },
			"host is missing":                  func(in *portals.Install) { in.Access = bitrix.Access{} },
			"a webhook is no application":      func(in *portals.Install) { in.Access = webhook(t, "a.bitrix24.ru", "plantedCCC").Access },
			"is not one of standard, enterpri": func(in *portals.Install) { in.Plan = "golden" },
			"burst must be a whole number":     func(in *portals.Install) { in.Limits = ratelimit.Limits{Rate: 2} },
		} {
			in := good
			spoil(&in)
			mustRefuse(t, r, in, why)
		}
		if n, err := r.Count(t.Context()); n != 0 || err != nil {
			t.Errorf("%d portals, %v", n, err)
		}
		none := portals.New(client, portals.Keyring{}, portals.Options{WithoutSecrets: true})
		if _, err := none.Install(t.Context(), good); !errors.Is(err, portals.ErrNoKey) {
			t.Errorf("without a key: %v", err)
		}
		got := mustInstall(t, r, good, true, 1)
		shown := fmt.Sprintf("%+v %#v %v", good, got, portals.Installed{Portal: got})
		for key, value := range client.HGetAll(t.Context(), keys+"records").Val() {
			shown += key + value
		}
		if strings.Contains(shown, "planted") {
			t.Errorf("a secret shows: %s", shown)
		}
	})
}
