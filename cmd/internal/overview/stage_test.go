// A Redis with portals, runs and a gate on it, and the page over them.

package overview

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
	"botfleet/tasks"
	"botfleet/tasks/runs"
)

// secret is in every webhook of a stage, and must be on no page.
const secret = "s3cretS3cret"

type stage struct {
	t        *testing.T
	rdb      redis.UniversalClient
	registry *portals.Registry
	runs     *runs.Store
	gate     *ratelimit.Shared
	queues   *queues
	commands atomic.Int64
	page     *Overview
}

// queues are asynq's, with put-off tasks of the stage's own.
type queues struct {
	*asynq.Inspector

	putOff []*asynq.TaskInfo
}

func (q *queues) ListRetryTasks(queue string, _ ...asynq.ListOption) ([]*asynq.TaskInfo, error) {
	var list []*asynq.TaskInfo
	for _, t := range q.putOff {
		if t.Queue == queue {
			list = append(list, t)
		}
	}
	return list, nil
}

func newStage(t *testing.T, rdb redis.UniversalClient, change ...func(*Config)) *stage {
	t.Helper()
	keys, err := portals.ParseKeys(portals.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{
		t: t, rdb: rdb, registry: portals.New(rdb, keys, portals.Options{Shards: 1}), runs: runs.New(rdb, runs.Options{}),
		gate:   ratelimit.NewShared(ratelimit.SharedConfig{Redis: rdb, Parallel: 4}),
		queues: &queues{Inspector: asynq.NewInspectorFromRedisClient(rdb)},
	}
	rdb.(*redis.Client).AddHook(counting{&s.commands})
	c := Config{
		Runs: s.runs, Registry: portals.New(rdb, portals.Keyring{}, portals.Options{WithoutSecrets: true}), Gate: s.gate, Queues: s.queues, Redis: rdb,
		Batch: 50, Parallel: 4, Dashboard: "/dashboard", Version: "v1.2.3",
	}
	for _, f := range change {
		f(&c)
	}
	if s.page, err = New(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.page.Close)
	return s
}

// counting counts the commands that are sent, but for those with which connections
// begin: how many of these there are is the pool's affair.
type counting struct{ n *atomic.Int64 }

func (c counting) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c counting) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.count(cmd)
		return next(ctx, cmd)
	}
}

func (c counting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.count(cmds...)
		return next(ctx, cmds)
	}
}

func (c counting) count(cmds ...redis.Cmder) {
	for _, cmd := range cmds {
		if name := cmd.Name(); name != "hello" && name != "client" {
			c.n.Add(1)
		}
	}
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// portals stores portals and returns them.
func (s *stage) portals(names ...string) []portals.Portal {
	s.t.Helper()
	var entries []portals.Entry
	for _, n := range names {
		access, err := bitrix.ParseWebhook("https://" + n + "/rest/1/" + secret + "/")
		s.must(err)
		entries = append(entries, portals.Entry{
			Name: n, ClientID: "app", Plan: portals.Standard, Limits: portals.PlanLimits(portals.Standard), ServerTimeout: time.Minute, Access: access,
		})
	}
	_, err := s.registry.Import(s.t.Context(), entries)
	s.must(err)
	found, err := s.registry.FindMany(s.t.Context(), names)
	s.must(err)
	var all []portals.Portal
	for _, n := range names {
		all = append(all, found[n])
	}
	return all
}

// run opens a run with a waiting row for each of the portals.
func (s *stage) run(id, label string, of ...portals.Portal) []runs.Row {
	s.t.Helper()
	s.must(s.runs.Open(s.t.Context(), id, runs.Begin{Label: label}))
	var rows []runs.Row
	for i, p := range of {
		rows = append(rows, runs.Row{
			Number: i + 1, Ident: fmt.Sprintf("%s-%d", id, i), Portal: p.Name, PortalID: p.ID, Code: fmt.Sprintf("bot%d", i),
			QueuedAt: time.Now().Add(-time.Minute), Bot: json.RawMessage(`{}`),
		})
	}
	_, err := s.runs.Add(s.t.Context(), id, rows)
	s.must(err)
	s.must(s.runs.Seal(s.t.Context(), id))
	return rows
}

func (s *stage) registered(run string, r runs.Row) {
	s.t.Helper()
	s.must(s.runs.Record(s.t.Context(), run, 0, runs.Outcome{
		Row: r.Number, Portal: r.Portal, PortalID: r.PortalID, Code: r.Code, Status: runs.StatusRegistered, BotID: 1, How: runs.HowCreated, DoneAt: time.Now(),
	}))
}

func (s *stage) dead(run string, r runs.Row, class, code string) {
	s.t.Helper()
	s.must(s.runs.Record(s.t.Context(), run, 0, runs.Outcome{
		Row: r.Number, Portal: r.Portal, PortalID: r.PortalID, Code: r.Code, Status: runs.StatusDead, Class: class,
		Error: &runs.Failure{Code: code, Description: "text"}, DoneAt: time.Now(),
	}))
}

// putOff makes a put-off task of a row.
func (s *stage) putOff(run string, r runs.Row, queue, lastErr string) {
	s.t.Helper()
	body, err := tasks.Payload{Run: run, Row: r.Number, PortalID: r.PortalID, Portal: r.Portal, Code: r.Code}.Encode()
	s.must(err)
	s.queues.putOff = append(s.queues.putOff, &asynq.TaskInfo{Queue: queue, Payload: body, LastErr: lastErr, LastFailedAt: time.Now()})
}

// ask sends a request to a portal.
func (s *stage) ask(p portals.Portal, a ratelimit.Answer) {
	s.t.Helper()
	d, err := s.gate.Acquire(s.t.Context(), ratelimit.Request{
		Portal: p.ID, Limits: p.Limits, Credential: p.Account, Method: bitrix.MethodRegister, Rows: 1, MarkFor: time.Minute,
	})
	s.must(err)
	if len(d.Go) == 0 {
		return
	}
	a.Ran = len(d.Go)
	s.must(s.gate.Observe(s.t.Context(), d.Ticket, a))
}

// alive lets a worker live for a minute: asynq's record of a server that is active
// on the queue portals-0.
func (s *stage) alive() {
	s.t.Helper()
	const key, record = "asynq:servers:{h:1:x}", "\x0a\x01h\x10\x01\x2a\x0d\x0a\x09portals-0\x10\x01\x3a\x06active"
	s.must(s.rdb.ZAdd(s.t.Context(), "asynq:servers", redis.Z{Score: float64(time.Now().Add(time.Minute).Unix()), Member: key}).Err())
	s.must(s.rdb.Set(s.t.Context(), key, record, time.Minute).Err())
}

// get is what the page answers.
func (s *stage) get(path string) *httptest.ResponseRecorder {
	rw := httptest.NewRecorder()
	s.page.ServeHTTP(rw, httptest.NewRequestWithContext(s.t.Context(), http.MethodGet, path, nil))
	return rw
}
