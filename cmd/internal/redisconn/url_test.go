package redisconn_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"botfleet/cmd/internal/redisconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	for _, tt := range []struct{ url, want string }{
		{"redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"},
		{"redis://localhost", "redis://localhost:6379/0"},
		{" redis://localhost/3 \n", "redis://localhost:6379/3"},
		{"REDIS://localhost/?db=4", "redis://localhost:6379/4"},
		{"rediss://u:p%40ss@redis.example.com:6380/1", "rediss://redis.example.com:6380/1"},
		{"redis://:p:a:s@h", "redis://h:6379/0"},
		{"redis://:p@a@h", "redis://h:6379/0"},
		{"redis://[::1]:7000/2", "redis://[::1]:7000/2"},
		{"redis://[::1]", "redis://[::1]:6379/0"},
		{"redis-sentinel://u:p@a,b:26380,c/mymaster/2?sentinel_password=x", "redis-sentinel://a:26379,b:26380,c:26379/mymaster/2"},
		{"redis-cluster://a:7000,b:7001,c", "redis-cluster://a:7000,b:7001,c:6379"},
		{"redis-cluster://a/0?tls=true", "rediss-cluster://a:6379"},
		{"rediss-cluster://u:p@a,b:7001?server_name=redis.internal", "rediss-cluster://a:6379,b:7001"},
		{"rediss-sentinel://u:p@a,b/m?sentinel_username=w&sentinel_password=x%2By", "rediss-sentinel://a:26379,b:26379/m/0"},
		{"rediss://a?tls=false", "redis://a:6379/0"},
		{"unix:///run/redis.sock?db=2", "unix:///run/redis.sock?db=2"},
		{"unix://:p@/run/a%20b.sock", "unix:///run/a b.sock?db=0"},
	} {
		c, err := redisconn.Parse(tt.url)
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		if got := c.String(); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.url, got, tt.want)
		}
	}
}

// secret stands for a password in the URLs below; no error may hold any of it.
const secret = "hunter2SECRET"

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ url, want string }{
		{"", "is empty"},
		{"localhost:6379", "has no scheme"},
		{"http://localhost", "scheme is not one of"},
		{"redis://", "has no host"},
		{"redis://:" + secret + "@", "has no host"},
		{"redis://:" + secret + "@:6379", "has no host"},
		{"redis://a,b", "takes one host"},
		{"redis://:" + secret + "@h:0", "a port is not a number"},
		{"redis://:" + secret + "@h:x", "a port is not a number"},
		{"redis://:" + secret + "@h/x", "database is not a number"},
		{"redis://:" + secret + "@h/1/2", "too many parts"},
		{"redis://:" + secret + "@h/-1", "database is not a number"},
		{"redis://:%zz" + secret + "@h", "must be written %25"},
		{"redis://:a/" + secret + "@h", "percent-encoded"},
		{"redis://:a?" + secret + "@h", "percent-encoded"},
		{"redis://:a#" + secret + "@h", "percent-encoded"},
		{"redis://:1/" + secret, "has no host"},
		{"redis://" + secret + "@h", "a user name without a password"},
		{"redis://h:1:2", "not a name or an address"},
		{"redis://:" + secret + "@h?" + secret + "=1", "parameter after ?"},
		{"redis://h?tls=" + secret, "tls is not true or false"},
		{"redis://h?%zz" + secret, "form name=value"},
		{"redis-cluster://h?ca=" + secret, "ca, cert, key, server_name and skip_verify are for TLS"},
		{"rediss://h?ca=" + secret, "the file of ca cannot be read: no such file"},
		{"rediss://h?ca=/dev/zero", "the file of ca is not a file of certificates"},
		{"rediss://h?cert=" + secret, "cert and key go together"},
		{"rediss://h?cert=" + secret + "&key=x", "the file of cert cannot be read: no such file"},
		{"rediss-unix://h", "scheme is not one of"},
		{"redis-sentinel://h", "needs the master's name"},
		{"redis-sentinel://h/m/x", "database is not a number"},
		{"redis-cluster://h/1", "only database 0"},
		{"redis-cluster://h,,g", "has no host"},
		{"unix://run/redis.sock", "a socket is written"},
		{"unix://", "a socket is written"},
	} {
		_, err := redisconn.Parse(tt.url)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.url, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error shows the password: %v", tt.url, err)
		}
	}
}

func TestConfigNeverPrintsSecrets(t *testing.T) {
	c, err := redisconn.Parse("redis-sentinel://bob:" + secret + "@h/m?sentinel_password=" + secret + "2")
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{c, &c, struct{ c redisconn.Config }{c}, []redisconn.Config{c}} {
			if s := fmt.Sprintf(verb, v); strings.Contains(s, secret) || strings.Contains(s, fmt.Sprintf("%x", secret)) {
				t.Errorf("%s shows the password: %s", verb, s)
			}
		}
	}
}

func TestClientsDifferByPurpose(t *testing.T) {
	c, err := redisconn.Parse("rediss://bob:p%2Fw@h:1/2?skip_verify=true")
	if err != nil {
		t.Fatal(err)
	}
	engine := c.Client(redisconn.Engine).(*redis.Client)
	question := c.Client(redisconn.Question).(*redis.Client)
	defer func() { _, _ = engine.Close(), question.Close() }()
	o := engine.Options()
	if o.Username != "bob" || o.Password != "p/w" || o.DB != 2 || o.Addr != "h:1" || !o.TLSConfig.InsecureSkipVerify {
		t.Errorf("engine: user %q, db %d, addr %s", o.Username, o.DB, o.Addr)
	}
	if o.MaxRetries != 40 || o.MaxRetryBackoff.Seconds() != 1 || o.ReadTimeout.Seconds() != 20 {
		t.Errorf("engine: %d retries, backoff %v, read timeout %v", o.MaxRetries, o.MaxRetryBackoff, o.ReadTimeout)
	}
	if q := question.Options(); q.MaxRetries != 0 || q.ReadTimeout.Seconds() > 3 || !q.ContextTimeoutEnabled {
		t.Errorf("question: %d retries, read timeout %v", q.MaxRetries, q.ReadTimeout)
	}
}

// Nodes of a cluster die: their clients do not repeat what the cluster's repeats on
// the right one, and learn soon which that is.
func TestClusterClients(t *testing.T) {
	c, err := redisconn.Parse("rediss-cluster://bob:p@a?server_name=redis.internal")
	if err != nil {
		t.Fatal(err)
	}
	for purpose, sent := range map[redisconn.Purpose]int{redisconn.Engine: 40, redisconn.Store: 10, redisconn.Question: 3, redisconn.Doorstep: 3} {
		client, ok := c.Client(purpose).(*redis.ClusterClient) // of one host, too
		if !ok {
			t.Fatalf("one cluster host gives a %T", client)
		}
		o := client.Options()
		if o.MaxRedirects != sent || o.MaxRetries != -1 || o.DialerRetries != 1 || o.ClusterStateReloadInterval > time.Second {
			t.Errorf("%d: %d redirects, %d retries, %d dials, the map is read every %v", purpose, o.MaxRedirects, o.MaxRetries, o.DialerRetries, o.ClusterStateReloadInterval)
		}
		if o.Username != "bob" || o.TLSConfig.ServerName != "redis.internal" {
			t.Errorf("%d: user %q, server name %q", purpose, o.Username, o.TLSConfig.ServerName)
		}
		_ = client.Close()
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"redis://:p@h:1/0", "redis-sentinel://u:p@a,b/m/1?tls=1", "redis-cluster://a,b", "unix:///s?db=1", "redis://[::1]:1", "redis://%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		c, err := redisconn.Parse(raw)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("not one line: %q", err)
			}
			return
		}
		again, err := redisconn.Parse(c.String())
		if strings.HasPrefix(c.String(), "unix:") {
			return // the path is shown decoded
		}
		if err != nil || again.String() != c.String() {
			t.Errorf("%q reads as %s, and that as %s, %v", raw, c, again, err)
		}
	})
}
