// Photos, stored once by their content for as long as a run needs them.

package runs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

func photoKey(hash string) string     { return "botfleet:{photo:" + hash + "}:data" }
func photoRunsKey(hash string) string { return "botfleet:{photo:" + hash + "}:runs" }

// PutPhoto keeps a photo, as the base64 text that is sent, for a run, and
// returns the content hash under which [Store.Photo] finds it.
func (s *Store) PutPhoto(ctx context.Context, run, base64 string) (string, error) {
	hash := s.photos.hash(base64)
	// A photo whose runs have all ended lives for ttl more, so a pair is
	// trusted for less than that.
	if s.photos.known(run, hash, s.now().Add(-s.ttl/2)) {
		return hash, nil
	}
	_, err := s.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.SAdd(ctx, photoRunsKey(hash), run)
		p.SetNX(ctx, photoKey(hash), base64, 0)
		p.Persist(ctx, photoKey(hash))
		p.Persist(ctx, photoRunsKey(hash))
		return nil
	})
	if err == nil {
		err = s.rdb.SAdd(ctx, key(run, "photos"), hash).Err()
	}
	if err != nil {
		return "", fmt.Errorf("keep photo for run %s: %w", run, err)
	}
	s.photos.put(hash, base64)
	s.photos.stored(run, hash, s.now())
	return hash, nil
}

// ErrPhotoGone is returned for a photo that is not kept, or no longer.
var ErrPhotoGone = errors.New("the photo is no longer kept")

// Photo returns a kept photo's base64 text. It returns [ErrPhotoGone] when
// there is none.
func (s *Store) Photo(ctx context.Context, hash string) (string, error) {
	if b, ok := s.photos.get(hash); ok {
		return b, nil
	}
	b, err := s.rdb.Get(ctx, photoKey(hash)).Result()
	if errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("read photo %.12s: %w", hash, ErrPhotoGone)
	}
	if err != nil {
		return "", fmt.Errorf("read photo %.12s: %w", hash, err)
	}
	s.photos.put(hash, b)
	return b, nil
}

// releasePhotos gives the photos of an ended run the run's own time to live,
// unless another run needs them. It may be repeated; that it was done is noted.
func (s *Store) releasePhotos(ctx context.Context, run string) error {
	hashes, err := s.rdb.SMembers(ctx, key(run, "photos")).Result()
	if err != nil {
		return fmt.Errorf("release photos of run %s: %w", run, err)
	}
	for _, h := range hashes {
		if err := s.releasePhoto(ctx, run, h); err != nil {
			return fmt.Errorf("release photos of run %s: %w", run, err)
		}
	}
	if err := releasedScript.Run(ctx, s.rdb, []string{key(run, "meta")}).Err(); err != nil {
		return fmt.Errorf("note that the photos of run %s are released: %w", run, err)
	}
	return nil
}

// releasedScript makes no run of one that has expired or goes on again.
var releasedScript = redis.NewScript(`
if redis.call('HEXISTS', KEYS[1], 'ended') == 1 then redis.call('HSET', KEYS[1], 'released', '1') end
return 1`)

var releaseScript = redis.NewScript(`
redis.call('SREM', KEYS[2], ARGV[1])
if redis.call('SCARD', KEYS[2]) == 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1`)

func (s *Store) releasePhoto(ctx context.Context, run, hash string) error {
	s.photos.drop(run, hash)
	return releaseScript.Run(ctx, s.rdb, []string{photoKey(hash), photoRunsKey(hash)}, run, s.ttl.Milliseconds()).Err()
}

// photoCache holds recently used photos, and which (run, photo) pairs are
// stored already. Both are bounded; when full they start over.
type photoCache struct {
	mu    sync.Mutex
	data  map[string]string
	bytes int
	pairs map[[2]string]time.Time // (run, photo) → when it was stored

	// The newest photo asked for by its content, and its hash: rows with one
	// photo follow each other, and share its text.
	latest, latestHash string
}

const (
	photoCacheBytes = 64 << 20
	photoCachePairs = 100_000
)

func newPhotoCache() *photoCache {
	return &photoCache{data: map[string]string{}, pairs: map[[2]string]time.Time{}}
}

// hash is a photo's content hash.
func (c *photoCache) hash(base64 string) string {
	c.mu.Lock()
	latest, hash := c.latest, c.latestHash
	c.mu.Unlock()
	if hash != "" && latest == base64 { // takes no time where both are one text
		return hash
	}
	sum := sha256.Sum256([]byte(base64))
	hash = hex.EncodeToString(sum[:])
	c.mu.Lock()
	c.latest, c.latestHash = base64, hash
	c.mu.Unlock()
	return hash
}

func (c *photoCache) known(run, hash string, since time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pairs[[2]string{run, hash}].After(since)
}

func (c *photoCache) stored(run, hash string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pairs) >= photoCachePairs {
		clear(c.pairs)
	}
	c.pairs[[2]string{run, hash}] = at
}

func (c *photoCache) get(hash string) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, ok := c.data[hash]
	return b, ok
}

func (c *photoCache) put(hash, data string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.data[hash]; ok {
		return
	}
	if c.bytes+len(data) > photoCacheBytes {
		clear(c.data)
		c.bytes = 0
	}
	c.data[hash] = data
	c.bytes += len(data)
}

func (c *photoCache) drop(run, hash string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pairs, [2]string{run, hash})
}
