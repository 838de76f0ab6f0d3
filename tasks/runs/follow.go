// Reading a run's outcomes: all of them in pages, or live as they happen.

package runs

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Outcomes calls yield for every row of a run that has an outcome, in the
// order of the rows, until yield returns an error, which it then returns. A row
// whose stored value is none is given as dead, with [CodeUnreadable].
func (s *Store) Outcomes(ctx context.Context, run string, yield func(Outcome) error) error {
	info, err := s.Get(ctx, run)
	if err != nil {
		return err
	}
	for chunk := 0; chunk*ChunkRows < info.MaxRow; chunk++ {
		err := s.eachInChunk(ctx, run, chunk, func(_ int, st State) error {
			if st.Outcome == nil {
				return nil
			}
			return yield(*st.Outcome)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) eachInChunk(ctx context.Context, run string, chunk int, yield func(int, State) error) error {
	m, err := s.rdb.HGetAll(ctx, chunkKey(run, chunk*ChunkRows+1)).Result()
	if err != nil {
		return fmt.Errorf("read rows of run %s: %w", run, err)
	}
	numbers := make([]int, 0, len(m))
	for f := range m {
		if n, err := strconv.Atoi(f); err == nil && n > 0 && chunkOf(n) == chunk { // else it is nobody's row
			numbers = append(numbers, n)
		}
	}
	sort.Ints(numbers)
	for _, n := range numbers {
		// One value that is no row must not hide all the others.
		st, err := parseState(n, m[strconv.Itoa(n)])
		if err != nil && !errors.Is(err, ErrBroken) {
			return fmt.Errorf("read row %d of run %s: %w", n, run, err)
		}
		if err := yield(n, st); err != nil {
			return err
		}
	}
	return nil
}

// Forget deletes the rows of a run up to and including row last, hash by hash,
// once all of a hash's rows have an outcome that the caller has taken; the
// counters stay. It is for a producer that keeps the outcomes itself, and
// whose Redis must stay small.
func (s *Store) Forget(ctx context.Context, run string, chunks []int) error {
	if len(chunks) == 0 {
		return nil
	}
	keys := make([]string, len(chunks))
	for i, c := range chunks {
		keys[i] = chunkKey(run, c*ChunkRows+1)
	}
	if err := s.rdb.Del(ctx, keys...).Err(); err != nil {
		return fmt.Errorf("forget rows of run %s: %w", run, err)
	}
	return nil
}

// pollEvery is how often a follower looks when nothing new has come.
const pollEvery = 200 * time.Millisecond

// Follower gives each row's outcome once, as it happens.
type Follower struct {
	store *Store
	run   string
	last  string // id of the newest stream entry read
	seen  bitmap
}

// Follow returns a follower of a run, from its beginning.
func (s *Store) Follow(run string) *Follower {
	return &Follower{store: s, run: run, last: "0"}
}

// Next calls yield for outcomes that are new since the last call, as far as
// the live stream has them, and reports the run's state at that moment.
func (f *Follower) Next(ctx context.Context, yield func(Outcome) error) (Info, error) {
	for {
		// The state is read first: what ended before it is in the stream after it.
		info, err := f.store.Get(ctx, f.run)
		if err != nil {
			return info, err
		}
		n, err := f.read(ctx, yield)
		if err != nil || n == 0 {
			return info, err
		}
	}
}

func (f *Follower) read(ctx context.Context, yield func(Outcome) error) (int, error) {
	streams, err := f.store.rdb.XRead(ctx, &redis.XReadArgs{
		Streams: []string{key(f.run, "out"), f.last}, Count: 1024, Block: -1,
	}).Result()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("follow run %s: %w", f.run, err)
	}
	entries := streams[0].Messages
	news, err := f.news(ctx, entries)
	if err != nil {
		return 0, err
	}
	for _, o := range news {
		if err := f.once(o, yield); err != nil {
			return 0, err
		}
	}
	f.last = entries[len(entries)-1].ID
	return len(entries), nil
}

// news returns the outcomes of stream entries that still hold. A row that was
// registered stays so; of any other the present state is read, as it may have
// been queued anew since, and has one outcome only.
func (f *Follower) news(ctx context.Context, entries []redis.XMessage) ([]Outcome, error) {
	var news []Outcome
	var texts []string
	var present []*redis.StringCmd
	_, err := f.store.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, e := range entries {
			for field, v := range e.Values {
				o, text := outcomeOf(field, v)
				if o == nil {
					continue
				}
				var now *redis.StringCmd
				if o.Status != StatusRegistered {
					now = p.HGet(ctx, chunkKey(f.run, o.Row), field)
				}
				news, texts, present = append(news, *o), append(texts, text), append(present, now)
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) { // Nil: a row that was forgotten
		return nil, fmt.Errorf("follow run %s: %w", f.run, err)
	}
	held := news[:0]
	for i, o := range news {
		if present[i] == nil || present[i].Err() != nil || sameState(present[i].Val(), texts[i]) {
			held = append(held, o)
		}
	}
	return held, nil
}

// mostRow bounds the row numbers that a stream is believed to have.
const mostRow = 1 << 30

// outcomeOf reads one field of a stream entry; nil: it is no row's outcome, and
// [Follower.Rest] reads the row itself.
func outcomeOf(field string, v any) (*Outcome, string) {
	row, err := strconv.Atoi(field)
	text, ok := v.(string)
	if err != nil || !ok || row < 1 || row > mostRow {
		return nil, ""
	}
	st, err := parseState(row, text)
	if err != nil {
		return nil, ""
	}
	return st.Outcome, text
}

func (f *Follower) once(o Outcome, yield func(Outcome) error) error {
	if f.seen.has(o.Row) {
		return nil
	}
	if err := yield(o); err != nil {
		return err
	}
	f.seen.set(o.Row)
	return nil
}

// Rest calls yield for every outcome not given yet, from the rows themselves:
// what the capped stream no longer held.
func (f *Follower) Rest(ctx context.Context, yield func(Outcome) error) error {
	return f.store.Outcomes(ctx, f.run, func(o Outcome) error { return f.once(o, yield) })
}

// Wait follows until the run has finished and every outcome was given.
// progress, if not nil, is called with the state after each look.
func (f *Follower) Wait(ctx context.Context, yield func(Outcome) error, progress func(Info)) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		info, err := f.Next(ctx, yield)
		if err != nil {
			return err
		}
		if progress != nil {
			progress(info)
		}
		if info.Finished() {
			return f.Rest(ctx, yield)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// Seen reports whether a row's outcome was given.
func (f *Follower) Seen(row int) bool { return f.seen.has(row) }

// Skip marks a row as given: its outcome is known from elsewhere.
func (f *Follower) Skip(row int) { f.seen.set(row) }

const (
	// rateSpan is how far back a run's rate looks, where enough has ended since.
	rateSpan = time.Minute
	// ratePause is a pause that says nothing of the pace before and after it: a
	// spent budget, a worker that was away. Longer than batches take, which
	// workers end within 20 s.
	ratePause = 25 * time.Second
)

// Rate returns how many rows a second got an outcome lately, by the times in
// the live stream: in the last minute and since the last long pause, or if that
// was hardly any, in longer; 0 when it cannot tell.
func (s *Store) Rate(ctx context.Context, run string) (float64, error) {
	out := key(run, "out")
	newest, err := s.rdb.XRevRangeN(ctx, out, "+", "-", 1024).Result()
	if err != nil {
		return 0, fmt.Errorf("read the rate of run %s: %w", run, err)
	}
	if len(newest) < 2 {
		return 0, nil
	}
	now := s.now()
	n, from := 1, streamTime(newest[0].ID)
	for ; n < len(newest); n++ {
		at := streamTime(newest[n].ID)
		if now.Sub(at) > rateSpan || from.Sub(at) > ratePause {
			break
		}
		from = at
	}
	if n < 2 {
		n, from = len(newest), streamTime(newest[len(newest)-1].ID)
	}
	if d := now.Sub(from); d > 0 {
		return float64(n) / d.Seconds(), nil
	}
	return 0, nil
}

// streamTime is the time in a stream entry's id, which begins with milliseconds.
func streamTime(id string) time.Time {
	var ms int64
	_, _ = fmt.Sscanf(id, "%d-", &ms)
	return time.UnixMilli(ms)
}

// bitmap is a growing set of row numbers.
type bitmap struct{ words []uint64 }

func (b *bitmap) has(n int) bool {
	return n/64 < len(b.words) && b.words[n/64]&(1<<(n%64)) != 0
}

func (b *bitmap) set(n int) {
	for n/64 >= len(b.words) {
		b.words = append(b.words, 0)
	}
	b.words[n/64] |= 1 << (n % 64)
}
