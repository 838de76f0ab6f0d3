//go:build browser

// Portals in a box, rows for them, and a Redis: what a worker's pages tell of.

package browser

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/ratelimit/redistest"
	"botfleet/tasks/runs"
)

// Secrets of all kinds: no page may ever show one.
const (
	webhookSecret = "s3cr3tw3bh00kp4th"
	redisPassword = "r3d1sp4ssw0rdf0rt3sts"
	pagePassword  = "p4g3p4ssw0rdf0rt3sts"
)

// fleet is portals, a Redis, and the environment of processes that share them.
type fleet struct {
	t       *testing.T
	box     *sandbox.Sandbox
	redis   *redistest.Server
	env     []string
	key     string // that credentials are sealed with
	names   []string
	entries []object // of the portals file
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{t: t, box: sandbox.Start(t), key: portals.NewKey()}
	f.redis = redistest.Start(t, redistest.Password(redisPassword), redistest.AOF(), redistest.Set("appendfsync", "everysec"))
	f.env = []string{"REDIS_URL=" + f.redis.URL, "SECRETS_KEY=" + f.key}
	return f
}

// secrets are all that no page may show.
func (f *fleet) secrets() []string {
	return []string{webhookSecret, redisPassword, pagePassword, f.key, strings.TrimRight(f.key, "=")}
}

// add adds a portal like the one given, and returns it. set changes its line in
// the portals file.
func (f *fleet) add(like sandbox.Portal, set object) *sandbox.PortalState {
	f.t.Helper()
	addr, err := f.box.Listen(fmt.Sprintf("127.31.0.%d:0", 1+len(f.names)))
	if err != nil {
		f.t.Fatal(err)
	}
	like.Name, like.AnyWebhook = addr, false
	like.Webhooks = []sandbox.Webhook{{User: "1", Secret: webhookSecret}}
	st, err := f.box.Add(like)
	if err != nil {
		f.t.Fatal(err)
	}
	entry := object{"portal": addr, "webhook": "http://" + addr + "/rest/1/" + webhookSecret + "/", "client_id": "fleet"}
	for k, v := range set {
		if entry[k] = v; v == nil {
			delete(entry, k)
		}
	}
	f.names = append(f.names, entry["portal"].(string))
	f.entries = append(f.entries, entry)
	return st
}

// quick is a portal without limits.
func quick() (sandbox.Portal, object) {
	return sandbox.Unlimited(""), object{"rate": 1000, "burst": 1000}
}

// slow is a portal that takes one row every half second.
func slow() (sandbox.Portal, object) {
	p := sandbox.Unlimited("")
	p.Rate, p.Burst = 2, 4
	return p, object{"rate": 2, "burst": 4}
}

// store writes the portals into Redis.
func (f *fleet) store() {
	f.t.Helper()
	enqueue(f.t, f.env, "portals", "import", writeLines(f.t, "portals.jsonl", f.entries))
}

// submit queues so many rows for each of the portals, and returns the run's id.
func (f *fleet) submit(file string, each int, names ...string) string {
	f.t.Helper()
	var rows []object
	for i := range each {
		for _, name := range names {
			rows = append(rows, object{
				"portal": name, "CODE": fmt.Sprintf("helper_%d", i+1), "EVENT_HANDLER": "https://bots.example.com/events",
				"CLIENT_ID": fmt.Sprintf("app%d", i), "PROPERTIES": object{"NAME": fmt.Sprintf("Helper %d", i+1), "COLOR": "AZURE"},
			})
		}
	}
	return enqueue(f.t, f.env, "submit", writeLines(f.t, file, rows))
}

// writeLines writes values as JSON Lines into a folder of the test's own.
func writeLines(t *testing.T, name string, values []object) string {
	t.Helper()
	var text strings.Builder
	enc := json.NewEncoder(&text)
	for _, v := range values {
		if err := enc.Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// refuseNames makes a portal refuse all bots for their names, until its faults are cleared.
func refuseNames(t *testing.T, st *sandbox.PortalState) {
	t.Helper()
	if err := st.Inject(sandbox.Fault{Kind: sandbox.Refuse, Code: "NAME_ERROR", Methods: []string{"imbot.register"}}); err != nil {
		t.Fatal(err)
	}
}

// status is a run as the command tells of it.
type status struct {
	State                                                 string
	Queued, Registered, Dead, Refused, Duplicate, Waiting int
}

func (f *fleet) status(run string) status {
	f.t.Helper()
	var s status
	if err := json.Unmarshal([]byte(enqueue(f.t, f.env, "status", "--format", "json", run)), &s); err != nil {
		f.t.Fatal(err)
	}
	if s.Queued != s.Registered+s.Dead+s.Refused+s.Duplicate+s.Waiting {
		f.t.Errorf("the sum is wrong: %+v", s)
	}
	return s
}

// awaitStatus waits until a run's counts are as wanted, and wants the command to say so.
func (f *fleet) awaitStatus(run string, want status) {
	f.t.Helper()
	f.awaitCounts(run, fmt.Sprintf("%+v", want), func(c runs.Counts) bool {
		return c.Registered == want.Registered && c.Dead == want.Dead && c.Waiting == want.Waiting
	})
	if got := f.status(run); got != want {
		f.t.Fatalf("run %s is %+v, not %+v", run, got, want)
	}
}

// awaitCounts waits until a run's counts are as wanted.
func (f *fleet) awaitCounts(run, what string, wanted func(runs.Counts) bool) {
	f.t.Helper()
	store := runs.New(redistest.Client(f.t, f.redis.URL), runs.Options{})
	var last runs.Info
	f.t.Cleanup(func() {
		if f.t.Failed() {
			f.t.Logf("run %s was last %+v", run, last.Counts)
		}
	})
	await(f.t, time.Minute, "run "+run+" to become "+what, func() bool {
		info, err := store.Get(f.t.Context(), run)
		last = info
		return err == nil && !info.Open && wanted(info.Counts)
	})
}

// queueOf is the queue of a portal's tasks: the one whose archive or rows name it.
func (f *fleet) queueOf(name string) string {
	f.t.Helper()
	client := redistest.Client(f.t, f.redis.URL)
	keys := client.Keys(f.t.Context(), "asynq:{*}:t:*").Val()
	for _, key := range keys {
		if strings.Contains(client.HGet(f.t.Context(), key, "msg").Val(), name) {
			return key[strings.Index(key, "{")+1 : strings.Index(key, "}")]
		}
	}
	slices.Sort(keys)
	f.t.Fatalf("no task of %s in %v", name, keys)
	return ""
}
