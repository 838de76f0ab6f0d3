// Portals whose rows stand, beyond those that are asked about; and portals that change.

package overview

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit/redistest"
)

// manyPortals stores more portals than are asked about, and opens a run for them.
func (s *stage) manyPortals() []portals.Portal {
	s.t.Helper()
	var names []string
	for i := range askedPortals + 30 {
		names = append(names, fmt.Sprintf("p%03d.bitrix24.ru", i))
	}
	all := s.portals(names...)
	s.must(s.rdb.SAdd(s.t.Context(), "asynq:queues", all[0].Queue).Err())
	s.alive()
	return all
}

func hasNot(t *testing.T, rw *httptest.ResponseRecorder, all ...string) {
	t.Helper()
	text := words(t, rw.Body.String())
	for _, no := range all {
		if strings.Contains(text, no) {
			t.Errorf("it says %q:\n%s", no, text)
		}
	}
}

func TestPausedQueuesBeyondThePortalsAskedAbout(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, _ string) {
		s := newStage(t, rdb)
		all := s.manyPortals()
		s.run("now", "campaign.csv", all...)
		s.must(rdb.Set(t.Context(), "asynq:{"+all[0].Queue+"}:paused", 1, 0).Err())
		rw := s.get("/runs/now")
		sound(t, rw)
		has(t, rw.Body.String(), "80 rows of 80 portals: their queue is paused", "Nobody knows when it will be done: all its portals are closed.")
		hasNot(t, rw, "No limit keeps", "portals that take rows")

		// Another queue takes rows: of the portals that were not asked about it is not
		// known which queue is theirs.
		s.must(rdb.SAdd(t.Context(), "asynq:queues", "portals-9").Err())
		s.must(rdb.SAdd(t.Context(), "botfleet:{portals}:queues", "portals-9").Err())
		fresh, err := New(s.page.cfg)
		s.must(err)
		t.Cleanup(fresh.Close)
		s.page = fresh
		rw = s.get("/runs/now")
		sound(t, rw)
		has(t, rw.Body.String(), "50 rows of 50 portals: their queue is paused", "30 rows of 30 portals: not looked at",
			"Nobody knows when it will be done: all of its portals that were looked at are closed.")
		hasNot(t, rw, "No limit keeps", "portals that take rows")
	})
}

func TestKeysAndTokensBeyondThePortalsAskedAbout(t *testing.T) {
	for name, c := range map[string]struct{ said, want string }{
		"key":   {"credentials of portal x do not open: they are sealed under key 11, until 2026", "80 rows of 80 portals: their credentials do not open"},
		"token": {"waits for a new token: X: the server is away, until 2026", "80 rows of 80 portals: no new token from the authorization server"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, redistest.Client(t, redistest.Start(t).URL))
			for _, r := range s.run("now", "campaign.csv", s.manyPortals()...) {
				s.putOff("now", r, "portals-0", c.said)
			}
			rw := s.get("/runs/now")
			sound(t, rw)
			has(t, rw.Body.String(), c.want)
			hasNot(t, rw, "No limit keeps", "portals that take rows")
		})
	}
}

// What only some rows were seen to say is not held against the others, nor for them.
func TestASampleLeavesDoubt(t *testing.T) {
	s := newStage(t, redistest.Client(t, redistest.Start(t).URL))
	rows := s.run("now", "campaign.csv", s.manyPortals()...)
	for range mostPutOffOfQueue { // as many as are looked at
		s.putOff("now", rows[0], "portals-0", "waits for a new token: X: the server is away, until 2026")
	}
	rw := s.get("/runs/now")
	has(t, rw.Body.String(), "1 row of 1 portal: no new token", "portals: not looked at")
}

// Whoever has the page of one run open sees that its portal was released.
func TestThePageOfARunSeesAPortalReleased(t *testing.T) {
	s := newStage(t, redistest.Client(t, redistest.Start(t).URL))
	p := s.portals("acme.bitrix24.ru")
	s.run("now", "campaign.csv", p[0])
	s.must(s.registry.Hold(t.Context(), p[0].ID, "ticket 4711", time.Now()))
	has(t, s.get("/runs/now").Body.String(), "ticket 4711", "all its portals are closed")
	s.must(s.registry.Release(t.Context(), p[0].ID))
	s.page.details.of("now").until, s.page.held.until = time.Time{}, time.Time{}
	rw := s.get("/runs/now")
	has(t, rw.Body.String(), "acme.bitrix24.ru 1 takes rows")
	hasNot(t, rw, "ticket 4711", "closed")
}

// New tokens, which come all the time, do not have the holds read again; a hold does.
func TestNewTokensReadNoHolds(t *testing.T) {
	s := newStage(t, redistest.Client(t, redistest.Start(t).URL))
	access, err := bitrix.NewOAuth("app.bitrix24.ru", "t0ken")
	s.must(err)
	_, err = s.registry.Import(t.Context(), []portals.Entry{{
		Name: "app.bitrix24.ru", Plan: portals.Standard, Limits: portals.PlanLimits(portals.Standard), ServerTimeout: time.Minute,
		Access: access, RefreshToken: bitrix.NewSecret("refresh"),
	}})
	s.must(err)
	app, err := s.registry.Find(t.Context(), "app.bitrix24.ru")
	s.must(err)
	held := func(want int) {
		t.Helper()
		s.page.held.until = time.Time{}
		if a := s.page.held.get(t.Context()); a.err != nil || a.value.count != want {
			t.Errorf("%d held, %v; want %d", a.value.count, a.err, want)
		}
	}
	held(0)
	s.must(s.rdb.HSet(t.Context(), "botfleet:{portals}:holds", "unsaid", "1 x").Err()) // who reads sees it
	access, err = bitrix.NewOAuth("app.bitrix24.ru", "t0ken2")
	s.must(err)
	_, err = s.registry.Renew(t.Context(), app.ID, app.Generation, access, bitrix.NewSecret("refresh2"), "")
	s.must(err)
	held(0)
	s.must(s.registry.Hold(t.Context(), app.ID, "x", time.Now()))
	held(2)
}

// A run's page says of when is what it did not ask for itself.
func TestThePageOfARunSaysWhatIsOld(t *testing.T) {
	now := time.Now()
	s := newStage(t, redistest.Client(t, redistest.Start(t).URL), func(c *Config) { c.Now = func() time.Time { return now } })
	s.run("now", "campaign.csv", s.portals("acme.bitrix24.ru")...)
	s.page.putOff.get(t.Context())
	s.page.putOff.until = now.Add(time.Hour) // as if it had been slow
	asked := now
	now = now.Add(15 * time.Second)
	has(t, s.get("/runs/now").Body.String(), "Older, as Redis was slow to tell: what its rows wait for of "+momentOf(asked, now).Clock)
}
