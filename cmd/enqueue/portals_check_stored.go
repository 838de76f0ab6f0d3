// Checking stored portals: with the credentials of the registry.

package main

import (
	"context"
	"log/slog"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/version"
)

func (a *app) storedChecker(ctx context.Context, cfg config.Config, f *portalsCheckFlags, args []string) (_ *checker, _ []portals.Portal, closing func(), err error) {
	if cfg.Keys.Empty() {
		return nil, nil, nil, portals.ErrNoKey
	}
	base, err := engine.Open(ctx, cfg, cfg.RedisURL)
	if err != nil {
		return nil, nil, nil, err
	}
	closing = func() { _ = base.Close() }
	defer func() {
		if err != nil {
			closing()
		}
	}()
	list, err := portalsToCheck(ctx, base.Registry, f, args)
	if err != nil {
		return nil, nil, nil, err
	}
	opened, err := base.OpenedRegistry(cfg)
	if err != nil {
		return nil, nil, nil, err
	}
	log := slog.New(slog.DiscardHandler) // what matters is in the results
	if cfg.Given["LOG_LEVEL"] {
		log = cfg.Logger(a.std.err)
	}
	c := &checker{
		gate: base.Gate(cfg), timeout: min(f.timeout, cfg.RequestTimeout), release: f.release, registry: base.Registry,
		open: func(ctx context.Context, p *portals.Portal) (portals.Portal, error) { return opened.Get(ctx, p.ID) },
	}
	caller, done, err := base.SignIn(cfg, engine.SignInOptions{Version: version.String(), Log: log, Meter: c})
	if err != nil {
		return nil, nil, nil, err
	}
	c.signer = caller
	return c, list, func() { done(); _ = base.Close() }, nil
}

// portalsToCheck are the portals named, or all; in the states asked for.
func portalsToCheck(ctx context.Context, r *portals.Registry, f *portalsCheckFlags, args []string) ([]portals.Portal, error) {
	keep, err := states(f.states)
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		list, _, err := portalsIn(ctx, r, keep)
		return list, err
	}
	named, err := findPortals(ctx, r, args)
	if err != nil {
		return nil, err
	}
	var list []portals.Portal
	for i := range named {
		if keep == nil || keep[stateOf(&named[i])] {
			list = append(list, named[i])
		}
	}
	return list, nil
}
