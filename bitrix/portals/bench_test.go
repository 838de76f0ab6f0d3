package portals_test

import (
	"fmt"
	"testing"

	"github.com/alicebob/miniredis/v2"

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
