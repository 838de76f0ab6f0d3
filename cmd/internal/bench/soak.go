// A long time under load: whether anything grows.

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"botfleet/bitrix/sandbox"
	"botfleet/tasks"
)

const (
	soakPortals = 200
	soakApps    = 20 // of these, with tokens that end after soakToken
	soakToken   = 2 * time.Minute
	soakEvery   = 5 * time.Second // a run
	soakRows    = 500             // of a run
	// soakSamples are taken over the time; the fourth to the sixth, at minutes 4
	// to 6 of 30, are compared with the last three.
	soakSamples = 30
	// mostGrowth is by how much the later samples may be above the earlier ones:
	// what garbage collection and expiry make them vary.
	mostGrowth = 1.15
)

// soakSample is what workers and Redis take at one moment, in the order of soakWhat.
type soakSample [5]float64

var soakWhat = [5]string{"resident memory of the workers, MB", "goroutines of the workers", "file descriptors of the workers", "memory of Redis, MB", "keys of Redis"}

// soak keeps 2 workers busy with runs that come and expire, on portals of which
// a part fails and a part wants new tokens, and compares what they take after a
// sixth of the time with what they take at the end.
func (b *bench) soak(ctx context.Context) ([]figure, error) {
	f, addrs, err := b.soakFleet(ctx)
	if f != nil {
		defer f.close()
	}
	if err != nil {
		return nil, err
	}
	var samples []soakSample
	began, rows := time.Now(), 0
	tick := time.NewTicker(soakEvery)
	defer tick.Stop()
	for round := 0; time.Since(began) < b.soaked; round++ {
		if err := f.submit(ctx, fmt.Sprintf("soak-%06d", round), soakRound(f, round)); err != nil {
			return nil, err
		}
		rows += soakRows
		if due := int(float64(soakSamples) * time.Since(began).Seconds() / b.soaked.Seconds()); due > len(samples) {
			s, err := b.sample(ctx, f, addrs)
			if err != nil {
				return nil, err
			}
			samples = append(samples, s)
			b.sayf("  %v: %.0f", time.Since(began).Round(time.Second), s)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
	return soakFigures(samples, rows, b.soaked)
}

// soakFleet starts the workers, and returns where they serve their metrics.
func (b *bench) soakFleet(ctx context.Context) (*fleet, []string, error) {
	if err := b.redis.empty(ctx); err != nil {
		return nil, nil, err
	}
	f := &fleet{b: b, box: sandbox.New(sandbox.WithApplication(checkedApp, checkedSecret), sandbox.WithTokenLife(soakToken, 24*time.Hour),
		sandbox.WithFaults(
			sandbox.Fault{Kind: sandbox.HTML, Probability: 0.01, Methods: []string{"imbot.register", "batch"}},
			sandbox.Fault{Kind: sandbox.Reset, Probability: 0.01, Methods: []string{"imbot.register", "batch"}},
		))}
	like := sandbox.Unlimited("")
	like.Latency, like.Rate, like.Burst = 20*time.Millisecond, 50, 100
	for i := range soakPortals {
		add := f.addApplication
		if i >= soakApps {
			add = func(p sandbox.Portal) error { _, err := f.add(p); return err }
		}
		if err := add(like); err != nil {
			return f, nil, err
		}
	}
	if err := f.connect(ctx, "RESULT_TTL=1m"); err != nil {
		return f, nil, err
	}
	err := f.start(ctx, 2, "RESULT_TTL=1m", "REQUEST_TIMEOUT=5s", "BITRIX_CLIENT_ID="+checkedApp,
		"BITRIX_CLIENT_SECRET="+checkedSecret, "BITRIX_OAUTH_URL="+f.box.AuthURL())
	var addrs []string
	for _, w := range f.workers {
		for _, v := range w.program.Cmd.Env {
			if addr, ok := strings.CutPrefix(v, "HTTP_ADDR="); ok && addr != "127.0.0.1:0" {
				addrs = append(addrs, addr)
			}
		}
	}
	return f, addrs, err
}

// soakRound are rows for all portals, with CODEs of the round's own.
func soakRound(f *fleet, round int) []tasks.Registration {
	rows := make([]tasks.Registration, soakRows)
	for i := range rows {
		e := &f.entries[(round*soakRows+i)%len(f.entries)]
		rows[i] = registrations(e.Name, 1)[0]
		rows[i].Bot.Code = fmt.Sprintf("soak%06d_%d", round, i)
	}
	return rows
}

// sample asks the kernel, the workers' own pages and Redis.
func (b *bench) sample(ctx context.Context, f *fleet, addrs []string) (s soakSample, err error) {
	for _, w := range f.workers {
		pid := strconv.Itoa(w.pid())
		rss, err := os.ReadFile(filepath.Join("/proc", pid, "statm"))
		if err != nil {
			return s, fmt.Errorf("a worker has ended: %w: %s", err, lastLine(w.output.String()))
		}
		pages, _ := strconv.ParseFloat(strings.Fields(string(rss))[1], 64)
		s[0] += pages * float64(os.Getpagesize()) / (1 << 20)
		open, err := os.ReadDir(filepath.Join("/proc", pid, "fd"))
		if err != nil {
			return s, err
		}
		s[2] += float64(len(open))
	}
	for _, addr := range addrs {
		n, err := goroutinesOf(ctx, addr)
		if err != nil {
			return s, err
		}
		s[1] += n
	}
	info, err := b.redis.client.InfoMap(ctx, "memory").Result()
	if err != nil {
		return s, fmt.Errorf("ask Redis for its memory: %w", err)
	}
	used, _ := strconv.ParseFloat(info["Memory"]["used_memory"], 64)
	s[3] = used / (1 << 20)
	keys, err := b.redis.client.DBSize(ctx).Result()
	s[4] = float64(keys)
	return s, err
}

// goroutinesOf asks a worker how many it has.
func goroutinesOf(ctx context.Context, addr string) (float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	r.Close = true
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, fmt.Errorf("ask a worker for its metrics: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if n, ok := bytes.CutPrefix(line, []byte("go_goroutines ")); ok {
			return strconv.ParseFloat(string(bytes.TrimSpace(n)), 64)
		}
	}
	return 0, fmt.Errorf("worker at %s tells no goroutines", addr)
}

// soakFigures compares early samples with late ones.
func soakFigures(samples []soakSample, rows int, took time.Duration) ([]figure, error) {
	if len(samples) < 10 {
		return nil, fmt.Errorf("%d samples are too few: let it take longer", len(samples))
	}
	figures := make([]figure, len(soakWhat))
	for i, what := range soakWhat {
		middle := func(part []soakSample) float64 {
			var all []float64
			for _, s := range part {
				all = append(all, s[i])
			}
			slices.Sort(all)
			return all[len(all)/2]
		}
		early, late := middle(samples[3:6]), middle(samples[len(samples)-3:])
		figures[i] = figure{
			what:  fmt.Sprintf("%s, %d rows in %v", what, rows, took),
			value: fmt.Sprintf("%.0f after a sixth of the time, %.0f at the end", early, late),
			must:  fmt.Sprintf("grow by at most %.0f%%", 100*(mostGrowth-1)),
			ok:    late <= early*mostGrowth,
		}
	}
	return figures, nil
}
