// Calls that are repeated, as the gate sees them.

package engine

import (
	"errors"
	"slices"
	"testing"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/ratelimit"
)

// signedIn returns the stored portal acme, and makes one call to it.
func signedIn(t *testing.T, box *sandbox.Sandbox, gate ratelimit.Gate) (*Base, portals.Portal, error) {
	t.Helper()
	b, cfg := opened(t, key())
	imported(t, b, acme)
	caller, end, err := b.SignIn(cfg, SignInOptions{Transport: box.Transport(), Gate: gate})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	opened, err := b.OpenedRegistry(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p, err := opened.Find(t.Context(), "acme.bitrix24.ru")
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = caller.Bots(t.Context(), &p, "app")
	return b, p, err
}

func TestRepeatsAreCharged(t *testing.T) {
	like := sandbox.Cloud("acme.bitrix24.ru")
	like.RenamedTo = "new.bitrix24.ru"
	gate := ratelimit.NewLocal(ratelimit.Config{})
	b, p, err := signedIn(t, sandbox.Start(t, sandbox.WithPortals(like)), gate)
	if err != nil {
		t.Fatal(err)
	}
	s, known, err := gate.State(t.Context(), p.ID)
	if full := float64(p.Limits.Burst - ratelimit.DefaultParallel); err != nil || !known || s.Tokens >= full {
		t.Errorf("%+v, %v, %v: the repeat was not charged", s, known, err)
	}
	if now, err := b.Registry.Get(t.Context(), p.ID); err != nil || now.Name != "new.bitrix24.ru" {
		t.Errorf("stored at %s, %v", now.Name, err)
	}
}

// A portal that redirects to another one does not get its name: that one's owner
// can import it.
func TestNoNameIsStolen(t *testing.T) {
	victim := sandbox.Cloud("new.bitrix24.ru")
	victim.AnyWebhook, victim.Webhooks = false, []sandbox.Webhook{{User: "1", Secret: "itsown"}}
	box := sandbox.Start(t, sandbox.WithPortals(sandbox.Cloud("acme.bitrix24.ru"), victim))
	if err := box.Portal("acme.bitrix24.ru").Rename("new.bitrix24.ru"); err != nil {
		t.Fatal(err)
	}
	box.AddPortal(victim)
	b, p, err := signedIn(t, box, nil)
	if e, ok := errors.AsType[*bitrix.Error](err); !ok || e.Class != bitrix.Blocked || e.Credential != p.Credential {
		t.Fatalf("%v", err)
	}
	imported(t, b, "new.bitrix24.ru,https://new.bitrix24.ru/rest/1/itsown/,app\n")
	var names []string
	err = b.Registry.Each(t.Context(), func(p portals.Portal) error {
		names = append(names, p.Name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if slices.Sort(names); !slices.Equal(names, []string{"acme.bitrix24.ru", "new.bitrix24.ru"}) {
		t.Errorf("stored are %v", names)
	}
}
