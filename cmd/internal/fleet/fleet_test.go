// Which of asynq's servers are workers, and what they do.

package fleet

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/encoding/protowire"

	"botfleet/ratelimit/redistest"
	"botfleet/tasks/onboard"
)

// lives lets one of asynq's servers live for a minute, with a status and 8 slots.
func lives(t *testing.T, rdb redis.UniversalClient, host string, pid uint64, status string, queues ...string) {
	t.Helper()
	text := func(b []byte, n protowire.Number, v string) []byte {
		return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), v)
	}
	number := func(b []byte, n protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
	}
	record := number(number(text(nil, serverHost, host), serverPID, pid), serverSlots, 8)
	for _, q := range queues {
		record = text(record, serverQueues, string(text(nil, mapKey, q)))
	}
	store(t, rdb, fmt.Sprintf("asynq:servers:{%s:%d:%s}", host, pid, queues[0]), text(record, serverStatus, status))
}

func store(t *testing.T, rdb redis.UniversalClient, key string, record []byte) {
	t.Helper()
	if err := rdb.ZAdd(t.Context(), serversKey, redis.Z{Score: float64(time.Now().Add(time.Minute).Unix()), Member: key}).Err(); err != nil {
		t.Fatal(err)
	}
	if err := rdb.Set(t.Context(), key, record, time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestWorkersAreThoseThatTakeRows(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, _ string) {
		lives(t, rdb, "a", 1, "active", "portals-7")
		lives(t, rdb, "a", 1, "active", onboard.Queue) // the same process
		lives(t, rdb, "a", 2, "active", "old")
		lives(t, rdb, "b", 1, takesNothing, "portals-7", "old")
		lives(t, rdb, "b", 1, "active", onboard.Queue)
		lives(t, rdb, "c", 1, "active", onboard.Queue)        // has nothing to do with rows
		lives(t, rdb, "d", 1, "active", "mail", "portals-x")  // another program's
		lives(t, rdb, "e", 1, takesNothing, "mail", "portal") // and one more
		for _, strange := range []string{"strange", "\xff\xff"} {
			store(t, rdb, strange, []byte(strange))
		}
		want := Fleet{Workers: 2, Slots: 16, Paused: 1, Installs: 1, Served: map[string]bool{"portals-7": true, "old": true}}
		got, err := Of(t.Context(), rdb, []string{"old"}, time.Now())
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		later, err := Of(t.Context(), rdb, []string{"old"}, time.Now().Add(2*time.Minute))
		if diff := cmp.Diff(Fleet{Served: map[string]bool{}}, later); diff != "" || err != nil {
			t.Errorf("of servers that are dead, %v (-want +got):\n%s", err, diff)
		}
	})
}

func FuzzARecordOfAServer(f *testing.F) {
	f.Add([]byte("\x0a\x01h\x10\x01\x2a\x0d\x0a\x09portals-0\x10\x01\x3a\x06active"))
	f.Add([]byte{0x42, 0xff})
	f.Fuzz(func(t *testing.T, record []byte) {
		s, ok := decodeServer(record)
		if ok && (len(s.queues) > len(record) || len(s.status) > len(record)) {
			t.Errorf("%d queues, a status of %d bytes", len(s.queues), len(s.status))
		}
	})
}
