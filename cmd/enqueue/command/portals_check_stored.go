// Checking stored portals: with the credentials of the registry.

package command

import (
	"context"
	"errors"
	"log/slog"

	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/cmd/internal/version"
)

func (a *app) storedChecker(ctx context.Context, cfg config.Config, f *portalsCheckFlags, args []string) (*checker, []portals.Portal, func(), error) {
	if cfg.Keys.Empty() {
		return nil, nil, nil, portals.ErrNoKey
	}
	base, err := engine.Open(ctx, cfg, cfg.RedisURL)
	if err != nil {
		return nil, nil, nil, err
	}
	list, err := portalsToCheck(ctx, base.Registry, f, args)
	if err != nil {
		return nil, nil, nil, errors.Join(err, base.Close())
	}
	c, done, err := a.checkerOn(base, cfg, f)
	if err != nil {
		return nil, nil, nil, errors.Join(err, base.Close())
	}
	return c, list, func() { done(); _ = base.Close() }, nil
}

// checkerOn is what asks the portals stored in a Redis. The function returned
// waits for tokens that are being renewed.
func (a *app) checkerOn(base *engine.Base, cfg config.Config, f *portalsCheckFlags) (*checker, func(), error) {
	opened, err := base.OpenedRegistry(cfg)
	if err != nil {
		return nil, nil, err
	}
	log := slog.New(slog.DiscardHandler) // what matters is in the results
	if cfg.Given["LOG_LEVEL"] {
		log = cfg.Logger(a.std.err)
	}
	c := &checker{
		gate: base.Gate(cfg), timeout: min(f.timeout, cfg.RequestTimeout), release: f.release, registry: base.Registry,
		open: func(ctx context.Context, p *portals.Portal) (portals.Portal, error) { return opened.Get(ctx, p.ID) },
	}
	caller, done, err := base.SignIn(cfg, engine.SignInOptions{Version: version.String(), Log: log, Meter: c, Gate: c.gate})
	if err != nil {
		return nil, nil, err
	}
	c.signer = caller
	return c, done, nil
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
