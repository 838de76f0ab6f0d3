// What portals take in Redis: stored, and while they are at work.

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/engine"
	"botfleet/ratelimit"
)

// portalsInRedis measures stored portals of both kinds, and what the gate keeps of
// one that has just been called.
func (b *bench) portalsInRedis(ctx context.Context) ([]figure, error) {
	webhook, gate, kept, err := b.storedPortals(ctx, webhookEntry)
	if err != nil {
		return nil, err
	}
	oauth, _, _, err := b.storedPortals(ctx, oauthEntry)
	if err != nil {
		return nil, err
	}
	n := int64(b.rows)
	row := func(what string, bytes, used int64, more string) figure {
		return figure{what: "Redis memory, " + what, value: fmt.Sprintf("%d B a portal (%d by INFO; %d portals): %.1f GB for 1 M%s",
			bytes/n, used/n, n, float64(max(bytes, used))/float64(n)/1000, more)}
	}
	return []figure{
		row("stored portals, webhook", webhook.portals, webhook.used, ""),
		row("stored portals, OAuth", oauth.portals, oauth.used, ""),
		row("portals at work, in the gate", gate.gates, gate.used, fmt.Sprintf(" that were called within %.0f s", kept.Seconds())),
	}, nil
}

// storedPortals stores b.rows portals, and asks the gate once for each. kept is how
// long the gate remembers a portal that is left alone.
func (b *bench) storedPortals(ctx context.Context, entry func(n int) (portals.Entry, error)) (stored, gate footprint, kept time.Duration, err error) {
	if err := b.redis.empty(ctx); err != nil {
		return stored, gate, 0, err
	}
	base, cfg, err := b.open(ctx, workload{})
	if err != nil {
		return stored, gate, 0, err
	}
	defer func() { err = errors.Join(err, base.Close()) }()
	before, err := b.redis.footprint(ctx)
	if err != nil {
		return stored, gate, 0, err
	}
	if err := importMany(ctx, base.Registry, b.rows, entry); err != nil {
		return stored, gate, 0, err
	}
	if stored, err = b.redis.footprint(ctx); err != nil {
		return stored, gate, 0, err
	}
	if err := askForAll(ctx, base, base.Gate(cfg)); err != nil {
		return stored, gate, 0, err
	}
	if gate, err = b.redis.footprint(ctx); err != nil {
		return stored, gate, 0, err
	}
	gate.used -= stored.used
	stored.used -= before.used
	kept, err = b.redis.gateKept(ctx)
	return stored, gate, kept, err
}

// importedAtOnce is how many portals go into the registry with one Import.
const importedAtOnce = 5000

func importMany(ctx context.Context, registry *portals.Registry, n int, entry func(n int) (portals.Entry, error)) error {
	var some []portals.Entry
	for i := range n {
		e, err := entry(i)
		if err != nil {
			return fmt.Errorf("make up a portal: %w", err)
		}
		if some = append(some, e); len(some) == importedAtOnce || i == n-1 {
			if _, err := registry.Import(ctx, some); err != nil {
				return err
			}
			some = some[:0]
		}
	}
	return nil
}

// webhookEntry and oauthEntry are portals with names and secrets as long as usual
// ones.
func webhookEntry(n int) (portals.Entry, error) {
	access, err := bitrix.ParseWebhook(fmt.Sprintf("https://customer%07d.bitrix24.ru/rest/1/%016x/", n, n))
	return entryOf(access), err
}

func oauthEntry(n int) (portals.Entry, error) {
	access, err := bitrix.NewOAuth(fmt.Sprintf("https://customer%07d.bitrix24.ru/rest/", n), fmt.Sprintf("%070x", n))
	e := entryOf(access)
	e.ClientID, e.MemberID, e.RefreshToken = "", fmt.Sprintf("%032x", n+1), portals.NewSecret(fmt.Sprintf("%070x", n))
	return e, err
}

func entryOf(access bitrix.Access) portals.Entry {
	return portals.Entry{
		Name: access.Host(), ClientID: "my-application", Plan: portals.Standard, Access: access,
		Limits: portals.PlanLimits(portals.Standard), ServerTimeout: portals.DefaultServerTimeout,
	}
}

// askForAll has the gate let one request to each portal go, and tells of its answer.
func askForAll(ctx context.Context, base *engine.Base, gate ratelimit.Gate) error {
	var g errgroup.Group
	g.SetLimit(recorders)
	err := base.Registry.Each(ctx, func(p portals.Portal) error {
		g.Go(func() error {
			d, err := gate.Acquire(ctx, ratelimit.Request{
				Portal: p.ID, Limits: p.Limits, Credential: p.Account, Method: "imbot.register", Rows: 1,
				Codes: []string{"helper"}, Order: []int64{time.Now().UnixMicro()}, MarkFor: 2 * time.Minute,
			})
			if err != nil {
				return err
			}
			if len(d.Go) != 1 {
				return fmt.Errorf("the gate holds a new portal back: %s", d.Reason)
			}
			return gate.Observe(ctx, d.Ticket, ratelimit.Answer{
				Outcome: ratelimit.Answered, Ran: 1, HasOperating: true, Operating: 120 * time.Millisecond, ResetAt: time.Now().Add(10 * time.Minute),
			})
		})
		return nil
	})
	return errors.Join(err, g.Wait())
}

// isGate reports whether a key is one of the gate's.
func isGate(key string) bool {
	return strings.HasPrefix(key, "botfleet:{") && strings.HasSuffix(key, "}:gate")
}

// gateKept is how long the state of one portal is kept from now on.
func (s *redisServer) gateKept(ctx context.Context) (time.Duration, error) {
	keys := s.client.Scan(ctx, 0, "botfleet:{*}:gate", 1000).Iterator()
	if !keys.Next(ctx) {
		return 0, errors.Join(errors.New("the gate keeps nothing"), keys.Err())
	}
	kept, err := s.client.PTTL(ctx, keys.Val()).Result()
	if err != nil {
		return 0, fmt.Errorf("ask how long the gate's state is kept: %w", err)
	}
	return kept, nil
}
