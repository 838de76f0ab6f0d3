package portals_test

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
)

const file = `portal,webhook,client_id,plan
acme.bitrix24.ru,https://acme.bitrix24.ru/rest/1/your-webhook-secret/,my-app,enterprise
`

// Portals of a file are stored, sealed, and found by every process that has the key.
// A portal keeps its id and its queue whatever is imported later.
func Example() {
	ctx := context.Background()
	mem := miniredis.NewMiniRedis()
	if err := mem.Start(); err != nil {
		fmt.Println(err)
		return
	}
	defer mem.Close()
	rdb := redis.NewClient(&redis.Options{Addr: mem.Addr()})
	defer func() { _ = rdb.Close() }()
	keys, err := portals.ParseKeys(portals.NewKey()) // in life from SECRETS_KEY, the same everywhere
	if err != nil {
		fmt.Println(err)
		return
	}

	entries, err := portals.Read(strings.NewReader(file), portals.CSV, "portals.csv", bitrix.Endpoints{})
	if err != nil {
		fmt.Println(err)
		return
	}
	done, err := portals.New(rdb, keys, portals.Options{Shards: 4}).Import(ctx, entries)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("added", done.Added)

	p, err := portals.New(rdb, keys, portals.Options{Shards: 16}).Find(ctx, "ACME.bitrix24.ru")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Name, p.Plan, p.Limits.Rate, "requests a second, sign-in by", p.Access)

	_, err = portals.New(rdb, portals.Keyring{}, portals.Options{WithoutSecrets: true}).Find(ctx, "acne.bitrix24.ru")
	fmt.Println(err, errors.Is(err, portals.ErrUnknown))
	// Output:
	// added 1
	// acme.bitrix24.ru enterprise 5 requests a second, sign-in by webhook https://acme.bitrix24.ru/rest/[hidden]
	// portal "acne.bitrix24.ru" is not known; did you mean acme.bitrix24.ru? true
}

// A file is checked as a whole: its error has every problem, with its line.
func ExampleRead() {
	_, err := portals.Read(strings.NewReader("portal,webhook,plan\nacme.bitrix24.ru,,gold\n"), portals.CSV, "portals.csv", bitrix.Endpoints{})
	if bad, ok := errors.AsType[*portals.FileError](err); ok {
		for _, p := range bad.Problems {
			fmt.Println(p)
		}
	}
	// Output:
	// portals.csv:2: webhook: is missing; give the webhook's URL, or access_token and refresh_token
	// portals.csv:2: plan: "gold" is not one of standard, enterprise
}
