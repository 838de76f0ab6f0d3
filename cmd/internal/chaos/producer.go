// Producers: rows go into files, and with the built program into runs.

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"botfleet/bitrix/sandbox"
	"botfleet/cmd/internal/built"
)

// producerDrag slows the producers' network, so that they can be killed in the middle.
const producerDrag = 40 * time.Millisecond

// overload blocks a portal's caller, once: only a person lifts that.
var overload = sandbox.Fault{Kind: sandbox.Refuse, Code: "OVERLOAD_LIMIT", Count: 1, Methods: []string{"imbot.register", "batch"}}

// submission is a run and what was asked for in it.
type submission struct {
	plan *runPlan
	run  string
	from time.Time // when it was begun
	to   time.Time // when the last of it was queued
}

// submissions are the runs that have begun.
func (w *world) submissions() []*submission {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*submission(nil), w.runs...)
}

// importPortals stores the portals with the built program.
func (w *world) importPortals(ctx context.Context) error {
	if err := w.portalsFile(); err != nil {
		return err
	}
	out, err := w.enqueue(ctx, "portals", "import", filepath.Join(w.dir, "portals.jsonl"))
	if err != nil {
		return fmt.Errorf("import the portals: %w: %s", err, out)
	}
	return nil
}

// enqueue runs the built program to its end, and returns what it printed.
func (w *world) enqueue(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var out, problems bytes.Buffer
	cmd := built.Command(ctx, filepath.Join(w.bin, "enqueue"), w.commonEnv(w.redis.addr()), args...)
	cmd.Stdout, cmd.Stderr = &out, &problems
	p, err := built.Start(cmd)
	if err != nil {
		return "", err
	}
	if code := p.Code(); code != 0 && code != 2 {
		return out.String(), fmt.Errorf("exit status %d: %s", code, strings.TrimSpace(problems.String()))
	}
	return out.String(), nil
}

// submit submits a run at its time, and again with --run until all of it is in.
func (w *world) submit(ctx context.Context, n int) error {
	plan := &w.story.runs[n]
	if err := sleep(ctx, time.Until(w.began.Add(plan.at))); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(w.dir, fmt.Sprintf("producer-%d.log", n)))
	if err != nil {
		return fmt.Errorf("make a producer's log: %w", err)
	}
	defer func() { _ = log.Close() }() // read only if there is trouble
	s := &submission{plan: plan, from: time.Now()}
	for try := 0; ; try++ {
		file := fmt.Sprintf("rows-%d.jsonl", n)
		if err := w.rowsFile(ctx, file, plan.rows); err != nil {
			if err := sleep(ctx, time.Second); err != nil { // Redis is away: nobody knows the portals' names
				return err
			}
			continue
		}
		done, err := w.tryToSubmit(ctx, s, filepath.Join(w.dir, file), log, try)
		if err != nil || done {
			return err
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

// tryToSubmit starts a producer, kills it perhaps, and reports whether it has
// queued everything.
func (w *world) tryToSubmit(ctx context.Context, s *submission, file string, log *os.File, try int) (done bool, err error) {
	args := []string{"submit", "--skip-invalid", "--on-existing", s.plan.wish}
	if s.run != "" {
		args = append(args, "--run", s.run)
	}
	var out bytes.Buffer
	printed := newWatched(&out, "\n")
	cmd := built.Command(ctx, filepath.Join(w.bin, "enqueue"), w.commonEnv(w.producers.Addr()), append(args, file)...)
	cmd.Stdout, cmd.Stderr = printed, log
	p, err := built.Start(cmd)
	if err != nil {
		return false, err
	}
	if try == 0 && s.plan.killed > 0 {
		select {
		case <-printed.seen:
			if err := sleep(ctx, s.plan.killed); err != nil {
				return false, err
			}
		case <-p.Ended():
		}
		select {
		case <-p.Ended(): // it was faster
		default:
			w.count("kill producer", 1)
			w.notef("a producer is killed")
			p.Kill()
		}
	}
	late, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := p.Wait(late); err != nil {
		w.problemf("a producer: %v", err)
		p.Kill()
	}
	if id := strings.TrimSpace(out.String()); s.run == "" && id != "" {
		s.run = id
		w.mu.Lock()
		w.runs = append(w.runs, s)
		w.mu.Unlock()
	}
	s.to = time.Now()
	switch code := p.Code(); code {
	case 0, 2:
		w.notef("run %s is in", s.run)
		return true, nil
	case 1, -1:
		w.notef("a producer of run %q ended with %s", s.run, p.Cmd.ProcessState)
		return false, nil
	default:
		return false, fmt.Errorf("a producer ended with %s: see its log", p.Cmd.ProcessState)
	}
}

// rowsFile writes rows, under the names that the portals are known by now.
func (w *world) rowsFile(ctx context.Context, file string, rows []rowPlan) error {
	names, err := w.knownNames(ctx)
	if err != nil {
		return err
	}
	var lines []any
	for i, r := range rows {
		line := map[string]any{
			"portal": names[r.portal], "id": fmt.Sprintf("%d/%s/%d", r.portal, r.code, i+1), "CODE": r.code,
			"EVENT_HANDLER": "https://bots.example.com/events",
			"PROPERTIES":    map[string]any{"NAME": "Bot " + r.code, "COLOR": "AZURE"},
		}
		if r.other {
			line["CLIENT_ID"] = otherClient
		}
		if r.bad {
			line["EVENT_HANDLER"] = "gopher://bots"
		}
		lines = append(lines, line)
	}
	return w.writeLines(file, lines)
}

// knownNames are the names under which the registry has the portals.
func (w *world) knownNames(ctx context.Context) ([]string, error) {
	w.mu.Lock()
	names, all := make([]string, len(w.places)), []string(nil)
	had := make([][]string, len(w.places))
	for i, p := range w.places {
		names[i], had[i] = p.names[0], append([]string(nil), p.names...)
		if p.renamed {
			all = append(all, p.names...)
		}
	}
	w.mu.Unlock()
	if len(all) == 0 {
		return names, nil
	}
	known, err := w.registry.FindMany(ctx, all)
	if err != nil {
		return nil, err
	}
	for i := range had {
		for _, name := range had[i] {
			if _, ok := known[name]; ok {
				names[i] = known[name].Name
			}
		}
	}
	return names, nil
}
