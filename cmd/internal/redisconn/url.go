// Reading REDIS_URL: which forms there are, and what is wrong with one.

package redisconn

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Default ports of Redis and of Redis Sentinel.
const (
	redisPort    = "6379"
	sentinelPort = "26379"
)

// maxDB bounds database numbers. Redis itself serves 16 unless told otherwise.
const maxDB = 65535

// Config says where Redis is and how to sign in. It never prints a password.
type Config struct {
	scheme string
	addrs  []string
	master string // name of the master that the Sentinels watch
	db     int
	tls    bool
	certs  certificates // with tls
	// secrets hands them out. A function, because some formatting verbs print
	// what a pointer in a nested field points to.
	secrets func() secrets
}

// secrets are what a Config must not show.
type secrets struct {
	user, password                 string
	sentinelUser, sentinelPassword string
}

// Parse reads one of
//
//	redis://[user:password@]host[:6379][/db]
//	redis-sentinel://[user:password@]host[:26379],host…/master[/db]
//	redis-cluster://[user:password@]host[:6379],host…
//	rediss://… rediss-sentinel://… rediss-cluster://…   the same over TLS
//	unix://[user:password@]/path/to/redis.sock
//
// with the query parameters db and tls; for TLS ca (a file of authorities to
// trust instead of the system's), cert and key (files, for a server that wants a
// certificate of its clients), server_name (on the certificates, where it is not
// the host dialled) and skip_verify; and for Sentinels, which the user and
// password of the URL are not for, sentinel_username and sentinel_password.
// TLS is for Sentinels and their Redis alike. The files are read.
// Errors say what is wrong without showing the URL, which may hold a password.
func Parse(raw string) (Config, error) {
	c, err := parse(strings.TrimSpace(raw))
	if err != nil {
		return Config{}, fmt.Errorf("REDIS_URL: %w", err)
	}
	return c, nil
}

func parse(raw string) (Config, error) {
	if raw == "" {
		return Config{}, errors.New("is empty; write for example redis://127.0.0.1:6379/0")
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return Config{}, errors.New("has no scheme; write for example redis://127.0.0.1:6379/0")
	}
	c := Config{scheme: strings.ToLower(scheme)}
	if plain, ok := strings.CutPrefix(c.scheme, "rediss"); ok {
		c.scheme, c.tls = "redis"+plain, true
	}
	if !slices.Contains([]string{"redis", "redis-sentinel", "redis-cluster", "unix"}, c.scheme) {
		return Config{}, errors.New("the scheme is not one of redis, redis-sentinel, redis-cluster, with TLS rediss, rediss-sentinel, rediss-cluster, or unix")
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	if strings.Contains(path, "@") && c.scheme != "unix" || strings.ContainsAny(query, "@?") || strings.Contains(rest, "#") {
		return Config{}, errors.New("a user name or password that holds / ? # @ or % must be percent-encoded (/ is %2F, ? is %3F, # is %23, @ is %40)")
	}
	var keep secrets
	authority, err := keep.readUser(authority)
	if err != nil {
		return Config{}, err
	}
	if err := c.readPlace(authority, path); err != nil {
		return Config{}, err
	}
	if err := c.readQuery(query, &keep); err != nil {
		return Config{}, err
	}
	c.secrets = func() secrets { return keep }
	return c, nil
}

// readUser takes the user and password off the front of authority.
func (k *secrets) readUser(authority string) (hosts string, err error) {
	at := strings.LastIndexByte(authority, '@')
	if at < 0 {
		return authority, nil
	}
	user, password, _ := strings.Cut(authority[:at], ":")
	var err1, err2 error
	k.user, err1 = url.PathUnescape(user)
	k.password, err2 = url.PathUnescape(password)
	if err1 != nil || err2 != nil { // their texts quote the password
		return "", errors.New("a % in the user name or password must be written %25")
	}
	if k.user != "" && k.password == "" {
		return "", errors.New("a user name without a password; a password alone is written redis://:password@host")
	}
	return authority[at+1:], nil
}

// readPlace reads what follows the user: hosts, and the path's meaning for the scheme.
func (c *Config) readPlace(authority, path string) error {
	if c.scheme == "unix" {
		if authority != "" || path == "" {
			return errors.New("a socket is written unix:///path/to/redis.sock")
		}
		name, err := url.PathUnescape(path)
		if err != nil {
			return errors.New("a % in the socket's path must be written %25")
		}
		c.addrs = []string{"/" + name}
		return nil
	}
	if err := c.readHosts(authority); err != nil {
		return err
	}
	return c.readPath(strings.Split(strings.Trim(path, "/"), "/"))
}

func (c *Config) readHosts(list string) error {
	port := redisPort
	if c.scheme == "redis-sentinel" {
		port = sentinelPort
	}
	for host := range strings.SplitSeq(list, ",") {
		addr, err := hostPort(strings.TrimSpace(host), port)
		if err != nil {
			return err
		}
		c.addrs = append(c.addrs, addr)
	}
	if len(c.addrs) > 1 && c.scheme == "redis" {
		return fmt.Errorf("%s:// takes one host; several are for redis-sentinel:// or redis-cluster://", c.scheme)
	}
	return nil
}

// hostPort checks one host and gives it the default port where it has none.
func hostPort(s, port string) (string, error) {
	host := s
	if strings.Count(s, ":") == 1 || strings.Contains(s, "]:") {
		var err error
		if host, port, err = net.SplitHostPort(s); err != nil {
			return "", errors.New("a host is not of the form host:port")
		}
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if host == "" {
		return "", errors.New("has no host; write for example redis://127.0.0.1:6379/0")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "", errors.New("a port is not a number from 1 to 65535 (a password that holds / ? # or @ must be percent-encoded)")
	}
	if strings.Contains(host, ":") && net.ParseIP(host) == nil || strings.ContainsAny(host, " []<>\"\\%") {
		return "", errors.New("a host is not a name or an address (IPv6 is written [::1]:6379)")
	}
	return net.JoinHostPort(host, port), nil
}

// readPath reads /db, or /master/db for Sentinels.
func (c *Config) readPath(parts []string) error {
	if c.scheme == "redis-sentinel" {
		if c.master = parts[0]; c.master == "" {
			return errors.New("redis-sentinel:// needs the master's name: redis-sentinel://host:26379/mymaster")
		}
		parts = parts[1:]
	}
	if len(parts) == 0 || len(parts) == 1 && parts[0] == "" {
		return nil
	}
	if len(parts) > 1 {
		return errors.New("the path has too many parts; only the database number follows")
	}
	return c.readDB(parts[0])
}

func (c *Config) readDB(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > maxDB {
		return fmt.Errorf("the database is not a number from 0 to %d", maxDB)
	}
	if c.scheme == "redis-cluster" && n != 0 {
		return errors.New("a Redis Cluster has only database 0")
	}
	c.db = n
	return nil
}

// readQuery reads the parameters after the question mark.
func (c *Config) readQuery(query string, keep *secrets) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("the parameters after ? are not of the form name=value, percent-encoded")
	}
	for name, v := range values {
		if err := c.readParameter(name, v[len(v)-1], keep); err != nil {
			return err
		}
	}
	if !c.tls && c.certs != (certificates{}) {
		return errors.New("ca, cert, key, server_name and skip_verify are for TLS: write rediss://, rediss-sentinel:// or rediss-cluster://")
	}
	return c.certs.read()
}

func (c *Config) readParameter(name, value string, keep *secrets) (err error) {
	switch name {
	case "db":
		return c.readDB(value)
	case "tls":
		c.tls, err = strconv.ParseBool(value)
	case "skip_verify":
		c.certs.skipVerify, err = strconv.ParseBool(value)
	case "ca":
		c.certs.ca = value
	case "cert":
		c.certs.cert = value
	case "key":
		c.certs.key = value
	case "server_name":
		c.certs.serverName = value
	case "sentinel_username":
		keep.sentinelUser = value
	case "sentinel_password":
		keep.sentinelPassword = value
	default:
		return errors.New("a parameter after ? is not one of db, tls, ca, cert, key, server_name, skip_verify, sentinel_username, sentinel_password")
	}
	if err != nil {
		return fmt.Errorf("%s is not true or false", name)
	}
	return nil
}

// Addr names the hosts, or the socket, for messages.
func (c Config) Addr() string { return strings.Join(c.addrs, ",") }

// String is the URL without user name, password and parameters.
func (c Config) String() string {
	if c.scheme == "unix" {
		return fmt.Sprintf("unix://%s?db=%d", c.Addr(), c.db)
	}
	s := c.scheme + "://" + c.Addr()
	if c.tls {
		s = "rediss" + strings.TrimPrefix(s, "redis")
	}
	if c.master != "" {
		s += "/" + c.master
	}
	if c.scheme == "redis-cluster" {
		return s
	}
	return fmt.Sprintf("%s/%d", s, c.db)
}

// GoString is String.
func (c Config) GoString() string { return c.String() }
