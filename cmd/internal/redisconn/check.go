// What is wrong with the Redis on the other side, in one line.

package redisconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// checkTimeout bounds [Check] as a whole.
const checkTimeout = 3 * time.Second

// Problem is why a Redis cannot be used. Its text is one line that says what to do.
type Problem struct {
	Text string
	Err  error // what Redis or the network said; nil when the answer itself is the trouble
}

func (p *Problem) Error() string { return p.Text }

// Unwrap gives the cause.
func (p *Problem) Unwrap() error { return p.Err }

// ErrReplica is the cause of a [Problem] with a Redis that can be read, but not
// written: looking at it is all that can be done.
var ErrReplica = errors.New("read-only replica")

// Check opens a client, checks the Redis and closes the client. See [Check];
// its error also names the address.
func (c Config) Check(ctx context.Context) error {
	client := c.Client(Question)
	err := Check(ctx, client)
	_ = client.Close() // nothing was written; there is nothing to lose
	if _, ok := errors.AsType[*Problem](err); ok {
		return fmt.Errorf("redis at %s: %w", c.Addr(), err)
	}
	return err
}

// Check asks a Redis whether it is there, lets us in, is new enough, and takes
// writes. Every failure is a [*Problem], but for the caller's own cancelled
// context. It answers within 3 s when the client is for [Store] or [Question].
func Check(ctx context.Context, client redis.UniversalClient) error {
	inner, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := client.Ping(inner).Err(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return explain(err)
	}
	info, err := client.Info(inner).Result()
	if err != nil {
		if strings.HasPrefix(err.Error(), "NOPERM") {
			return nil // signed in, but not allowed to ask; using it will tell
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return explain(err)
	}
	_, cluster := client.(*redis.ClusterClient)
	return judge(readInfo(info), cluster)
}

// readInfo reads the name:value lines of INFO.
func readInfo(text string) map[string]string {
	m := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			m[name] = value
		}
	}
	return m
}

// judge looks for what makes an answering Redis useless. An embedded Redis
// says nothing about itself, and passes.
func judge(info map[string]string, cluster bool) error {
	if v := info["redis_version"]; v != "" && tooOld(v) {
		return &Problem{Text: fmt.Sprintf("it is version %s; 6.2 or newer is needed", v)}
	}
	if info["redis_mode"] == "sentinel" {
		return &Problem{Text: "it is a Sentinel, not a Redis: write redis-sentinel://host:26379/mastername"}
	}
	if info["loading"] == "1" {
		return &Problem{Text: "it is still loading its data from disk: try again in a while"}
	}
	if cluster {
		return nil // its client finds the masters by itself
	}
	if info["redis_mode"] == "cluster" || info["cluster_enabled"] == "1" {
		return &Problem{Text: "it is a node of a Redis Cluster: write redis-cluster://host:port,host:port"}
	}
	if role := info["role"]; (role == "slave" || role == "replica") && info["slave_read_only"] != "0" {
		return &Problem{Text: fmt.Sprintf("it is a read-only replica of %s:%s: use the master's address",
			info["master_host"], info["master_port"]), Err: ErrReplica}
	}
	return nil
}

// tooOld says whether a version is below 6.2.
func tooOld(version string) bool {
	var major, minor int
	if n, err := fmt.Sscanf(version, "%d.%d", &major, &minor); n < 2 || err != nil {
		return false // a fork that counts otherwise
	}
	return major < 6 || major == 6 && minor < 2
}

// explain turns the error of a first command into a Problem.
func explain(err error) error {
	if text := explainReply(err); text != "" {
		return &Problem{Text: text, Err: err}
	}
	if text := explainNetwork(err); text != "" {
		return &Problem{Text: text, Err: err}
	}
	return &Problem{Text: "it does not answer as a Redis does: " + oneLine(err.Error()), Err: err}
}

// explainReply reads what a server said.
func explainReply(err error) string {
	s := err.Error()
	has := func(part string) bool { return strings.Contains(s, part) }
	switch {
	case has("WRONGPASS"), has("invalid password"), has("invalid username-password"):
		return "it refuses the user name or password in the URL"
	case has("AUTH <password> called without any password"):
		return "it has no password: take the password out of the URL"
	case has("NOAUTH"):
		return "it wants a password: write redis://:password@host (a Sentinel's own goes in ?sentinel_password=)"
	case has("NOPERM"):
		return "this user may not run PING: give it the rights that the README lists under Redis"
	case has("LOADING"):
		return "it is still loading its data from disk: try again in a while"
	case has("MASTERDOWN"):
		return "it is a replica without its master: use the master's address"
	case has("DB index is out of range"):
		return "it has no database of that number: use /0"
	case has("max number of clients"):
		return "it has no connections left: raise maxclients, or stop what holds them"
	case has("DENIED"):
		return "it is in protected mode: set a password, or a bind address"
	case has("cluster support disabled"):
		return "it is not a Redis Cluster: write redis://host:port"
	case has("CLUSTERDOWN"), has("cluster has no nodes"):
		return "the cluster is down: not all its slots are served"
	case has("invalid reply"), has("can't parse"), has("unexpected response"), has("HTTP/1."):
		return "something that is not a Redis listens there: check host and port"
	case has("all sentinels") && errors.Is(err, redis.Nil):
		return "the Sentinels do not know a master of that name"
	}
	return ""
}

// explainNetwork reads why there was no answer.
func explainNetwork(err error) string {
	var dns *net.DNSError
	var record tls.RecordHeaderError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &dns):
		return fmt.Sprintf("no host is named %q: check the URL", dns.Name)
	case errors.As(err, &record):
		return "it does not speak TLS: write redis:// instead of rediss://"
	case errors.As(err, &cert):
		return "its TLS certificate is not trusted (the authority's file goes in ?ca=): " + oneLine(cert.Error())
	case strings.Contains(err.Error(), "tls: certificate required"), strings.Contains(err.Error(), "tls: bad certificate"):
		return "it wants a certificate of its clients, or another one: give ?cert= and &key="
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: start Redis, or check REDIS_URL"
	case errors.Is(err, os.ErrNotExist):
		return "there is no such socket: start Redis, or check REDIS_URL"
	case errors.Is(err, os.ErrPermission):
		return "the socket may not be opened: check its permissions"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "there is no way to that host: check network and address"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "it hangs up at once: is it a Redis, and does it want TLS (rediss://)?"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), isTimeout(err):
		return "it does not answer: check host, port and firewall"
	}
	return ""
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// oneLine cuts a foreign text to one bounded line.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}
