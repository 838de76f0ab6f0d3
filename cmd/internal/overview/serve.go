// The page's addresses.

package overview

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"sync"
	"time"

	"botfleet/cmd/internal/report"
	"botfleet/tasks/runs"
)

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed assets
var assetFiles embed.FS

// assetsVersion changes with the assets, so that an open page that was served by
// an earlier version notices.
var assetsVersion = versionOf(assetFiles)

func versionOf(files fs.FS) string {
	sum := sha256.New()
	_ = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := fs.ReadFile(files, name)
		_, _ = sum.Write(body) // it never fails
		return err
	})
	return hex.EncodeToString(sum.Sum(nil))[:12]
}

// detailedRuns is how many unfinished runs the front page shows the details of.
const detailedRuns = 4

// pages are the templates, each with the frame.
type pages struct{ front, run, none *template.Template }

func readPages() (pages, error) {
	var p pages
	for name, t := range map[string]**template.Template{"front.html": &p.front, "run.html": &p.run, "none.html": &p.none} {
		parsed, err := template.ParseFS(pageFiles, "pages/frame.html", "pages/parts.html", "pages/"+name)
		if err != nil {
			return pages{}, err
		}
		*t = parsed
	}
	return p, nil
}

func (o *Overview) routes() (*http.ServeMux, error) {
	p, err := readPages()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(rw http.ResponseWriter, r *http.Request) { o.serveFront(rw, r, p) })
	mux.HandleFunc("GET /runs/{id}", func(rw http.ResponseWriter, r *http.Request) { o.serveRun(rw, r, p) })
	mux.HandleFunc("GET /assets/{name}", serveAsset)
	return mux, nil
}

func (o *Overview) serveFront(rw http.ResponseWriter, r *http.Request, p pages) {
	ctx, cancel := context.WithTimeout(r.Context(), waitFor)
	defer cancel()
	l := o.lookFront(ctx)
	status := http.StatusOK
	if l.runs.err != nil {
		status = http.StatusServiceUnavailable
	}
	o.write(rw, p.front, status, o.front(l))
}

// lookFront asks for all parts of the front page side by side.
func (o *Overview) lookFront(ctx context.Context) *frontLook {
	l := &frontLook{details: map[string]answer[detail]{}}
	var all sync.WaitGroup
	var alive answer[struct{}]
	all.Go(func() { alive = o.alive.get(ctx) })
	all.Go(func() { l.held = o.held.get(ctx) })
	all.Go(func() { l.gate = o.gate.get(ctx) })
	all.Go(func() { l.queues = o.queues.get(ctx) })
	all.Go(func() { l.server = o.server.get(ctx) })
	l.runs = o.list.get(ctx)
	var mu sync.Mutex
	list := l.runs.value.list
	for i := range list[:min(len(list), detailedRuns)] {
		id := list[i].ID
		if list[i].Finished() {
			break
		}
		all.Go(func() {
			d := o.details.get(ctx, id)
			mu.Lock()
			defer mu.Unlock()
			l.details[id] = d
		})
	}
	all.Wait()
	l.now = o.cfg.Now()
	if l.runs.err == nil {
		l.runs.err = alive.err
	}
	return l
}

// runPage is the page of one run.
type runPage struct {
	frame

	Run runView
	// Commands are what there is to type about the run, each with what it does.
	Commands []fact
	Gone     bool // nothing could be read
}

// nonePage says that there is no such page.
type nonePage struct {
	frame

	Text string
}

func (o *Overview) serveRun(rw http.ResponseWriter, r *http.Request, p pages) {
	id := r.PathValue("id")
	if err := runs.CheckID(id); err != nil {
		o.write(rw, p.none, http.StatusNotFound, nonePage{o.frame("No such run", o.cfg.Now()), report.Clean(err.Error())})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), waitFor)
	defer cancel()
	var server answer[serverLook]
	var alive answer[struct{}]
	var both sync.WaitGroup
	both.Go(func() { server = o.server.get(ctx) })
	both.Go(func() { alive = o.alive.get(ctx) })
	d := o.details.get(ctx, id)
	both.Wait()
	now := o.cfg.Now()
	if errors.Is(d.err, runs.ErrUnknownRun) {
		o.write(rw, p.none, http.StatusNotFound, nonePage{o.frame("No such run", now), "There is no run " + id + ", or no longer: runs are kept for RESULT_TTL after their end."})
		return
	}
	page := runPage{frame: o.frame("Run "+id, now), Gone: d.value.info.ID == "", Commands: commandsFor(id, &d.value.info)}
	page.Older = olderWords(now, []part{{"the run", d.at}, {"what its rows wait for", d.value.asOf}, {"the workers", server.at}})
	page.problem("The run", cmp.Or(d.err, alive.err))
	status := http.StatusOK
	if alive.err != nil {
		status = http.StatusServiceUnavailable
	}
	if page.Gone {
		status = http.StatusServiceUnavailable
		page.Run = runView{ID: id}
	} else {
		workers := (&frontLook{server: server}).workers()
		page.Run = runOf(&d.value.info, now, len(d.value.info.DeadBy))
		page.Run.detail(&d.value, workers, now)
	}
	o.write(rw, p.run, status, page)
}

// commandsFor are the commands that fit a run's state.
func commandsFor(id string, info *runs.Info) []fact {
	var all []fact
	add := func(what, format string) {
		if c := command(format, id); c != "" {
			all = append(all, fact{Name: what, Value: c})
		}
	}
	add("How it gets on", "enqueue status %s")
	add("What became of its rows", "enqueue results %s")
	if info.Counts.Dead > 0 {
		add("Dead rows with their reasons", "enqueue dead list %s")
		add("Dead rows as input, to be mended", "enqueue dead export %s --output dead.jsonl")
		add("Queue dead rows again", "enqueue dead retry %s --reason TEXT")
	}
	if info.Counts.Refused > 0 {
		add("Refused rows", "enqueue results %s --only refused")
	}
	return all
}

// policy lets the pages load what the worker itself serves, and nothing else.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func (o *Overview) write(rw http.ResponseWriter, t *template.Template, status int, data any) {
	var body bytes.Buffer
	if err := t.ExecuteTemplate(&body, "frame", data); err != nil {
		o.cfg.Log.Error("the worker's page has a fault", "err", err)
		http.Error(rw, "the page has a fault: see the worker's log", http.StatusInternalServerError)
		return
	}
	h := rw.Header()
	secure(h)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	rw.WriteHeader(status)
	_, _ = rw.Write(body.Bytes()) // who has gone away misses nothing
}

func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
}

func serveAsset(rw http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	body, err := assetFiles.ReadFile(path.Join("assets", path.Base(name)))
	if err != nil {
		http.NotFound(rw, r)
		return
	}
	h := rw.Header()
	secure(h)
	h.Set("ETag", `"`+assetsVersion+`"`)
	h.Set("Cache-Control", "no-cache")
	http.ServeContent(rw, r, name, time.Time{}, bytes.NewReader(body))
}
