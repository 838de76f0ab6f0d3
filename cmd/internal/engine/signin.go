// Signing in to portals: the client, the authorization server, the registry
// that keeps what they give.

package engine

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/bitrix/portals/signin"
	"botfleet/cmd/internal/config"
	"botfleet/ratelimit"
)

// SignInOptions are what distinguishes one caller of portals from another.
type SignInOptions struct {
	// Transport replaces the client's own, as the sandbox does. Nil: none.
	Transport http.RoundTripper
	Version   string
	Log       *slog.Logger
	Meter     signin.Meter // nil: nothing is measured
	// Gate hears of requests that repeat another, which it gave leave for. Nil: none.
	Gate ratelimit.Gate
	// Passing is set where the Redis ends with the process: tokens are not
	// renewed then, as the new pair would be lost with it, and the old one dead.
	Passing bool
}

// SignIn returns what calls portals with the credentials of the registry,
// refreshed where they have expired, and a function that ends it.
func (b *Base) SignIn(cfg config.Config, o SignInOptions) (*signin.Caller, func(), error) {
	registry, err := b.OpenedRegistry(cfg)
	if err != nil {
		return nil, nil, err
	}
	agent := "botfleet/" + o.Version
	client := bitrix.NewClient(bitrix.Config{
		UserAgent: agent, Endpoints: cfg.Endpoints, Timeout: cfg.RequestTimeout, Transport: o.Transport,
	})
	c := signin.Config{
		API: client, Store: registry, Locks: signin.NewRedisLocks(b.Redis), Endpoints: cfg.Endpoints,
		Log: o.Log, Meter: o.Meter, Charge: chargeTo(o.Gate, o.Log),
	}
	stop := client.Close
	if o.Passing {
		c.WithoutAuth = "is not renewed here: the new tokens would be lost with this process's own Redis; set REDIS_URL to a Redis that stays"
	}
	if cfg.ClientID != "" && !o.Passing {
		auth, err := bitrix.NewAuthServer(bitrix.AuthConfig{
			URL: cfg.OAuthURL, ClientID: cfg.ClientID, ClientSecret: cfg.AppSecret,
			UserAgent: agent, Endpoints: cfg.Endpoints, Transport: o.Transport,
		})
		if err != nil {
			return nil, nil, fmt.Errorf("BITRIX_OAUTH_URL: %w", err)
		}
		c.Auth = auth
		stop = func() { client.Close(); auth.Close() }
	}
	caller := signin.New(c)
	return caller, func() { caller.Close(); stop() }, nil
}

// chargeWithin bounds how long a repeat waits for the gate to hear of it.
const chargeWithin = time.Second

// chargeTo tells a gate of requests that go without its leave.
func chargeTo(gate ratelimit.Gate, log *slog.Logger) func(context.Context, *portals.Portal, int) {
	if gate == nil {
		return nil
	}
	return func(ctx context.Context, p *portals.Portal, requests int) {
		ctx, cancel := context.WithTimeout(ctx, chargeWithin)
		defer cancel()
		err := gate.Charge(ctx, ratelimit.Request{Portal: p.ID, Limits: p.Limits}, requests)
		if err != nil && log != nil {
			log.Warn("the gate could not be told of a repeated request", "portal", p.Name, "err", err)
		}
	}
}

// OpenedRegistry returns the registry with the portals' credentials opened.
func (b *Base) OpenedRegistry(cfg config.Config) (*portals.Registry, error) {
	if cfg.Keys.Empty() {
		return nil, portals.ErrNoKey
	}
	return portals.New(b.Redis, cfg.Keys, portals.Options{Shards: cfg.Shards}), nil
}
