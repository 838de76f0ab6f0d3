// What rows take in Redis: while they wait, when they have their outcome, and
// with a photo that many share; and what portals take.

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"botfleet/cmd/internal/config"
	"botfleet/cmd/internal/engine"
	"botfleet/tasks/runs"
)

const (
	// photoRows share one photo of about photoSide² random bytes.
	photoRows = 10_000
	photoSide = 300
	// photoGone is how long the photo may stay when its run's keep has ended.
	photoGone = 30 * time.Second
	// shortKeep is how long that run is kept.
	shortKeep = 2 * time.Second
	// recorders give rows their outcomes side by side.
	recorders = 32
)

// footprint is what keys take, in bytes.
type footprint struct {
	used         int64 // all that Redis uses, by its own account
	tasks, runs  int64 // asynq's keys, and those of runs
	portals      int64 // the registry
	gates        int64 // limits of portals that were called lately
	photos, rest int64
	photoCount   int
}

// redisMemory measures bytes a row, of b.rows as usual ones are, and bytes a portal,
// of as many.
func (b *bench) redisMemory(ctx context.Context) ([]figure, error) {
	waiting, registered, err := b.rowsInRedis(ctx)
	if err != nil {
		return nil, err
	}
	dead, err := b.deadInRedis(ctx)
	if err != nil {
		return nil, err
	}
	photo, err := b.photoInRedis(ctx)
	if err != nil {
		return nil, err
	}
	stored, err := b.portalsInRedis(ctx)
	if err != nil {
		return nil, err
	}
	row := func(what string, f footprint) figure {
		n := int64(b.rows)
		return figure{what: "Redis memory, " + what, value: fmt.Sprintf("%d B a row: %d in its run, %d as a task (%d B a row by INFO; %d rows)",
			(f.runs+f.tasks)/n, f.runs/n, f.tasks/n, f.used/n, n)}
	}
	rows := []figure{row("waiting rows", waiting), row("registered rows, tasks retained", registered), row("dead rows, without tasks", dead), photo}
	return append(rows, stored...), nil
}

// rowsInRedis measures rows that wait, and the same rows when a worker has
// registered them.
func (b *bench) rowsInRedis(ctx context.Context) (waiting, registered footprint, err error) {
	portals, err := startPortals(pipelinePortals)
	if err != nil {
		return waiting, registered, err
	}
	defer portals.close()
	w, err := newWorkload(portals.webhooks, b.rows)
	if err != nil {
		return waiting, registered, err
	}
	err = b.inRedis(ctx, w, func(base *engine.Base, cfg config.Config, since func() (footprint, error)) error {
		if err := w.submit(ctx, base, cfg); err != nil {
			return err
		}
		if waiting, err = since(); err != nil {
			return err
		}
		queues, err := base.Registry.Queues(ctx)
		if err != nil {
			return err
		}
		worker, err := base.StartWorker(ctx, cfg, engine.WorkerOptions{Transport: portals, Log: cfg.Logger(io.Discard), Version: "bench"})
		if err != nil {
			return err
		}
		err = b.redis.awaitCompleted(ctx, queues, len(w.rows))
		worker.Stop()
		if err != nil {
			return err
		}
		if registered, err = since(); err != nil {
			return err
		}
		return checkRegistered(ctx, base, w, portals.bots.Load())
	})
	return waiting, registered, err
}

// deadInRedis measures rows that are dead, with what is kept to queue them again.
func (b *bench) deadInRedis(ctx context.Context) (dead footprint, err error) {
	w, err := newWorkload([]string{"https://portal.bitrix24.ru/rest/1/benchbenchbench1/"}, b.rows)
	if err != nil {
		return dead, err
	}
	err = b.inRedis(ctx, w, func(base *engine.Base, cfg config.Config, since func() (footprint, error)) error {
		if err := w.submit(ctx, base, cfg); err != nil {
			return err
		}
		if err := recordAll(ctx, base.Runs, len(w.rows), runs.StatusDead); err != nil {
			return err
		}
		dead, err = since()
		// The tasks wait still: nobody has worked on them.
		dead.used, dead.tasks = dead.used-dead.tasks, 0
		return err
	})
	return dead, err
}

// photoInRedis sees that a photo which many rows share is stored once, and goes
// with their run.
func (b *bench) photoInRedis(ctx context.Context) (figure, error) {
	n := min(photoRows, b.rows)
	w, err := newWorkload([]string{"https://portal.bitrix24.ru/rest/1/benchbenchbench1/"}, n)
	if err != nil {
		return figure{}, err
	}
	photo, err := randomPhoto()
	if err != nil {
		return figure{}, err
	}
	for i := range w.rows {
		w.rows[i].Bot.Properties.PersonalPhoto = photo
	}
	f := figure{what: "Redis memory, a photo of " + strconv.Itoa(n) + " rows", must: "stored once, gone with its run"}
	err = b.inRedis(ctx, w, func(base *engine.Base, cfg config.Config, since func() (footprint, error)) error {
		base.Runs = runs.New(base.Redis, runs.Options{TTL: shortKeep})
		if err := w.submit(ctx, base, cfg); err != nil {
			return err
		}
		with, err := since()
		if err != nil {
			return err
		}
		if err := recordAll(ctx, base.Runs, n, runs.StatusRegistered); err != nil {
			return err
		}
		took, err := b.awaitNoPhoto(ctx)
		f.ok = err == nil && with.photoCount == 1
		f.value = fmt.Sprintf("%d stored, %d B for %d B of base64; gone %.0f s after the run's end, which was kept for %v",
			with.photoCount, with.photos, len(photo), took.Seconds(), shortKeep)
		return err
	})
	return f, err
}

// inRedis runs a measurement in an empty Redis in which the portals are known.
// since gives what has come since then.
func (b *bench) inRedis(ctx context.Context, w workload, measure func(base *engine.Base, cfg config.Config, since func() (footprint, error)) error) error {
	if err := b.redis.empty(ctx); err != nil {
		return err
	}
	base, cfg, err := b.open(ctx, w)
	if err != nil {
		return err
	}
	before, err := b.redis.footprint(ctx)
	if err == nil {
		err = measure(base, cfg, func() (footprint, error) {
			now, err := b.redis.footprint(ctx)
			now.used -= before.used
			now.rest -= before.rest
			return now, err
		})
	}
	return errors.Join(err, base.Close())
}

// recordAll gives all rows of the run an outcome, and the run its end.
func recordAll(ctx context.Context, store *runs.Store, n int, status runs.Status) error {
	var g errgroup.Group
	g.SetLimit(recorders)
	for row := 1; row <= n; row++ {
		g.Go(func() error {
			st, err := store.Load(ctx, runID, row)
			if err != nil {
				return err
			}
			o := runs.Outcome{
				Row: row, Portal: st.Row.Portal, PortalID: st.Row.PortalID, Code: st.Row.Code, Status: status, Attempts: 8,
				QueuedAt: st.Row.QueuedAt, DoneAt: time.Now(), Bot: st.Row.Bot, Photo: st.Row.Photo, BotID: int64(row),
			}
			if status == runs.StatusDead {
				o.BotID, o.Class = 0, "transient"
				o.Error = &runs.Failure{Code: "INTERNAL_SERVER_ERROR", Description: "Internal server error (tried 8 times)"}
			}
			return store.Record(ctx, runID, st.Gen, o)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return store.Seal(ctx, runID)
}

// awaitNoPhoto returns when Redis holds no photo any more, and how long that took.
func (b *bench) awaitNoPhoto(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	for {
		f, err := b.redis.footprint(ctx)
		took := time.Since(began)
		if err != nil || f.photos == 0 {
			return took, err
		}
		if took > photoGone {
			return took, fmt.Errorf("%d B of photos stay %v after the end of their run", f.photos, took)
		}
		select {
		case <-ctx.Done():
			return took, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// footprint adds up what all keys take, by MEMORY USAGE with no sampling.
func (s *redisServer) footprint(ctx context.Context) (footprint, error) {
	var f footprint
	info, err := s.client.Info(ctx, "memory").Result()
	if err != nil {
		return f, fmt.Errorf("ask for Redis' memory: %w", err)
	}
	for line := range strings.Lines(info) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
			if f.used, err = strconv.ParseInt(n, 10, 64); err != nil {
				return f, fmt.Errorf("ask for Redis' memory: %w", err)
			}
		}
	}
	for cursor := uint64(0); ; {
		keys, next, err := s.client.Scan(ctx, cursor, "", 1000).Result()
		if err != nil {
			return f, fmt.Errorf("go through Redis' keys: %w", err)
		}
		sizes, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, k := range keys {
				p.MemoryUsage(ctx, k, 0)
			}
			return nil
		})
		if err != nil && !errors.Is(err, redis.Nil) { // Nil: a key that has expired meanwhile
			return f, fmt.Errorf("ask for the memory of keys: %w", err)
		}
		for i, k := range keys {
			f.add(k, sizes[i].(*redis.IntCmd).Val())
		}
		if cursor = next; cursor == 0 {
			return f, nil
		}
	}
}

func (f *footprint) add(key string, bytes int64) {
	switch {
	case strings.HasPrefix(key, "asynq:"):
		f.tasks += bytes
	case strings.HasPrefix(key, "botfleet:{run:"):
		f.runs += bytes
	case strings.HasPrefix(key, "botfleet:{photo:"):
		f.photos += bytes
		if strings.HasSuffix(key, ":data") {
			f.photoCount++
		}
	case strings.HasPrefix(key, "botfleet:{portals}:"):
		f.portals += bytes
	case isGate(key):
		f.gates += bytes
	default:
		f.rest += bytes
	}
}

// randomPhoto is a PNG that cannot be made smaller, as base64.
func randomPhoto() (string, error) {
	img := image.NewGray(image.Rect(0, 0, photoSide, photoSide))
	r := rand.New(rand.NewPCG(1, 2))
	for i := range img.Pix {
		img.Pix[i] = byte(r.UintN(256))
	}
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		return "", fmt.Errorf("make a photo: %w", err)
	}
	return base64.StdEncoding.EncodeToString(out.Bytes()), nil
}
