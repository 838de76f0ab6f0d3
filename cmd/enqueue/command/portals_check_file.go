// Checking the portals of a file, of which nothing is stored.

package command

import (
	"context"
	"errors"
	"slices"
	"strings"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/version"
	"botfleet/ratelimit"
)

// direct calls portals with the credentials they come with, and refreshes none.
type direct struct{ client *bitrix.Client }

func (d direct) Bots(ctx context.Context, p *portals.Portal, clientID string) ([]bitrix.ListedBot, bitrix.Time, error) {
	return d.client.Bots(ctx, p.Access, clientID)
}

func (a *app) fileChecker(ctx context.Context, cfg config.Config, f *portalsCheckFlags, args []string) (*checker, []portals.Portal, func(), error) {
	entries, err := a.readPortalsFile(f.file, "", cfg)
	if err != nil {
		return nil, nil, nil, a.refusedCheck(err)
	}
	a.warnOfLimits(entries)
	list, err := entriesAsPortals(entries, args)
	if err != nil {
		return nil, nil, nil, err
	}
	gate, closing, err := a.gateForFile(ctx, cfg, list)
	if err != nil {
		return nil, nil, nil, err
	}
	client := bitrix.NewClient(bitrix.Config{
		UserAgent: "botfleet/" + version.String(), Endpoints: cfg.Endpoints, Timeout: cfg.RequestTimeout,
	})
	c := &checker{
		gate: gate, signer: direct{client}, timeout: min(f.timeout, cfg.RequestTimeout), file: true,
		open: func(_ context.Context, p *portals.Portal) (portals.Portal, error) { return *p, nil },
	}
	return c, list, func() { client.Close(); closing() }, nil
}

// refusedCheck prints all problems of a portals file.
func (a *app) refusedCheck(err error) error {
	var bad *portals.FileError
	if !errors.As(err, &bad) {
		return err
	}
	a.printProblems(bad)
	return &exitError{exitRefused, errors.New("the portals file was refused, and no portal was asked")}
}

// entriesAsPortals are the portals of a file, as they would be stored: those
// named, or all.
func entriesAsPortals(entries []portals.Entry, names []string) ([]portals.Portal, error) {
	var list []portals.Portal
	missing := slices.Clone(names)
	for i := range entries {
		e := &entries[i]
		is := func(name string) bool {
			return strings.EqualFold(name, e.Name) || e.MemberID != "" && strings.EqualFold(name, e.MemberID)
		}
		if len(names) > 0 && !slices.ContainsFunc(names, is) {
			continue
		}
		missing = slices.DeleteFunc(missing, is)
		kind := portals.OAuth
		if e.Access.Webhook() {
			kind = portals.Webhook
		}
		list = append(list, portals.Portal{
			ID: e.Name, Name: e.Name, Kind: kind, ClientID: e.ClientID, MemberID: e.MemberID, Plan: e.Plan, Limits: e.Limits,
			ServerTimeout: e.ServerTimeout, Credential: e.Access.Fingerprint(), Account: e.Access.Account(),
			Access: e.Access, Refresh: e.RefreshToken,
		})
	}
	var unknown []error
	for _, name := range missing {
		if strings.ContainsAny(name, "/@?") {
			return nil, errNotAName()
		}
		unknown = append(unknown, &portals.UnknownError{Name: name})
	}
	return list, errors.Join(unknown...)
}

// gateForFile is the gate for portals of a file: with a Redis (REDIS_URL) that
// of the fleet, under the ids of those that are stored there too, as they are
// the same portals; else one of this process.
func (a *app) gateForFile(ctx context.Context, cfg config.Config, list []portals.Portal) (ratelimit.Gate, func(), error) {
	if !cfg.Given["REDIS_URL"] {
		return ratelimit.NewLocal(ratelimit.Config{Parallel: cfg.PortalParallel, MaxRPS: cfg.MaxRPS}), func() {}, nil
	}
	base, err := engine.Open(ctx, cfg, cfg.RedisURL)
	if err != nil {
		if ctx.Err() != nil {
			return nil, nil, err
		}
		a.sayf("note: checked without Redis, as if no worker called these portals: %v", err)
		return ratelimit.NewLocal(ratelimit.Config{Parallel: cfg.PortalParallel, MaxRPS: cfg.MaxRPS}), func() {}, nil
	}
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].Name
	}
	known, err := base.Registry.FindMany(ctx, names)
	if err != nil {
		return nil, nil, errors.Join(err, base.Close())
	}
	for i := range list {
		if p, ok := known[list[i].Name]; ok {
			list[i].ID = p.ID
		}
	}
	return base.Gate(cfg), func() { _ = base.Close() }, nil
}
