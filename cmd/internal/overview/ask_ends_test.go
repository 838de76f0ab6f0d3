// That rows move is said when one was seen to end, and that none does when so.

package overview

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
	"botfleet/ratelimit/redistest"
	"botfleet/tasks/runs"
)

// queuedAt adds waiting rows to a run, which were queued at a time.
func (s *stage) queuedAt(run string, at time.Time, p portals.Portal, numbers ...int) {
	s.t.Helper()
	s.must(s.runs.Open(s.t.Context(), run, runs.Begin{}))
	var rows []runs.Row
	for _, n := range numbers {
		rows = append(rows, runs.Row{
			Number: n, Ident: fmt.Sprintf("%s-%d", run, n), Portal: p.Name, PortalID: p.ID, Code: fmt.Sprintf("bot%d", n), QueuedAt: at, Bot: json.RawMessage(`{}`),
		})
	}
	_, err := s.runs.Add(s.t.Context(), run, rows)
	s.must(err)
}

// endedAt has a run's stream tell that a row ended at a time, and nothing else.
func (s *stage) endedAt(run string, at time.Time) {
	s.t.Helper()
	key := "botfleet:{run:" + run + "}:out"
	s.must(s.rdb.Del(s.t.Context(), key).Err())
	s.must(s.rdb.XAdd(s.t.Context(), &redis.XAddArgs{Stream: key, ID: fmt.Sprintf("%d-0", at.UnixMilli()), Values: []string{"1", "r0|x|{}"}}).Err())
}

// verdict is what a new look says first.
func (s *stage) verdict() verdict {
	s.t.Helper()
	s.page.list.until = time.Time{}
	l := s.page.lookFront(s.t.Context())
	s.must(l.runs.err)
	return judge(l)
}

func (s *stage) says(when, class, text string) {
	s.t.Helper()
	v := s.verdict()
	same(s.t, when, v.Class+": "+v.Text, class+": "+text)
}

func TestWhatMoves(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, _ string) {
		s := newStage(t, rdb)
		s.alive()
		p := s.portals("acme.bitrix24.ru")[0]
		now := time.Now()
		night, hour := now.Add(-9*time.Hour).Truncate(time.Second), now.Add(-time.Hour).Truncate(time.Second)
		clock := func(at time.Time) string { return momentOf(at, now).Clock }

		s.queuedAt("now", night, p, 1, 2, 3)
		s.says("the first look at rows that wait since the night", "warn", "3 rows wait, and none was done since "+clock(night)+".")
		s.endedAt("now", hour)
		s.says("one was done an hour ago", "warn", "3 rows wait, and none was done since "+clock(hour)+".")
		s.queuedAt("install-1", now, p, 1)
		s.says("a new run ends no standstill", "warn", "4 rows wait, and none was done since "+clock(hour)+".")
		s.must(s.runs.Record(t.Context(), "install-1", 0, runs.Outcome{Row: 1, Status: runs.StatusRegistered}))
		s.says("the run that ended between two looks", "good", "Everything moves.")
	})
}

// Rows that were queued a moment ago need not have ended, whatever was before.
func TestRowsThatHaveJustComeAreNotStill(t *testing.T) {
	s := newStage(t, redistest.Client(t, redistest.Start(t).URL))
	s.alive()
	p := s.portals("acme.bitrix24.ru")[0]
	s.queuedAt("now", time.Now().Add(-time.Minute), p, 1, 2)
	s.endedAt("now", time.Now().Add(-time.Hour))
	s.says("rows of a minute ago", "good", "2 rows wait, and none of them is done yet.")
}

// A run that is finished, and no more among the newest, still told of its last row.
func TestTheEndOfARunThatIsGoneFromTheList(t *testing.T) {
	s := newStage(t, redistest.Client(t, redistest.Start(t).URL))
	s.alive()
	p := s.portals("acme.bitrix24.ru")[0]
	night := time.Now().Add(-9 * time.Hour)
	s.queuedAt("old", night, p, 1)
	s.queuedAt("stuck", night, p, 1)
	s.verdict()
	s.must(s.runs.Record(t.Context(), "old", 0, runs.Outcome{Row: 1, Status: runs.StatusRegistered}))
	s.must(s.rdb.ZRem(t.Context(), "botfleet:runs", "old").Err()) // as if there were a hundred newer ones
	for range 3 {
		s.says("a run that is not listed", "good", "Everything moves.")
	}
}
