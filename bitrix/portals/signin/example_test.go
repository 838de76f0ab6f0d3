package signin_test

import (
	"context"
	"fmt"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/bitrix/portals/signin"
	"botfleet/bitrix/sandbox"
)

// A portal's token has expired: it is renewed once, stored, and the call repeated,
// of which the caller sees nothing.
func Example() {
	ctx := context.Background()
	box := sandbox.New(
		sandbox.WithApplication("local.demo", "demo-secret"),
		sandbox.WithPortals(sandbox.Portal{Name: "acme.bitrix24.ru", App: "local.demo"}),
	)
	defer box.Close()
	acme := box.Portal("acme.bitrix24.ru")

	registry, done, err := stored(ctx, acme)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer done()
	auth, err := bitrix.NewAuthServer(bitrix.AuthConfig{
		ClientID: "local.demo", ClientSecret: bitrix.NewSecret("demo-secret"), Transport: box.Transport(),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer auth.Close()
	caller := signin.New(signin.Config{
		API: bitrix.NewClient(bitrix.Config{Transport: box.Transport()}), Auth: auth, Store: registry,
	})
	defer caller.Close()

	acme.ExpireTokens()
	p, err := registry.Find(ctx, "acme.bitrix24.ru")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, code := range []string{"helper", "sales"} {
		registered, err := caller.Register(ctx, &p, &bitrix.Bot{
			Code: code, EventHandler: "https://bots.example.com/events", Properties: bitrix.Properties{Name: code},
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(code, "is bot", registered.BotID)
	}
	fmt.Println("tokens renewed:", box.Auth().Stats().Requests)
	// Output:
	// helper is bot 39
	// sales is bot 40
	// tokens renewed: 1
}

// stored is a registry that knows a portal, by the pair of tokens that its install
// brought.
func stored(ctx context.Context, st *sandbox.PortalState) (registry *portals.Registry, done func(), err error) {
	mem := miniredis.NewMiniRedis()
	if err := mem.Start(); err != nil {
		return nil, nil, err
	}
	rdb := redis.NewClient(&redis.Options{Addr: mem.Addr()})
	done = func() { _ = rdb.Close(); mem.Close() }
	keys, err := portals.ParseKeys(portals.NewKey())
	if err != nil {
		return nil, done, err
	}
	access, refresh := st.Pair()
	a, err := bitrix.NewOAuth("https://acme.bitrix24.ru/rest/", string(access))
	if err != nil {
		return nil, done, err
	}
	registry = portals.New(rdb, keys, portals.Options{})
	_, err = registry.Import(ctx, []portals.Entry{{
		Name: "acme.bitrix24.ru", MemberID: st.MemberID(), Plan: portals.Standard, Limits: portals.PlanLimits(portals.Standard),
		ServerTimeout: portals.DefaultServerTimeout, Access: a, RefreshToken: portals.NewSecret(string(refresh)),
	}})
	return registry, done, err
}
