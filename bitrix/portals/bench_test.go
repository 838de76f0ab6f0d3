package portals_test

import (
	"fmt"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit/redistest"
)

// BenchmarkImport stores 10,000 new portals and finds them all, per iteration.
func BenchmarkImport(b *testing.B) {
	entries := make([]portals.Entry, 10_000)
	names := make([]string, len(entries))
	for i := range entries {
		entries[i] = webhook(b, fmt.Sprintf("p%d.bitrix24.ru", i), "s")
		names[i] = entries[i].Name
	}
	for kind, start := range map[string]func() string{
		"redis-server": func() string { return redistest.Start(b).URL },
		"in memory":    func() string { return "redis://" + miniredis.RunT(b).Addr() },
	} {
		b.Run(kind, func(b *testing.B) {
			client := redistest.Client(b, start())
			r := newRegistry(b, client)
			for b.Loop() {
				if err := client.FlushAll(b.Context()).Err(); err != nil {
					b.Fatal(err)
				}
				if got, err := r.Import(b.Context(), entries); err != nil || got.Added != len(entries) {
					b.Fatal(got, err)
				}
				if found, err := r.FindMany(b.Context(), names); err != nil || len(found) != len(entries) {
					b.Fatal(len(found), err)
				}
			}
		})
	}
}

// BenchmarkTenThousand measures what is asked of a registry of 10,000 portals.
func BenchmarkTenThousand(b *testing.B) {
	client := redistest.Client(b, redistest.Start(b).URL)
	one, two := portals.NewKey(), portals.NewKey()
	r := portals.New(client, mustKeys(b, one+","+two), portals.Options{})
	turned := portals.New(client, mustKeys(b, two+","+one), portals.Options{})
	list := portals.New(client, portals.Keyring{}, portals.Options{WithoutSecrets: true})
	entries := make([]portals.Entry, 10_000)
	names := make([]string, len(entries))
	for i := range entries {
		entries[i] = oauth(b, fmt.Sprintf("p%d.bitrix24.ru", i), fmt.Sprint("m", i), "t", "r")
		names[i] = entries[i].Name
	}
	if _, err := r.Import(b.Context(), entries); err != nil {
		b.Fatal(err)
	}
	found, err := r.FindMany(b.Context(), names)
	if err != nil || len(found) != len(names) {
		b.Fatal(len(found), err)
	}
	b.Run("find all", func(b *testing.B) {
		for b.Loop() {
			if found, err := r.FindMany(b.Context(), names); err != nil || len(found) != len(names) {
				b.Fatal(len(found), err)
			}
		}
	})
	b.Run("list all", func(b *testing.B) {
		for b.Loop() {
			n := 0
			if err := list.Each(b.Context(), func(portals.Portal) error { n++; return nil }); err != nil || n != len(names) {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("rekey all", func(b *testing.B) {
		for b.Loop() {
			turned, r = r, turned
			if n, _, err := r.Rekey(b.Context()); err != nil || n != len(names) {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("renew one", func(b *testing.B) {
		p := found[names[0]]
		for b.Loop() {
			if _, err := r.Renewing(b.Context(), p.ID, p.Generation); err != nil {
				b.Fatal(err)
			}
			a, err := bitrix.NewOAuth(p.Name, fmt.Sprint("t", p.Generation))
			if err != nil {
				b.Fatal(err)
			}
			if p, err = r.Renew(b.Context(), p.ID, p.Generation, a, p.Refresh, p.MemberID); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("refresh after all were renewed", func(b *testing.B) {
		version, err := r.Version(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		c := portals.NewCache(r, 0)
		for b.Loop() {
			if _, err := c.Refresh(b.Context()); err != nil {
				b.Fatal(err)
			}
			// Every portal is listed with a version of its own.
			b.StopTimer()
			version = renewAll(b, client, found, version)
			b.StartTimer()
		}
	})
}

// renewAll lists a change of every portal, the way so many renewals would.
func renewAll(b *testing.B, client redis.UniversalClient, all map[string]portals.Portal, version int64) int64 {
	b.Helper()
	_, err := client.Pipelined(b.Context(), func(p redis.Pipeliner) error {
		for _, portal := range all {
			version++
			p.ZAdd(b.Context(), keys+"changes", redis.Z{Score: float64(version), Member: portal.ID})
		}
		return p.Set(b.Context(), keys+"version", version, 0).Err()
	})
	if err != nil {
		b.Fatal(err)
	}
	return version
}
