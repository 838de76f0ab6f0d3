// asynqmon's API: what goes in is bounded, what comes out is readable.

package dashboard

import (
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

const (
	// maxSize is the longest page of tasks, which is the longest that asynqmon's
	// own page asks for. It would serve any, and with a negative one the whole queue.
	maxSize     = 100
	defaultSize = 20
	// maxPage × maxSize is more than a Redis holds.
	maxPage = 10_000_000
	// maxBody holds maxSize task ids with room to spare, in bytes.
	maxBody = 16 << 10
	// AnswerWithin is how long an answer may take; what is slower is told so. The
	// server's WriteTimeout has to leave time to say it.
	AnswerWithin = 8 * time.Second
)

// api is asynqmon's, with what it lacks.
type api struct {
	stock       http.Handler
	root        string
	redis       redis.UniversalClient
	maxAttempts int
	actions     actions
	log         *slog.Logger
}

func newAPI(stock http.Handler, c Config, inspector *asynq.Inspector) http.Handler {
	a := &api{
		stock: stock, root: c.Root + "/api/", redis: c.Redis, maxAttempts: c.MaxAttempts,
		actions: actions{inspector}, log: c.Log,
	}
	slow := http.TimeoutHandler(a, AnswerWithin, "Redis is slow to answer. What was clicked may have been done all the same.")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		slow.ServeHTTP(w, r)
	})
}

// ServeHTTP implements [http.Handler].
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var got answer
	name := strings.TrimPrefix(r.URL.Path, a.root)
	t, known := a.actions.serve(&got, r, name)
	switch {
	case known:
	case r.Method == http.MethodGet && name == "metrics":
		http.Error(&got, "Prometheus reads /metrics; nothing is asked of it here.", http.StatusNotFound)
	default:
		a.stock.ServeHTTP(&got, bounded(r))
	}
	if got.code() >= http.StatusInternalServerError && got.code() != http.StatusServiceUnavailable {
		a.explain(r.Context(), &got)
	}
	if changes(r) {
		a.told(r, name, got.code(), t)
	}
	a.send(w, &got)
}

// told says in the log who asked for what change, and how it was answered: also for
// what was refused, as at night it is of use to know that somebody tried.
func (a *api) told(r *http.Request, name string, status int, t tally) {
	user, _, _ := r.BasicAuth()
	attrs := []slog.Attr{slog.String("method", r.Method), slog.String("path", name), slog.Int("status", status), slog.String("user", user)}
	if t != (tally{}) {
		attrs = append(attrs, slog.Int("tasks", t.done), slog.Int("failed", t.failed))
	}
	a.log.LogAttrs(r.Context(), slog.LevelInfo, "clicked on the dashboard", attrs...)
}

// bounded is a request for a page of tasks that is not too long.
func bounded(r *http.Request) *http.Request {
	q := r.URL.Query()
	if !q.Has("size") && !q.Has("page") {
		return r
	}
	size, page := number(q, "size", defaultSize), number(q, "page", 1)
	q.Set("size", strconv.Itoa(min(size, maxSize)))
	q.Set("page", strconv.Itoa(min(page, maxPage)))
	u := *r.URL
	u.RawQuery = q.Encode()
	b := r.Clone(r.Context())
	b.URL = &u
	return b
}

func number(q url.Values, name string, otherwise int) int {
	n, err := strconv.Atoi(q.Get(name))
	if err != nil || n < 1 {
		return otherwise
	}
	return n
}

// pingWithin bounds the question whether Redis is there.
const pingWithin = time.Second

// explain says that Redis is away, if that is what an error is about.
func (a *api) explain(ctx context.Context, got *answer) {
	ctx, cancel := context.WithTimeout(ctx, pingWithin)
	defer cancel()
	err := a.redis.Ping(ctx).Err()
	if err == nil {
		return
	}
	got.status = http.StatusServiceUnavailable
	got.body.Reset()
	got.body.WriteString("Redis does not answer: " + err.Error() + ". The worker goes on by itself when it does.")
}

// send sends an answer, with texts fit to be read.
func (a *api) send(w http.ResponseWriter, got *answer) {
	body := got.body.Bytes()
	if len(body) == 0 {
		w.WriteHeader(got.code())
		return
	}
	d := json.NewDecoder(&got.body)
	d.UseNumber()
	var content any
	if body[0] != '{' || d.Decode(&content) != nil {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(got.code())
		_, _ = w.Write([]byte(mask(strings.TrimSpace(string(body)))))
		return
	}
	a.readable(content)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(got.code())
	tell(w, content)
}

// tell writes JSON. What cannot be written has no reader any more.
func tell(w http.ResponseWriter, content any) {
	_ = json.NewEncoder(w).Encode(content) //nolint:errchkjson // it was read from JSON, or is of strings and numbers
}

// uncounted is the limit of retries that every task has, as others count them.
var uncounted = json.Number(strconv.Itoa(math.MaxInt32))

// readable puts the errors of all tasks in an answer into readable form, shows
// the most attempts that a row has, and lets an embedded Redis say what it is.
func (a *api) readable(content any) {
	switch c := content.(type) {
	case []any:
		for _, each := range c {
			a.readable(each)
		}
	case map[string]any:
		if raw, ok := c["raw_info"].(string); ok && c["cluster"] == false && !strings.Contains(raw, "redis_version") {
			// The page would show figures that are not there; without them it shows the text.
			c["info"], c["raw_info"] = nil, "An in-memory Redis tells little of itself.\n"+raw
		}
		for key, value := range c {
			switch v := value.(type) {
			case string:
				if key == "error_message" {
					c[key] = formatError(v)
				}
			case json.Number:
				if key == "max_retry" && v == uncounted && a.maxAttempts > 0 {
					c[key] = a.maxAttempts
				}
			default:
				a.readable(value)
			}
		}
	}
}
