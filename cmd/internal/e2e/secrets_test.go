// Secrets: none is printed, and none lies in Redis.

package e2e

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/ratelimit/redistest"
)

// noSecrets fails the test when a text holds a secret, plain or encoded.
func noSecrets(t *testing.T, text string, secrets ...string) {
	t.Helper()
	lower := strings.ToLower(text)
	for _, s := range secrets {
		for how, form := range map[string]string{
			"plain": s, "hex": hex.EncodeToString([]byte(s)),
			"base64": strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(s)), "="),
		} {
			if at := strings.Index(lower, strings.ToLower(form)); at >= 0 {
				t.Errorf("a secret stands in it (%s): …%s…", how, text[max(0, at-100):min(len(text), at+100)])
			}
		}
	}
}

// dump is everything that a Redis holds, keys and values.
func dump(t *testing.T, client redis.UniversalClient) string {
	t.Helper()
	var b strings.Builder
	keys := client.Scan(t.Context(), 0, "*", 1000).Iterator()
	for keys.Next(t.Context()) {
		b.WriteString(keys.Val() + "\n" + value(t, client, keys.Val()) + "\n")
	}
	if err := keys.Err(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// value is a key's value, whatever its type.
func value(t *testing.T, client redis.UniversalClient, key string) string {
	t.Helper()
	ctx := t.Context()
	var parts []string
	var err error
	switch kind := client.Type(ctx, key).Val(); kind {
	case "string":
		var s string
		s, err = client.Get(ctx, key).Result()
		parts = []string{s}
	case "hash":
		var m map[string]string
		m, err = client.HGetAll(ctx, key).Result()
		for k, v := range m {
			parts = append(parts, k, v)
		}
	case "list":
		parts, err = client.LRange(ctx, key, 0, -1).Result()
	case "set":
		parts, err = client.SMembers(ctx, key).Result()
	case "zset":
		parts, err = client.ZRange(ctx, key, 0, -1).Result()
	case "stream":
		var entries []redis.XMessage
		entries, err = client.XRange(ctx, key, "-", "+").Result()
		for _, e := range entries {
			for k, v := range e.Values {
				parts = append(parts, k, v.(string)) // go-redis gives strings only
			}
		}
	case "none": // expired meanwhile
	default:
		t.Errorf("key %s has the unknown type %s", key, kind)
	}
	if err != nil {
		t.Errorf("read key %s: %v", key, err)
	}
	return strings.Join(parts, "\n")
}

// A run with failures of every kind, on a Redis with a password, with every
// log line there is.
func TestNoSecretIsPrintedOrStoredOpen(t *testing.T) {
	turn(t)
	const password = "r3d1sp4ssw0rd"
	key := portals.NewKey()
	server := redistest.Start(t, redistest.Password(password))
	f := newFleet(t)
	settings := map[string]any{"server_timeout": 0.2}
	calls := []string{"imbot.register", "batch"}
	for _, fault := range []sandbox.Fault{
		{Kind: sandbox.HTML, Count: 1}, {Kind: sandbox.Reset, Count: 1, Methods: calls}, {Kind: sandbox.Reset, When: sandbox.After, Count: 1, Methods: calls},
		{Kind: sandbox.Truncate, Count: 1, Methods: calls}, {Kind: sandbox.Cut, Count: 1, Methods: calls}, {Kind: sandbox.Empty, Count: 1}, {Kind: sandbox.Silence, Count: 1},
		{Kind: sandbox.Refuse, Code: "INVALID_CREDENTIALS"}, {Kind: sandbox.Refuse, Code: "OVERLOAD_LIMIT"},
		{Kind: sandbox.Refuse, Code: "WRONG_REQUEST"}, {Kind: sandbox.Refuse, Code: "expired_token"},
		{Kind: sandbox.Refuse, Code: "INTERNAL_SERVER_ERROR", Count: 1},
	} {
		like := sandbox.Unlimited("")
		like.Faults = []sandbox.Fault{fault}
		f.add(like, settings)
	}
	like := sandbox.Unlimited("")
	like.RenamedTo = "moved.bitrix24.ru"
	f.add(like, settings)
	// Nobody listens here any more.
	f.entries = append(f.entries, map[string]any{
		"portal": "127.0.0.1:1", "webhook": "http://127.0.0.1:1/rest/1/" + webhookSecret + "/", "client_id": "x",
	})
	rows := goodRows(append(f.names, "127.0.0.1:1", "unknown.bitrix24.ru"), 2)

	env := []string{"REDIS_URL=" + server.URL, "SECRETS_KEY=" + key, "LOG_LEVEL=debug",
		"REQUEST_TIMEOUT=500ms", "MAX_ATTEMPTS=2", "HOLD_TTL=0s", "SHUTDOWN_TIMEOUT=5s"}
	w := startWorker(t, env...)
	portalsFile, input := f.file(), writeJSONL(t, rows)
	p := finish(t, 2, 2*time.Minute, "enqueue", env, "submit", "--wait", "--skip-invalid", "--portals", portalsFile, input)
	client := redistest.Client(t, server.URL)
	stored := dump(t, client)
	s := finish(t, 0, time.Minute, "enqueue", env, "status")
	w.stop(20 * time.Second)

	secrets := []string{webhookSecret, key, password}
	for what, text := range map[string]string{
		"stdout": p.stdout.String(), "stderr": p.stderr.String(), "worker's stderr": w.stderr.String(),
		"worker's stdout": w.stdout.String(), "status": s.stdout.String() + s.stderr.String(), "Redis": stored + dump(t, client),
	} {
		t.Run(what, func(t *testing.T) { noSecrets(t, text, secrets...) })
	}
	if !strings.Contains(stored, f.names[0]) {
		t.Error("what was looked at in Redis does not even name the portals")
	}
	parseResults(t, p.stdout.String(), len(rows))
}
