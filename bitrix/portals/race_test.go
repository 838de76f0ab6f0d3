package portals_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
)

func pair(t *testing.T, host, token string) (bitrix.Access, bitrix.Secret) {
	t.Helper()
	a, err := bitrix.NewOAuth(host, token)
	if err != nil {
		t.Fatal(err)
	}
	return a, bitrix.NewSecret("refresh of " + token)
}

// atOnce calls f many times at the same moment.
func atOnce(n int, f func(i int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	all.Wait()
}

func TestOneRenewalWins(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		mustImport(t, r, portals.Imported{Added: 1}, oauth(t, "a.bitrix24.ru", "m1", "t", "r"))
		p := mustFind(t, r, "m1")
		for generation := p.Generation; generation < 6; generation++ {
			var mu sync.Mutex
			var won []portals.Portal
			atOnce(8, func(i int) {
				a, refresh := pair(t, "a.bitrix24.ru", fmt.Sprintf("t%d-%d", generation, i))
				got, err := r.Renew(t.Context(), p.ID, generation, a, refresh, "m1")
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil && got.Credential == a.Fingerprint():
					won = append(won, got)
				case !errors.Is(err, portals.ErrChanged):
					t.Errorf("%+v, %v", got, err)
				}
			})
			now := mustFind(t, r, "m1")
			if len(won) != 1 || now.Credential != won[0].Credential || now.Generation != generation+1 || now.Refresh.Reveal() != won[0].Refresh.Reveal() {
				t.Fatalf("%d won; stored %+v", len(won), now)
			}
		}
	})
}

// A move keeps the generation: the pair that a refresh under way brings must
// be stored, or the portal has none that works.
func TestARenewalSurvivesAMove(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		mustImport(t, r, portals.Imported{Added: 1}, oauth(t, "h0.bitrix24.ru", "m1", "t", "r"))
		p := mustFind(t, r, "m1")
		for i := range 20 {
			fresh := fmt.Sprint("t", i)
			there, err := p.Access.At("https", fmt.Sprintf("h%d.bitrix24.ru", i+1))
			if err != nil {
				t.Fatal(err)
			}
			atOnce(2, func(n int) {
				if n == 0 {
					_, err := r.Move(t.Context(), p.ID, p.Generation, there)
					if err != nil && !errors.Is(err, portals.ErrChanged) {
						t.Error(err)
					}
					return
				}
				a, refresh := pair(t, p.Name, fresh)
				if _, err := r.Renew(t.Context(), p.ID, p.Generation, a, refresh, ""); err != nil {
					t.Error(err)
				}
			})
			p = mustFind(t, r, "m1")
			if _, token := p.Access.Reveal(); token != fresh {
				t.Fatalf("the new pair is lost: %+v", p)
			}
		}
		if all := broken(t.Context(), client, r); len(all) > 0 {
			t.Error(all)
		}
	})
}

func TestInstallsAtOnceAreOne(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		r := newRegistry(t, client)
		for round := range 5 {
			member, host := fmt.Sprint("m", round), fmt.Sprintf("p%d.bitrix24.ru", round)
			var mu sync.Mutex
			fresh, refused := 0, 0
			atOnce(8, func(i int) { // two applications' tokens, four repeats each
				a, refresh := pair(t, host, fmt.Sprint("t", i%2))
				got, err := r.Install(t.Context(), portals.Install{MemberID: member, Access: a, Refresh: refresh,
					AppToken: bitrix.NewSecret(fmt.Sprint("app", i%2))})
				var no *portals.RefusedError
				mu.Lock()
				defer mu.Unlock()
				switch {
				case errors.As(err, &no):
					refused++
				case err != nil || got.Count != 1:
					t.Errorf("%+v, %v", got, err)
				case got.New:
					fresh++
				}
			})
			if fresh != 1 || refused != 4 {
				t.Errorf("%d new, %d refused", fresh, refused)
			}
		}
		if n, err := r.Count(t.Context()); n != 5 || err != nil {
			t.Errorf("%d portals, %v", n, err)
		}
		if all := broken(t.Context(), client, r); len(all) > 0 {
			t.Error(all)
		}
	})
}

// Whatever happens at once, names, member_ids, records and holds agree, and
// each generation of a portal's tokens is followed by one other.
func TestEverythingAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, client redis.UniversalClient) {
		c := &crowd{t: t, r: newRegistry(t, client), followed: make(map[string]int)}
		for round := range 3 {
			atOnce(8, func(i int) {
				rnd := rand.New(rand.NewPCG(uint64(round), uint64(i)))
				for step := range 25 {
					c.act(rnd, fmt.Sprintf("%d-%d-%d", round, i, step))
				}
			})
			if all := broken(t.Context(), client, c.r); len(all) > 0 {
				t.Fatal(all)
			}
		}
		for generation, n := range c.followed {
			if n != 1 {
				t.Errorf("%s was renewed %d times", generation, n)
			}
		}
	})
}

type crowd struct {
	t        *testing.T
	r        *portals.Registry
	mu       sync.Mutex
	followed map[string]int // how often a portal's generation was renewed
}

// act does one thing to one of few portals.
func (c *crowd) act(rnd *rand.Rand, token string) {
	ctx := c.t.Context()
	host, member := storyHosts[rnd.IntN(3)], storyMembers[rnd.IntN(3)]
	a, refresh := pair(c.t, host, "t"+token)
	app := bitrix.NewSecret(fmt.Sprint("app", rnd.IntN(2)))
	p, err := c.r.Find(ctx, host)
	if err != nil && !errors.Is(err, portals.ErrUnknown) {
		c.t.Error(err)
	}
	switch rnd.IntN(10) {
	case 0, 1:
		_, err = c.r.Install(ctx, portals.Install{MemberID: member, Access: a, Refresh: refresh, AppToken: app})
	case 2:
		_, err = c.r.Import(ctx, []portals.Entry{oauth(c.t, host, member, "i"+token, "r"), webhook(c.t, "other.bitrix24.ru", "s"+token)})
	case 3, 4:
		if _, err = c.r.Renew(ctx, p.ID, p.Generation, a, refresh, p.MemberID); err == nil {
			c.mu.Lock()
			c.followed[fmt.Sprint(p.ID, p.Generation)]++
			c.mu.Unlock()
		}
	case 5:
		if !p.Access.IsZero() {
			there, _ := p.Access.At("https", storyHosts[rnd.IntN(3)])
			_, err = c.r.Move(ctx, p.ID, p.Generation, there)
		}
	case 6:
		_, err = c.r.Uninstall(ctx, member, app, time.Now())
	case 7:
		_, err = c.r.HoldCredential(ctx, p.ID, p.Credential, "refused", time.Now())
	case 8:
		if _, err = c.r.Renewing(ctx, p.ID, p.Generation); rnd.IntN(2) == 0 {
			err = c.r.Remove(ctx, p.ID)
		}
	case 9:
		_, _, err = c.r.Rekey(ctx)
	}
	if outcome(err) == "" {
		c.t.Error(err)
	}
}
