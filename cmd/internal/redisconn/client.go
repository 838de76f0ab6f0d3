// Clients for what Redis is used for, each as patient as its use allows.

package redisconn

import (
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Purpose says what a client is for.
type Purpose int

const (
	// Engine is asynq's own client. It waits out an outage of some 25 s, the
	// length of a task's lease: a task whose acknowledgement is given up
	// earlier is run a second time.
	Engine Purpose = iota
	// Store is for the gate, the registry and runs: a failure is reported to
	// the caller within seconds, who has a better answer than waiting.
	Store
	// Question is for readiness, status and [Check]: one try, answered soon.
	Question
	// Doorstep is for events of portals, which are to be kept or refused within
	// 2 s: many at once, and no second try.
	Doorstep
)

// Pool sizes. A command holds a connection for well under a millisecond, so
// that these serve thousands of tasks at once, and twenty workers stay far
// below the 10,000 clients that a Redis takes by default.
const (
	enginePool   = 64
	storePool    = 64
	questionPool = 4
	doorstepPool = 32
)

// Client opens a client for a purpose. Nothing is sent before its first use;
// the caller closes it. The Config must come from [Parse].
func (c Config) Client(p Purpose) redis.UniversalClient {
	o := c.options()
	switch p {
	case Engine:
		o.PoolSize = enginePool
		o.MaxRetries = 40
		o.MaxRetryBackoff = time.Second
		o.ReadTimeout = 20 * time.Second
		o.WriteTimeout = 20 * time.Second
		return patiently(c.open(o))
	case Store:
		o.PoolSize = storePool
		o.ReadTimeout = 5 * time.Second
		o.WriteTimeout = 5 * time.Second
		o.DialTimeout = 3 * time.Second
		o.ContextTimeoutEnabled = true
	case Doorstep:
		o.PoolSize = doorstepPool
		o.MaxRetries = -1 // none
		o.DialerRetries = 1
		o.ReadTimeout = time.Second
		o.WriteTimeout = time.Second
		o.DialTimeout = time.Second
		o.PoolTimeout = time.Second
		o.ContextTimeoutEnabled = true
	default:
		o.PoolSize = questionPool
		o.MaxRetries = -1 // none
		o.DialerRetries = 1
		o.ReadTimeout = 2 * time.Second
		o.WriteTimeout = 2 * time.Second
		o.DialTimeout = 2 * time.Second
		o.ContextTimeoutEnabled = true
	}
	return c.open(o)
}

// options are what all purposes share.
func (c Config) options() *redis.UniversalOptions {
	k := c.secrets()
	o := &redis.UniversalOptions{
		Addrs:            c.addrs,
		DB:               c.db,
		Username:         k.user,
		Password:         k.password,
		MasterName:       c.master,
		SentinelUsername: k.sentinelUser,
		SentinelPassword: k.sentinelPassword,
		IsClusterMode:    c.scheme == "redis-cluster",
		ClientName:       "botfleet",
		// Announced maintenance is a feature of one vendor's cloud; asking for
		// it costs a command on every connection.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if c.tls {
		o.TLSConfig = c.certs.config()
	}
	return o
}
