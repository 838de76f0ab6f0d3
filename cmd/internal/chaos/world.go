// Everything of one seed: built up, set going, let go, judged, taken down.

package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/cmd/internal/cable"
	"botfleet/tasks/runs"
	"botfleet/tasks/sweep"
)

// world is what there is of a seed.
type world struct {
	o     options
	story story
	bin   string // folder of the programs
	dir   string // folder of the seed
	began time.Time
	life  context.Context //nolint:containedctx // of the processes, which outlive who starts them

	webhook, key, secret string // secrets

	redis     *redisServer
	box       *sandbox.Sandbox
	places    []*place
	workers   []*worker
	producers *cable.Cable
	registry  *portals.Registry
	store     *runs.Store
	inspector *asynq.Inspector
	sweeper   *sweep.Sweeper // to hint only
	lives     sync.WaitGroup // watchers of workers

	mu       sync.Mutex
	runs     []*submission
	clicked  map[string][]click // by task id
	notes    []string
	problems []string
	did      map[string]int
	samples  int
	outages  []span // of Redis, of networks, of workers
	verbose  io.Writer
}

// span is a time in which something was wrong.
type span struct {
	from, to time.Time
	what     string
}

// notef writes a line into the seed's diary.
func (w *world) notef(format string, args ...any) {
	line := fmt.Sprintf("%s %7.2fs ", time.Now().UTC().Format("15:04:05.000"), time.Since(w.began).Seconds()) + fmt.Sprintf(format, args...)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes = append(w.notes, line)
	if w.o.verbose {
		_, _ = fmt.Fprintln(w.verbose, line)
	}
}

// problemf notes something that must not be.
func (w *world) problemf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.notef("PROBLEM %s", text)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems = append(w.problems, text)
}

// count counts something that was done.
func (w *world) count(what string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.did[what] += n
}

// found are the problems so far.
func (w *world) found() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.problems...)
}

// runSeed goes through one seed, and reports whether it was clean.
func runSeed(ctx context.Context, o options, bin string, seed uint64, stdout, stderr io.Writer) (clean bool, err error) {
	dir, err := os.MkdirTemp(o.dir, fmt.Sprintf("botfleet-chaos-%d-", seed))
	if err != nil {
		return false, fmt.Errorf("make a folder: %w", err)
	}
	w := &world{
		o: o, bin: bin, dir: dir, story: write(seed, o), began: time.Now(), verbose: stderr,
		clicked: map[string][]click{}, did: map[string]int{},
	}
	ctx, cancel := context.WithTimeout(ctx, o.limit+readyWithin)
	defer cancel()
	w.life = ctx
	err = w.live(ctx)
	line := w.summary()
	problems := w.found()
	clean = err == nil && len(problems) == 0
	if !clean || o.keep {
		err = errors.Join(err, w.evidence(line)) //nolint:contextcheck // the seed's own has ended, perhaps
	}
	w.close()
	_, _ = fmt.Fprintln(stdout, line)
	for i, p := range problems {
		if i == 20 {
			_, _ = fmt.Fprintf(stdout, "  … and %d more\n", len(problems)-i)
			break
		}
		_, _ = fmt.Fprintln(stdout, "  "+p)
	}
	if clean && !o.keep {
		return true, os.RemoveAll(dir)
	}
	_, _ = fmt.Fprintf(stdout, "  evidence: %s\n", dir)
	return clean, err
}

// live is the seed from beginning to end.
func (w *world) live(ctx context.Context) error {
	if err := w.build(ctx); err != nil {
		return err
	}
	sampling, end := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { w.sample(sampling) })
	defer beside.Wait()
	defer end()
	if err := w.trouble(ctx); err != nil {
		return err
	}
	switch err := w.peace(ctx); {
	case errors.Is(err, errStuck):
		return nil // which is a problem like others: what waits is told of
	case err != nil:
		return err
	}
	end()
	beside.Wait()
	return w.judge(ctx)
}

// build starts everything.
func (w *world) build(ctx context.Context) (err error) {
	w.key = portals.NewKey()
	w.webhook, w.secret = "chaoswebhook"+word(w.key, 12), "chaosapplication"+word(w.key, 16)
	keys, err := portals.ParseKeys(w.key)
	if err != nil {
		return err
	}
	if w.redis, err = startRedis(ctx, w.dir); err != nil {
		return err
	}
	w.registry = portals.New(w.redis.client, keys, portals.Options{WithoutSecrets: true})
	w.store = runs.New(w.redis.client, runs.Options{})
	w.inspector = asynq.NewInspectorFromRedisClient(w.redis.client)
	w.sweeper = sweep.New(sweep.Config{Redis: w.redis.client})
	w.box = sandbox.New(sandbox.WithSeed(w.story.seed), sandbox.WithLogSize(4000), sandbox.WithApplication(applicationID, sandbox.Secret(w.secret)))
	if err := w.open(); err != nil {
		return err
	}
	if w.producers, err = cable.New(ctx, w.redis.addr(), producerDrag); err != nil {
		return err
	}
	if err := w.importPortals(ctx); err != nil {
		return err
	}
	for i := range workers {
		k, err := w.newWorker(ctx, i)
		if err != nil {
			return err
		}
		w.workers = append(w.workers, k)
		if err := k.start(ctx); err != nil {
			return err
		}
	}
	w.began = time.Now()
	return nil
}

// word makes letters and digits of a key.
func word(key string, n int) string {
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		raw = []byte(key)
	}
	const letters = "abcdefghijklmnopqrstuvwxyz012345"
	var b strings.Builder
	for _, c := range raw[:n] {
		b.WriteByte(letters[int(c)%len(letters)])
	}
	return b.String()
}

// commonEnv is what producers and workers are told.
func (w *world) commonEnv(redis string) []string {
	return []string{
		"REDIS_URL=redis://" + redis + "/0", "SECRETS_KEY=" + w.key, "ALLOW_INSECURE_PORTALS=127.0.0.0/8",
		"BATCH=" + w.story.batch, "PORTAL_PARALLEL=" + strconv.Itoa(portalParallel),
	}
}

const (
	portalParallel = 3
	maxAttempts    = 5
	holdTTL        = 20 * time.Second
)

func (w *world) workerEnv(redis string) []string {
	return append(w.commonEnv(redis),
		"HTTP_ADDR=127.0.0.1:0", "CONCURRENCY=64", "LOG_LEVEL=info",
		"REQUEST_TIMEOUT="+requestTimeout.String(), "SHUTDOWN_TIMEOUT="+shutdownTimeout.String(),
		fmt.Sprintf("MAX_ATTEMPTS=%d", maxAttempts), "HOLD_TTL="+holdTTL.String(),
		"BITRIX_CLIENT_ID="+applicationID, "BITRIX_CLIENT_SECRET="+w.secret, "BITRIX_OAUTH_URL="+w.box.AuthURL(),
	)
}

// close takes everything down.
func (w *world) close() {
	for _, k := range w.workers {
		k.close()
	}
	w.lives.Wait()
	if w.producers != nil {
		w.producers.Close()
	}
	if w.redis != nil {
		w.redis.close()
	}
	if w.box != nil {
		w.box.Close()
	}
}

func (w *world) writeFile(name string, text []byte) error {
	if err := os.WriteFile(filepath.Join(w.dir, name), text, 0o600); err != nil {
		return fmt.Errorf("write into the seed's folder: %w", err)
	}
	return nil
}
