// Package dashboard is asynqmon, the web page of the queue, made fit to be shown.
//
// asynqmon does not know that a task is a row of a run, trusts whoever reaches
// it, and was made for a page that may load from anywhere. Here it loads from this
// process alone, under a Content-Security-Policy; payloads, results and errors
// are put into words and rid of what looks like a credential; and no click keeps
// Redis busy for longer than a moment, or makes a run untrue. Who may open it is
// for package guard to say.
package dashboard

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"
)

// Config says what is shown, and where.
type Config struct {
	// Redis is asked and told everything. Its owner closes it, after the server
	// that the dashboard is behind. It should give up soon, as somebody waits for
	// the page: asynqmon sets no bounds of its own. The page about Redis needs a
	// *redis.Client or a *redis.ClusterClient.
	Redis redis.UniversalClient
	// Root is the path that the dashboard is served under, "/dashboard" by default.
	Root string
	// Home is where its link to the worker's own page leads. Empty: there is none.
	Home string
	// MaxAttempts is what is shown as a row's most attempts, in place of the number
	// that asynq was given so that it leaves the counting to others. 0: that one.
	MaxAttempts int
	// Log is told what changes were asked for on the dashboard, by whom, and how each
	// was answered. Nil: nobody.
	Log *slog.Logger
}

// Dashboard is an http.Handler for Root and all that is under it. It has no
// goroutine and no connection of its own, and so needs no closing.
type Dashboard struct {
	root   string
	page   *page
	assets http.Handler
	api    http.Handler
}

// New returns the dashboard. Nothing is sent to Redis before the first request.
func New(c Config) (*Dashboard, error) {
	if c.Redis == nil {
		return nil, errors.New("the dashboard needs a Redis client")
	}
	if c.Root == "" {
		c.Root = "/dashboard"
	}
	if !strings.HasPrefix(c.Root, "/") || strings.HasSuffix(c.Root, "/") {
		return nil, errors.New("the dashboard's path has to begin with a slash, and not to end with one: " + c.Root)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	// It is not closed, as that would close the client.
	stock := asynqmon.New(asynqmon.Options{
		RootPath: c.Root, RedisConnOpt: shared{c.Redis},
		PayloadFormatter: asynqmon.PayloadFormatterFunc(formatPayload),
		ResultFormatter:  asynqmon.ResultFormatterFunc(formatResult),
	})
	page, err := newPage(stock, c)
	if err != nil {
		return nil, err
	}
	d := &Dashboard{root: c.Root, page: page, assets: assets(stock)}
	d.api = newAPI(stock, c, asynq.NewInspectorFromRedisClient(c.Redis))
	return d, nil
}

// shared hands asynqmon the worker's own client, so that both sign in alike.
type shared struct{ client redis.UniversalClient }

// MakeRedisClient implements [asynq.RedisConnOpt].
func (s shared) MakeRedisClient() any { return s.client }

// sendWithin is how long an asset may take on its way: the largest has 1 MB, and
// lines are slow. The server's own bound is for pages.
const sendWithin = time.Minute

// ServeHTTP implements [http.Handler].
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, d.root)
	switch {
	case strings.HasPrefix(path, "/api/"):
		d.api.ServeHTTP(w, r)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	case isOwn(path):
		serveOwn(w, r, path)
	case isAsset(path):
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(sendWithin)) // not every server has one
		d.assets.ServeHTTP(w, r)
	default: // its own script knows what the path means
		d.page.ServeHTTP(w, r)
	}
}
