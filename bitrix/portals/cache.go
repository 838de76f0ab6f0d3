// Opened portals, kept by a worker.

package portals

import (
	"container/list"
	"context"
	"sync"
)

// DefaultCacheSize is how many portals a [Cache] keeps: some 10 MB.
const DefaultCacheSize = 10_000

// Cache keeps the portals last asked for. It answers without Redis until
// [Cache.Refresh] sees that a portal was changed, and then forgets it: its owner
// calls that every second or two, which is how old an answer may be. Its methods
// may be called from many goroutines.
type Cache struct {
	registry *Registry
	size     int

	mu      sync.Mutex
	version int64
	era     int        // counts the times something was forgotten
	order   *list.List // of Portal, last used in front
	byID    map[string]*list.Element
}

// NewCache makes a cache of at most size portals; 0 means DefaultCacheSize.
func NewCache(r *Registry, size int) *Cache {
	if size < 1 {
		size = DefaultCacheSize
	}
	return &Cache{registry: r, size: size, version: -1, order: list.New(), byID: make(map[string]*list.Element)}
}

// Get returns a portal as [Registry.Get] does. What it points to is shared:
// do not change it.
func (c *Cache) Get(ctx context.Context, id string) (Portal, error) {
	p, era, ok := c.look(id)
	if ok {
		return p, nil
	}
	p, err := c.registry.Get(ctx, id)
	if err != nil {
		return Portal{}, err
	}
	c.keep(p, era)
	return p, nil
}

func (c *Cache) look(id string) (p Portal, era int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byID[id]
	if !ok {
		return Portal{}, c.era, false
	}
	c.order.MoveToFront(e)
	return e.Value.(Portal), c.era, true //nolint:forcetypeassert // the list holds nothing else
}

// keep adds a portal that was read in an era. What was read before something
// was forgotten may be old, and is not kept. Nor is a portal that is gone: its
// rows end with that, which must be true at that moment and not a second ago.
func (c *Cache) keep(p Portal, era int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if era != c.era || p.Gone != nil || c.byID[p.ID] != nil {
		return
	}
	c.byID[p.ID] = c.order.PushFront(p)
	if c.order.Len() > c.size {
		last := c.order.Back()
		delete(c.byID, c.order.Remove(last).(Portal).ID) //nolint:forcetypeassert // the list holds nothing else
	}
}

// Refresh forgets the portals that were changed since the last Refresh; when
// there were too many changes to list, all of them. It reports whether anything
// but pairs of tokens is new: holds, hosts, queues, portals; the first time it
// always is. While nothing changes it asks Redis one GET. When Redis cannot be
// asked, the portals are kept.
func (c *Cache) Refresh(ctx context.Context) (changed bool, err error) {
	v, err := c.registry.Version(ctx)
	if err != nil {
		return false, err
	}
	since := c.Version()
	if v == since {
		return false, nil
	}
	news, err := c.registry.changes(ctx, since)
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.version == since { // no other Refresh was faster
		c.version = news.version
	}
	c.era++
	if !news.whole {
		c.order.Init()
		clear(c.byID)
	}
	for _, id := range news.ids {
		if e := c.byID[id]; e != nil {
			c.order.Remove(e)
			delete(c.byID, id)
		}
	}
	return news.loud, nil
}

// Version is the registry's [Registry.Version] at the last Refresh; -1 before the
// first. One that becomes 0, or smaller, means that Redis has lost its data, or
// was given those of an earlier time.
func (c *Cache) Version() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

// Len is how many portals are kept at this moment.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.order.Len()
}
