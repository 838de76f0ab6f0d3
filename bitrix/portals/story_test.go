package portals_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit/redistest"
)

// TestRegistryIsItsModel tells the registry and its model the same random
// stories, and compares all that can be seen after each step.
func TestRegistryIsItsModel(t *testing.T) {
	t.Parallel()
	client := redistest.Client(t, "redis://"+miniredis.RunT(t).Addr())
	one, two, strange := portals.NewKey(), portals.NewKey(), portals.NewKey()
	registries := []*portals.Registry{
		portals.New(client, mustKeys(t, one+","+two+","+strange), portals.Options{}),
		portals.New(client, mustKeys(t, two+","+one+","+strange), portals.Options{}),
	}
	stranger := portals.New(client, mustKeys(t, strange), portals.Options{})
	rapid.Check(t, func(t *rapid.T) {
		if err := client.FlushAll(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
		s := &story{t: t, ctx: context.Background(), client: client, w: newWorld(), registries: registries, stranger: stranger,
			cache: portals.NewCache(registries[0], 0)}
		t.Repeat(map[string]func(*rapid.T){
			"import": s.doImport, "renew": s.doRenew, "move": s.doMove, "install": s.doInstall,
			"uninstall": s.doUninstall, "remove": s.doRemove, "hold": s.doHold, "renewing": s.doRenewing,
			"rekey": s.doRekey, "refresh": s.doRefresh, "": s.compare,
		})
	})
}

type story struct {
	t          *rapid.T
	ctx        context.Context
	client     redis.UniversalClient
	w          *world
	registries []*portals.Registry
	stranger   *portals.Registry // does not open what the others have sealed
	cache      *portals.Cache
	made       int // tokens that the authorization server made
}

var (
	storyHosts   = []string{"a.bitrix24.ru", "b.bitrix24.ru", "c.bitrix24.ru"}
	storyMembers = []string{"m1", "m2", "m3"}
	storyNow     = time.UnixMilli(1_700_000_000_000).UTC()
)

// any is one of the ways to the same registry.
func (s *story) any() *portals.Registry {
	s.w.strange = false
	return s.registries[rapid.IntRange(0, len(s.registries)-1).Draw(s.t, "registry")]
}

// whoever is one that brings credentials: one of those that hold all keys, or
// the stranger.
func (s *story) whoever() *portals.Registry {
	stranger := rapid.IntRange(0, 3).Draw(s.t, "stranger") == 0
	if r := s.any(); !stranger {
		return r
	}
	s.w.strange = true
	return s.stranger
}

func (s *story) draw(label string, from ...string) string {
	return rapid.SampledFrom(from).Draw(s.t, label)
}

// company draws one of the portals, or none.
func (s *story) company() (*company, string) {
	if len(s.w.all) == 0 || rapid.IntRange(0, 30).Draw(s.t, "nobody") == 0 {
		return nil, "0000000000000000"
	}
	p := s.w.all[rapid.IntRange(0, len(s.w.all)-1).Draw(s.t, "portal")]
	return p, p.id
}

// generation draws the present generation of a portal, mostly.
func (s *story) generation(p *company) int64 {
	if p == nil {
		return 1
	}
	return max(1, p.generation+rapid.SampledFrom([]int64{0, 0, 0, 0, -1, 1}).Draw(s.t, "generation"))
}

// fresh is a pair of tokens that nobody has seen.
func (s *story) fresh(host string) creds {
	s.made++
	return creds{host: host, secret: fmt.Sprint("token", s.made), refresh: fmt.Sprint("refresh", s.made)}
}

// pair draws a pair of tokens as somebody brings it: one of a few, or the
// present one of a portal.
func (s *story) pair() creds {
	if p, _ := s.company(); p != nil && !p.now.webhook && rapid.Bool().Draw(s.t, "present") {
		return creds{p.host, p.now.secret, p.now.refresh, false}
	}
	n := s.draw("pair", "1", "2", "3")
	return creds{s.draw("host", storyHosts...), "t" + n, "r" + n, false}
}

func access(t rapid.TB, b creds) bitrix.Access {
	a, err := bitrix.NewOAuth(b.host, b.secret)
	if b.webhook {
		a, err = bitrix.ParseWebhook("https://" + b.host + "/rest/1/" + b.secret + "/")
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// outcome is an error in the model's words; "" for one that it does not know.
func outcome(err error) string {
	var file *portals.FileError
	var sealed *portals.ClosedError
	var no *portals.RefusedError
	var other *portals.ConflictError
	switch {
	case err == nil:
		return done
	case errors.As(err, &file), errors.As(err, &no):
		return refused
	case errors.As(err, &sealed):
		return closed
	case errors.As(err, &other):
		return conflict
	case errors.Is(err, portals.ErrChanged):
		return changed
	case errors.Is(err, portals.ErrUnknown):
		return unknown
	}
	return ""
}

func (s *story) expect(got error, want string) bool {
	s.t.Helper()
	if o := outcome(got); o != want {
		s.t.Fatalf("%s (%v), want %s", o, got, want)
	}
	return want == done
}

func (s *story) doImport(t *rapid.T) {
	s.t = t
	b, client := s.pair(), ""
	if rapid.Bool().Draw(t, "webhook") {
		b, client = creds{b.host, "s" + b.secret, "", true}, "app.1"
	}
	member := s.draw("member", append(storyMembers, "")...)
	l := portals.PlanLimits(portals.Standard)
	l.Burst = rapid.IntRange(50, 51).Draw(t, "burst")
	r, lostKey := s.whoever(), rapid.Bool().Draw(t, "lost key")
	bring := r.Import
	if lostKey {
		bring = r.ImportLostKey
	}
	_, err := bring(s.ctx, []portals.Entry{{Name: b.host, MemberID: member, ClientID: client, Plan: portals.Standard, Limits: l,
		ServerTimeout: portals.DefaultServerTimeout, Access: access(t, b), RefreshToken: portals.NewSecret(b.refresh)}})
	if s.expect(err, s.w.importing(member, b, client, l.Burst, lostKey)) {
		s.learn(s.w.names[b.host])
		s.learn(s.w.members[member])
	}
}

// learn takes over the id that the registry gave.
func (s *story) learn(p *company) {
	if p == nil || p.id != "" {
		return
	}
	found, err := s.registries[0].Find(s.ctx, p.host)
	if err != nil {
		s.t.Fatal(err)
	}
	p.id = found.ID
}

func (s *story) doRenew(t *rapid.T) {
	s.t = t
	p, id := s.company()
	b := s.fresh(s.draw("host", storyHosts...))
	if p != nil && rapid.Bool().Draw(t, "same host") {
		b.host = p.host
	}
	generation := s.generation(p)
	if p != nil && !p.now.webhook && rapid.IntRange(0, 9).Draw(t, "again") == 0 {
		b, generation = creds{p.host, p.now.secret, p.now.refresh, false}, p.generation-1
	}
	member := s.draw("member", append(storyMembers, "", "", "")...)
	got, err := s.any().Renew(s.ctx, id, generation, access(t, b), portals.NewSecret(b.refresh), member)
	if s.expect(err, s.w.renew(p, generation, member, b)) {
		s.same(got, p)
	}
}

func (s *story) doMove(t *rapid.T) {
	s.t = t
	p, id := s.company()
	b := s.pair()
	if p != nil {
		b.secret, b.webhook = p.now.secret, p.now.webhook
	}
	if rapid.IntRange(0, 9).Draw(t, "another secret") == 0 {
		b.secret = "another"
	}
	generation := s.generation(p)
	got, err := s.any().Move(s.ctx, id, generation, access(t, b))
	if s.expect(err, s.w.move(p, generation, b)) {
		s.same(got, p)
	}
}

func (s *story) doInstall(t *rapid.T) {
	s.t = t
	b := s.pair()
	member, app := s.draw("member", storyMembers...), s.draw("application_token", "app1", "app2")
	in := portals.Install{MemberID: member, Access: access(t, b), Refresh: portals.NewSecret(b.refresh), AppToken: portals.NewSecret(app)}
	may := s.any().MayInstall(s.ctx, in)
	got, err := s.whoever().Install(s.ctx, in)
	p, fresh, want := s.w.install(member, app, b)
	s.expect(may, want)
	if s.expect(err, want) {
		s.learn(p)
		if got.New != fresh || got.Count != p.installs {
			t.Fatalf("new %v, count %d, want %v, %d", got.New, got.Count, fresh, p.installs)
		}
		s.same(got.Portal, p)
	}
}

func (s *story) doUninstall(t *rapid.T) {
	s.t = t
	member, app := s.draw("member", storyMembers...), s.draw("application_token", "app1", "app2")
	_, err := s.any().Uninstall(s.ctx, member, portals.NewSecret(app), storyNow)
	s.expect(err, s.w.uninstall(member, app))
}

func (s *story) doRemove(t *rapid.T) {
	s.t = t
	if rapid.Bool().Draw(t, "rather not") {
		return
	}
	p, id := s.company()
	s.expect(s.any().Remove(s.ctx, id), s.w.remove(p))
}

func (s *story) doHold(t *rapid.T) {
	s.t = t
	p, id := s.company()
	if p == nil {
		s.expect(s.any().Hold(s.ctx, id, "x", storyNow), unknown)
		return
	}
	h := portals.Hold{Reason: s.draw("reason", "one", "two"), Since: storyNow.Add(time.Duration(s.made) * time.Second)}
	switch s.draw("who", "operator", "worker", "late worker", "release") {
	case "operator":
		h.ByOperator = true
		s.expect(s.any().Hold(s.ctx, id, h.Reason, h.Since), s.w.hold(p, h))
	case "worker":
		held, err := s.any().HoldCredential(s.ctx, id, access(t, creds{p.host, p.now.secret, "", p.now.webhook}).Fingerprint(), h.Reason, h.Since)
		if s.expect(err, s.w.hold(p, h)); !held {
			t.Fatal("not held")
		}
	case "late worker":
		if held, err := s.any().HoldCredential(s.ctx, id, "0123456789abcdef", h.Reason, h.Since); held || err != nil {
			t.Fatal(held, err)
		}
	case "release":
		s.expect(s.any().Release(s.ctx, id), done)
		if _, held := s.w.holds[p]; held {
			s.w.loud = true
		}
		delete(s.w.holds, p)
	}
}

func (s *story) doRenewing(t *rapid.T) {
	s.t = t
	p, id := s.company()
	generation := s.generation(p)
	if rapid.Bool().Draw(t, "back") {
		s.w.renewing(p, generation, -1)
		s.expect(s.any().NotRenewed(s.ctx, id, generation), done)
		return
	}
	want, o := s.w.renewing(p, generation, 1)
	got, err := s.any().Renewing(s.ctx, id, generation)
	if s.expect(err, o); got != want {
		t.Fatalf("%d earlier trades, want %d", got, want)
	}
}

func (s *story) doRekey(t *rapid.T) {
	s.t = t
	r := s.any()
	if _, total, err := r.Rekey(s.ctx); err != nil || total != len(s.w.all) {
		t.Fatalf("%d of %d, %v", total, len(s.w.all), err)
	}
	if n, _, err := r.Rekey(s.ctx); err != nil || n != 0 {
		t.Fatalf("a second time %d, %v", n, err)
	}
	for _, p := range s.w.all {
		p.strange = false
	}
}

// doRefresh checks that the cache tells what it must, and then knows all.
func (s *story) doRefresh(t *rapid.T) {
	s.t = t
	got, err := s.cache.Refresh(s.ctx)
	if err != nil || got != s.w.loud {
		t.Fatalf("changed %v, %v, want %v", got, err, s.w.loud)
	}
	s.w.loud = false
	want := 0
	for _, p := range s.w.all {
		got, err := s.cache.Get(s.ctx, p.id)
		if err != nil {
			t.Fatal(err)
		}
		if got.Gone == nil {
			want++
		}
		got.Renewals = s.notes(p)
		s.same(got, p)
	}
	if n := s.cache.Len(); n != want {
		t.Fatalf("%d portals kept of %d that are not gone", n, want)
	}
}

func (s *story) notes(p *company) int {
	if n := s.w.notes[p]; n.generation == p.generation {
		return n.count
	}
	return 0
}

// same compares a portal with its model.
func (s *story) same(got portals.Portal, p *company) {
	s.t.Helper()
	a := access(s.t, creds{p.host, p.now.secret, "", p.now.webhook})
	want := portals.Portal{ID: p.id, Name: p.host, Queue: got.Queue, Kind: portals.OAuth, ClientID: p.client, MemberID: p.member,
		Plan: portals.Standard, Limits: portals.PlanLimits(portals.Standard), ServerTimeout: portals.DefaultServerTimeout,
		Origin: p.origin, Credential: a.Fingerprint(), Account: a.Account(), Generation: p.generation,
		Renewals: s.notes(p), Installed: p.app != ""}
	want.Limits.Burst = p.burst
	if p.now.webhook {
		want.Kind = portals.Webhook
	}
	if h, ok := s.w.holds[p]; ok {
		want.Held = &h
	}
	if p.gone {
		want.Gone = &portals.Gone{Reason: "the application was uninstalled", Since: storyNow}
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(portals.Portal{}, "Access", "Refresh")); diff != "" {
		s.t.Fatal(diff)
	}
	if got.Access.Fingerprint() != a.Fingerprint() || got.Refresh.Reveal() != p.now.refresh {
		s.t.Fatal("it opens to other credentials")
	}
}

// compare looks at everything.
func (s *story) compare(t *rapid.T) {
	s.t = t
	r := s.registries[0]
	n := 0
	if err := r.Each(s.ctx, func(got portals.Portal) error {
		n++
		for _, p := range s.w.all {
			if p.id == got.ID {
				s.same(got, p)
				return nil
			}
		}
		return fmt.Errorf("%+v should not be there", got)
	}); err != nil || n != len(s.w.all) {
		t.Fatalf("%d portals, %v, want %d", n, err, len(s.w.all))
	}
	for _, name := range append(storyHosts, storyMembers...) {
		p, err := r.Find(s.ctx, name)
		want := s.w.find(name)
		if want == nil && !errors.Is(err, portals.ErrUnknown) || want != nil && p.ID != want.id {
			t.Fatalf("%s leads to %q, %v, want %+v", name, p.ID, err, want)
		}
	}
	held, err := r.Held(s.ctx)
	if err != nil || len(held) != len(s.w.holds) {
		t.Fatalf("held %v, %v, want %v", held, err, s.w.holds)
	}
	if all := broken(s.ctx, s.client, r); len(all) > 0 {
		t.Fatal(all)
	}
}
