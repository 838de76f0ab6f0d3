package onboard

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/ratelimit/redistest"
)

func TestInstall(t *testing.T) {
	redistest.Both(t, func(t *testing.T, client redis.UniversalClient, _ string) {
		s := newStand(t, client, inBox(), nil).started()
		form := s.box.Install(acme)
		s.deliver(form)
		s.becomes("install", "installed", 1)
		p := s.portal(acme)
		if !p.Installed || p.Held != nil || p.Gone != nil || p.Kind != portals.OAuth || p.MemberID != s.box.Portal(acme).MemberID() {
			t.Errorf("stored as %+v", p)
		}
		if _, token := p.Access.Reveal(); token != form.Get("auth[access_token]") || p.Refresh.Reveal() != form.Get("auth[refresh_token]") {
			t.Error("stored with other tokens")
		}
		s.hasBots(p, 1, 2)
		s.logged("level=INFO", "event=install", "outcome=installed", "host="+acme, "member_id="+p.MemberID)
		s.hides(secretsOf(form)...)

		// Sent again it costs nothing, while it is remembered and afterwards; and a
		// later list of bots is for later installs.
		s.bots.set(append(twoBots(), bitrix.Bot{Code: "late", EventHandler: "https://bots.example.com/events", Properties: bitrix.Properties{Name: "Late"}}), nil)
		for range 2 {
			s.deliver(form)
			forgetEvents(s)
		}
		s.deliver(form)
		s.becomes("install", "installed", 3)
		s.hasBots(p, 1, 2)
		if n := s.prover.all(); n != 1 {
			t.Errorf("%d proofs", n)
		}
	})
}

// forgetEvents does what ten minutes do.
func forgetEvents(s *stand) {
	s.t.Helper()
	await(s.t, "the events to be done", func() bool {
		info, err := s.inspector.GetQueueInfo(Queue)
		return err == nil && info.Size == info.Completed
	})
	if _, err := s.inspector.DeleteAllCompletedTasks(Queue); err != nil {
		s.t.Fatal(err)
	}
}

func TestOneInstallManyTimesAtOnce(t *testing.T) {
	redistest.Both(t, func(t *testing.T, client redis.UniversalClient, _ string) {
		s := newStand(t, client, inBox(), nil).started()
		second := newStand(t, client, s.box, nil).started() // another worker
		form := s.box.Install(acme).Encode()
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				at := []*stand{s, second}[i%2]
				if got := whole(t, at.post(form)); got != answerOK {
					t.Error(got)
				}
			})
		}
		all.Wait()
		await(t, "the install", func() bool {
			return s.meter.all()["install installed"]+second.meter.all()["install installed"] == 1
		})
		if n, err := s.registry.Count(t.Context()); n != 1 || err != nil {
			t.Errorf("%d portals, %v", n, err)
		}
		s.hasBots(s.portal(acme), 1, 2)
		if n := s.prover.all() + second.prover.all(); n != 1 {
			t.Errorf("%d proofs", n)
		}
	})
}

// Worked on by many at once, as after a lost acknowledgement: still one install.
func TestOneInstallWorkedOnAtOnce(t *testing.T) {
	s := newStand(t, realRedis(t), inBox(), nil)
	e := parsed(t, s.box.Install(acme).Encode())
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			_, err := s.install(t.Context(), e)
			if _, early := errors.AsType[*delay](err); err != nil && !early { // of the proofs only some get through
				t.Error(err)
			}
		})
	}
	all.Wait()
	s.hasBots(s.portal(acme), 1, 2)
}

// A crash, or Redis away, at any step after the portal was stored.
func TestInstallGoesOnAfterFailures(t *testing.T) {
	for name, failing := range map[string]*failingSubmitter{
		"before the bots are submitted": {before: 1},
		"after they are":                {after: 1},
		"again and again":               {before: 2, after: 2},
		"with a panic":                  {before: 1, panics: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t, realRedis(t), inBox(), nil).started()
			failures := failing.before + failing.after
			failing.next = s.submitter.next
			s.cfg.Submitter = failing
			s.deliver(s.box.Install(acme))
			for range failures {
				s.hurry()
			}
			s.becomes("install", "installed", 1)
			s.hasBots(s.portal(acme), 1, 2)
			if n := s.prover.all(); n != 1 {
				t.Errorf("%d proofs", n)
			}
		})
	}
}

func TestBotsThatCannotBeRead(t *testing.T) {
	s := newStand(t, realRedis(t), inBox(), nil).started()
	s.bots.set(nil, errors.New("line 3 is broken"))
	s.deliver(s.box.Install(acme))
	s.becomes("install", "put off", 1)
	s.logged("level=WARN", "put off", "line 3 is broken", "host="+acme)
	if !s.portal(acme).Installed {
		t.Error("the portal is not stored")
	}
	s.bots.set(twoBots()[:1], nil)
	s.hurry()
	s.becomes("install", "installed", 1)
	s.hasBots(s.portal(acme), 1, 1)
}

func TestBotsThatChangeMeanwhile(t *testing.T) {
	s := newStand(t, realRedis(t), inBox(), nil).started()
	s.submitter.after = 1
	s.deliver(s.box.Install(acme))
	s.becomes("install", "put off", 1)
	changed := twoBots()
	changed[1].Code = "another"
	extra := twoBots()[0]
	extra.Code = "extra"
	s.bots.set(append(changed, extra), nil)
	s.hurry()
	s.becomes("install", "installed", 1)
	s.hasBots(s.portal(acme), 1, 3)
	s.logged("level=WARN", "the bots changed")
	// The next portal gets the new ones.
	s.deliver(s.box.Install("other.bitrix24.ru"))
	s.becomes("install", "installed", 2)
	if info := s.run(s.portal("other.bitrix24.ru"), 1); info.Counts.Waiting != 3 {
		t.Errorf("run %+v", info)
	}
}

func TestNoBots(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"none configured": func(c *Config) { c.Bots, c.Submitter, c.Runs, c.Inspector = nil, nil, nil, nil },
		"an empty list":   func(c *Config) { c.Bots = &botList{} },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t, realRedis(t), inBox(), change).started()
			s.deliver(s.box.Install(acme))
			s.becomes("install", "installed", 1)
			if list, err := s.runs.List(t.Context(), 10); len(list) != 0 || err != nil {
				t.Errorf("runs %+v, %v", list, err)
			}
		})
	}
}

// What has to end without any request to anybody, and what after one.
func TestInstallsThatAreRefused(t *testing.T) {
	s := newStand(t, realRedis(t), inBox(), nil).started()
	genuine := s.box.Install(acme)
	others := s.box.Install("other.bitrix24.ru")
	n := 0
	for name, c := range map[string]struct {
		change map[string]string
		proofs int
		reason string
	}{
		"an invented token":           {map[string]string{"auth[access_token]": "1nv3nt3d1nv3nt3d"}, 1, "does not open the portal"},
		"another portal's token":      {map[string]string{"auth[access_token]": others.Get("auth[access_token]")}, 1, "does not open the portal"},
		"an endpoint elsewhere":       {map[string]string{"auth[client_endpoint]": "https://evil.bitrix24.ru/rest/"}, 0, "not on the domain"},
		"an endpoint's path":          {map[string]string{"auth[client_endpoint]": "https://acme.bitrix24.ru/evil/"}, 0, "client endpoint"},
		"an endpoint with a user":     {map[string]string{"auth[client_endpoint]": "https://acme.bitrix24.ru@evil.ru/rest/"}, 0, "client endpoint"},
		"http":                        {map[string]string{"auth[client_endpoint]": "http://acme.bitrix24.ru/rest/"}, 0, "may not be called"},
		"a file":                      {map[string]string{"auth[client_endpoint]": "file:///etc/passwd"}, 0, "client endpoint"},
		"loopback":                    {at("127.0.0.1"), 0, "may not be called"},
		"loopback by port":            {at("127.0.0.1:6379"), 0, "may not be called"},
		"localhost":                   {at("localhost"), 0, "may not be called"},
		"metadata":                    {at("169.254.169.254"), 0, "may not be called"},
		"private":                     {at("10.1.2.3"), 0, "may not be called"},
		"IPv6 loopback":               {at("[::1]"), 0, "may not be called"},
		"IPv4 in IPv6":                {at("[::ffff:10.0.0.1]"), 0, "may not be called"},
		"another port":                {at("acme.bitrix24.ru:8443"), 0, "may not be called"},
		"a host that is no portal":    {at("nobody.bitrix24.ru"), 1, ""},
		"a host that is no portal, 2": {at("nobody2.bitrix24.ru"), 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			form := with(s.box.Install(acme), "x", name)
			for k, v := range c.change {
				form.Set(k, v)
			}
			before := s.prover.all()
			s.deliver(form)
			n++
			s.becomes("install", "refused", n)
			if got := s.prover.all() - before; got != c.proofs {
				t.Errorf("%d proofs, not %d", got, c.proofs)
			}
			if c.reason != "" {
				s.logged("level=WARN", "was refused", c.reason, "what to do")
			}
			s.unknown(acme)
			s.unknown(form.Get("auth[domain]"))
		})
	}
	if list, err := s.inspector.ListArchivedTasks(Queue); len(list) > 0 || err != nil {
		t.Errorf("%d events in the archive, %v", len(list), err)
	}
	noSecretOf(t, s, genuine.Get("auth[access_token]"), others.Get("auth[access_token]"), "1nv3nt3d1nv3nt3d", genuine.Get("auth[application_token]"))
	// None of it keeps the genuine one out.
	s.deliver(genuine)
	s.becomes("install", "installed", 1)
}

// at is a form's address.
func at(host string) map[string]string {
	return map[string]string{"auth[domain]": host, "auth[client_endpoint]": "https://" + host + "/rest/"}
}

// noSecretOf looks for secrets in the log, where no portal is stored.
func noSecretOf(t *testing.T, s *stand, secrets ...string) {
	t.Helper()
	text := s.log.String() + s.dump()
	for _, secret := range secrets {
		if n := strings.Count(text, secret); n > 0 {
			t.Errorf("%s stands there %d times", secret, n)
		}
	}
}

// A known portal is not even asked about an install that comes with another
// application_token: strangers cannot make us call it.
func TestForgedInstallOfAKnownPortal(t *testing.T) {
	s := newStand(t, realRedis(t), inBox(), nil).started()
	genuine := s.box.Install(acme)
	s.deliver(genuine)
	s.becomes("install", "installed", 1)
	was := s.portal(acme)
	forged := with(s.box.Install(acme), "auth[application_token]", "f0rg3df0rg3d")
	forged.Set("auth[access_token]", "f0rg3dt0k3nf0rg3d")
	s.deliver(forged)
	s.becomes("install", "refused", 1)
	if n := s.prover.all(); n != 1 {
		t.Errorf("%d proofs", n)
	}
	s.logged("level=WARN", "application_token is not the known one", "enqueue portals remove "+genuine.Get("auth[member_id]"))
	if now := s.portal(acme); now.Generation != was.Generation || now.Credential != was.Credential {
		t.Error("the stored portal has changed")
	}
	s.hides("f0rg3df0rg3d", "f0rg3dt0k3nf0rg3d")
	s.hasBots(was, 1, 2)
}

// New tokens with the known application_token are taken; no bots are submitted again.
func TestInstallWithNewTokens(t *testing.T) {
	s := newStand(t, realRedis(t), inBox(), nil).started()
	s.deliver(s.box.Install(acme))
	s.becomes("install", "installed", 1)
	was := s.portal(acme)
	s.box.Portal(acme).ExpireTokens()
	form := s.box.Install(acme)
	await(t, "the second install", func() bool {
		s.deliver(form)
		return s.meter.all()["install installed"] == 2
	})
	now := s.portal(acme)
	if _, token := now.Access.Reveal(); token != form.Get("auth[access_token]") || now.ID != was.ID {
		t.Error("the new tokens are not stored")
	}
	s.hasBots(now, 1, 2)
}

// A portal whose stored credentials do not open any more: an install brings new ones.
func TestInstallOfAPortalUnderALostKey(t *testing.T) {
	s := newStand(t, realRedis(t), inBox(), nil)
	in, err := s.claim(parsed(t, s.box.Install(acme).Encode()))
	if err != nil {
		t.Fatal(err)
	}
	lost := portals.New(s.redis, mustKeys(portals.NewKey()), portals.Options{})
	was, err := lost.Install(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	s.started().deliver(s.box.Install(acme))
	s.becomes("install", "installed", 1)
	if now := s.portal(acme); now.ID != was.Portal.ID || now.Access.Fingerprint() != in.Access.Fingerprint() {
		t.Errorf("stored as %+v", now)
	}
	s.hasBots(s.portal(acme), 1, 2)
}

// A portal that says no for a reason that the token has nothing to do with is stored, and held.
func TestInstallThatIsUseless(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*sandbox.Portal)
		reason string
	}{
		"no scope": {func(p *sandbox.Portal) { p.Scopes = []string{"im"} }, "scope imbot"},
		"no REST":  {func(p *sandbox.Portal) { p.Faults = []sandbox.Fault{{Kind: sandbox.Refuse, Code: "ACCESS_DENIED"}} }, "plan has no REST"},
		"no right": {func(p *sandbox.Portal) { p.Faults = []sandbox.Fault{{Kind: sandbox.Refuse, Code: "user_access_error"}} }, "administrator"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t, realRedis(t), inBox(c.change), nil).started()
			s.deliver(s.box.Install(acme))
			s.becomes("install", "held", 1)
			p := s.portal(acme)
			if p.Held == nil || p.Held.ByOperator || !strings.Contains(p.Held.Reason, c.reason) {
				t.Errorf("held %+v", p.Held)
			}
			s.hasBots(p, 1, 2) // they wait for the hold to end
		})
	}
}

func TestInstallWithAnExpiredToken(t *testing.T) {
	s := newStand(t, realRedis(t), inBox(), nil).started()
	form := s.box.Install(acme)
	s.box.Portal(acme).ExpireTokens()
	s.deliver(form)
	s.becomes("install", "refused", 1)
	s.unknown(acme)
	s.logged("has expired", "installed again")
}

// A redirect is not followed: it would carry the token elsewhere.
func TestInstallOfARenamedPortal(t *testing.T) {
	box := inBox(func(p *sandbox.Portal) {
		if p.Name == acme {
			p.RenamedTo = "other.bitrix24.ru"
		}
	})
	s := newStand(t, realRedis(t), box, nil).started()
	form := with(s.box.Install(acme), "auth[domain]", acme)
	form.Set("auth[client_endpoint]", "https://"+acme+"/rest/")
	s.deliver(form)
	s.becomes("install", "refused", 1)
	s.unknown(acme)
	if n := s.box.Portal("other.bitrix24.ru").Stats().Requests; n > 1 { // a renamed portal may count the redirect itself
		t.Errorf("%d requests at the new address", n)
	}
}

// A portal that does not answer is asked again, later.
func TestInstallOfASilentPortal(t *testing.T) {
	for name, fault := range map[string]sandbox.Fault{
		"gateway":   {Kind: sandbox.HTML, Status: 502, Count: 1},
		"reset":     {Kind: sandbox.Reset, Count: 1},
		"limit":     {Kind: sandbox.Refuse, Code: "QUERY_LIMIT_EXCEEDED", Count: 1},
		"its fault": {Kind: sandbox.Refuse, Code: "INTERNAL_SERVER_ERROR", Count: 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t, realRedis(t), inBox(func(p *sandbox.Portal) { p.Faults = []sandbox.Fault{fault} }), nil).started()
			s.deliver(s.box.Install(acme))
			s.becomes("install", "put off", 1)
			s.unknown(acme)
			await(t, "the install", func() bool {
				_, _ = s.inspector.RunAllRetryTasks(Queue)
				return s.meter.all()["install installed"] == 1
			})
			s.hasBots(s.portal(acme), 1, 2)
		})
	}
}

// One host is called at the pace of proofs, however many forms name it.
func TestOneHostIsNotHammered(t *testing.T) {
	s := newStand(t, realRedis(t), inBox(), nil).started()
	begin := time.Now()
	for i := range 60 {
		s.deliver(with(installForm(), "auth[access_token]", "1nv3nt3d"+strconv.Itoa(i)))
	}
	s.becomes("install", "put off", 50)
	await(t, "some proofs", func() bool { return s.prover.all() >= 3 })
	if n, most := s.prover.all(), 4+int(time.Since(begin)/time.Second); n > most {
		t.Errorf("%d proofs, not %d at the most", n, most)
	}
}

func TestUninstall(t *testing.T) {
	redistest.Both(t, func(t *testing.T, client redis.UniversalClient, _ string) {
		s := newStand(t, client, inBox(), nil).started()
		s.deliver(s.box.Install(acme))
		s.becomes("install", "installed", 1)
		p := s.portal(acme)

		for i, forged := range []map[string]string{
			{"auth[application_token]": "f0rg3df0rg3d"},
			{"auth[member_id]": "nobody"},
		} {
			form := s.uninstallOf(acme)
			for k, v := range forged {
				form.Set(k, v)
			}
			s.deliver(form)
			s.becomes("uninstall", "refused", i+1)
		}
		if s.portal(acme).Gone != nil || len(s.gone.ids) > 0 {
			t.Error("a forged event made the portal gone")
		}
		s.gone.fails = 1
		s.deliver(s.box.Uninstall(acme))
		s.hurry()
		s.becomes("uninstall", "uninstalled", 1)
		if now := s.portal(acme); now.Gone == nil || now.ID != p.ID {
			t.Errorf("stored as %+v", now)
		}
		if len(s.gone.ids) != 2 || s.gone.ids[1] != p.ID {
			t.Errorf("the hook was called for %v", s.gone.ids)
		}
		s.logged("level=INFO", "event=uninstall", "outcome=uninstalled", "host="+acme, "member_id="+p.MemberID)
	})
}

// uninstallOf is the form of an uninstall that has not happened.
func (s *stand) uninstallOf(name string) url.Values {
	form := with(s.box.Install(name), "event", "ONAPPUNINSTALL")
	return with(with(form, "auth[access_token]"), "auth[refresh_token]")
}

// Installed again after an uninstall: a new run, and bots that the portal deleted
// with the application are registered again, though the queue remembers them.
func TestInstalledAgain(t *testing.T) {
	s := newStand(t, realRedis(t), inBox(), nil).started()
	s.deliver(s.box.Install(acme))
	s.becomes("install", "installed", 1)
	p := s.portal(acme)
	s.registersAll(p)
	s.deliver(s.box.Uninstall(acme))
	s.becomes("uninstall", "uninstalled", 1)
	s.submitter.after = 1 // and a failure on the way
	form := s.box.Install(acme)
	begin := time.Now()
	await(t, "the second install", func() bool {
		s.deliver(form)
		_, _ = s.inspector.RunAllRetryTasks(Queue)
		return s.meter.all()["install installed"] == 2
	})
	if took := time.Since(begin); took < s.cfg.CacheAge {
		t.Errorf("submitted after %v, when workers may still believe that the portal is gone", took)
	}
	now := s.portal(acme)
	if now.Gone != nil || now.ID != p.ID {
		t.Errorf("stored as %+v", now)
	}
	s.hasBots(now, 2, 2)
	if info := s.run(now, 2); info.Counts.Registered != 0 {
		t.Errorf("taken for registered: %+v", info)
	}
}

// registersAll completes a portal's registrations, as its worker does.
func (s *stand) registersAll(p portals.Portal) {
	s.t.Helper()
	server := asynq.NewServerFromRedisClient(s.redis, asynq.Config{
		Queues: map[string]int{p.Queue: 1}, Concurrency: 2, TaskCheckInterval: 20 * time.Millisecond, LogLevel: asynq.FatalLevel,
	})
	err := server.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		_, err := task.ResultWriter().Write([]byte("39"))
		return err
	}))
	if err != nil {
		s.t.Fatal(err)
	}
	defer server.Shutdown()
	await(s.t, "the registrations", func() bool {
		info, err := s.inspector.GetQueueInfo(p.Queue)
		return err == nil && info.Completed == 2
	})
}
