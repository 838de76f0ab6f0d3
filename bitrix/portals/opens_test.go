// Whether credentials open, looked at many at once.

package portals_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
)

func TestOpens(t *testing.T) {
	onAll(t, func(t *testing.T, client redis.UniversalClient) {
		ours, theirs := newRegistry(t, client), portals.New(client, mustKeys(t, portals.NewKey()), portals.Options{})
		if o, err := ours.Opens(t.Context(), []string{"unknown"}, 10); err != nil || o.Looked != 0 || o.Example != nil {
			t.Fatalf("nothing stored: %+v, %v", o, err)
		}
		for i := range 30 {
			mustImport(t, ours, portals.Imported{Added: 1}, webhook(t, fmt.Sprintf("p%d.bitrix24.ru", i), "aaaaaaaaaaaaaaaa"))
		}
		o, err := ours.Opens(t.Context(), nil, 20)
		if err != nil || o.Looked != 20 || len(o.Closed) != 0 || o.Example != nil {
			t.Errorf("ours: %+v, %v", o, err)
		}
		if o, err = theirs.Opens(t.Context(), nil, 20); err != nil || o.Looked != 20 || len(o.Closed) != 20 || !errors.Is(o.Example, portals.ErrSealed) {
			t.Errorf("theirs: %+v, %v", o, err)
		}
		mustRepair(t, theirs, portals.Imported{Added: 1}, webhook(t, "new.bitrix24.ru", "aaaaaaaaaaaaaaaa"))
		id := mustFind(t, theirs, "new.bitrix24.ru").ID
		if o, err = ours.Opens(t.Context(), []string{id}, 5); err != nil || o.Looked < 5 || o.Looked > 6 || !slices.Equal(o.Closed, []string{id}) {
			t.Errorf("one named: %+v, %v", o, err)
		}
	})
}
