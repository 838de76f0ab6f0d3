// Package redisconn turns REDIS_URL into Redis clients.
//
// The URL is parsed once, by [Parse], and the [Config] serves everything that
// talks to Redis: the queue engine, the gate, the registry, the dashboard.
// Each [Purpose] gets a client of its own, because they differ in how long an
// outage may be waited out. [Config.Check] says in one line what is wrong with
// the Redis on the other side, and what to do about it.
package redisconn
