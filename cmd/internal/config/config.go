// Package config reads the settings that worker and enqueue share: environment
// variables, each with a flag that beats it.
package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/pflag"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/redisconn"
	"botfleet/tasks/dispatch"
)

// Config is every setting, checked.
type Config struct {
	RedisURL       string        `json:"-" env:"REDIS_URL" envDefault:"redis://127.0.0.1:6379/0" help:"where Redis is: redis://, redis-sentinel:// or redis-cluster://; rediss://, rediss-sentinel:// or rediss-cluster:// over TLS"`
	Concurrency    int           `env:"CONCURRENCY" envDefault:"1024" help:"rows worked on at once by one worker"`
	Shards         int           `env:"SHARDS" envDefault:"4" help:"queues that new portals are spread over"`
	BatchSize      int           `env:"BATCH_SIZE" envDefault:"50" help:"most registrations in one request, at most 50"`
	Batch          string        `env:"BATCH" envDefault:"auto" help:"when registrations share a request: auto (when a limit binds, or a quick portal has many rows), always, off"`
	PortalParallel int           `env:"PORTAL_PARALLEL" envDefault:"4" help:"requests on their way to one portal at once"`
	Egress         string        `env:"EGRESS" envDefault:"default" help:"names the source address that portals see: workers behind one address share its request rate, others do not"`
	MaxRPS         float64       `env:"MAX_RPS" envDefault:"0" help:"most requests a second of this process to all portals; 0 = no limit"`
	RequestTimeout time.Duration `env:"REQUEST_TIMEOUT" envDefault:"65s" help:"longest that one request may take"`
	MaxAttempts    int           `env:"MAX_ATTEMPTS" envDefault:"8" help:"calls that a row may cost before it is dead"`
	HoldTTL        time.Duration `env:"HOLD_TTL" envDefault:"24h" help:"how long rows wait for a portal that is held, silent or without a token before they are dead (enqueue run: 0)"`
	ResultTTL      time.Duration `env:"RESULT_TTL" envDefault:"168h" help:"how long a run, its results and its tasks are kept after the end: the same for workers and producers"`
	Shutdown       time.Duration `env:"SHUTDOWN_TIMEOUT" envDefault:"75s" help:"longest that a worker takes to stop"`
	HTTPAddr       string        `env:"HTTP_ADDR" envDefault:"127.0.0.1:8080" help:"where the worker serves its pages: / (runs and portals), /dashboard/ (the queue), /healthz, /readyz and /metrics"`
	DashboardUser  string        `env:"DASHBOARD_USER" help:"who may open / and /dashboard/; needed where HTTP_ADDR is not a loopback address"`
	DashPassword   string        `json:"-" env:"DASHBOARD_PASSWORD" help:"the password of DASHBOARD_USER, at least 12 characters" secret:"true"`
	SecretsKey     string        `json:"-" env:"SECRETS_KEY" help:"base64 of 32 bytes that seals credentials in Redis; several, comma-separated: the first seals, all open" secret:"true"`
	ClientID       string        `env:"BITRIX_CLIENT_ID" help:"the application's id: with its secret, expired OAuth tokens are refreshed"`
	ClientSecret   string        `json:"-" env:"BITRIX_CLIENT_SECRET" help:"the application's secret; it goes to the authorization server only" secret:"true"`
	OAuthURL       string        `env:"BITRIX_OAUTH_URL" envDefault:"https://oauth.bitrix24.tech/oauth/token/" help:"the authorization server that refreshes tokens"`
	InstallAddr    string        `env:"INSTALL_ADDR" help:"where the worker serves the application's install handler; none: it does not"`
	BotsFile       string        `env:"BOTS_FILE" help:"bots that each portal gets when it installs the application: rows without portal"`
	Insecure       string        `env:"ALLOW_INSECURE_PORTALS" help:"hosts and networks where http and non-public addresses are allowed, or true for all"`
	AllowEviction  bool          `env:"ALLOW_EVICTION" envDefault:"false" help:"work on a Redis that deletes keys when its memory is full: rows and marks may be lost"`
	LogLevel       string        `env:"LOG_LEVEL" envDefault:"info" help:"debug, info, warn or error"`
	LogFormat      string        `env:"LOG_FORMAT" envDefault:"text" help:"text or json"`

	// Given holds the names of the variables that the user has set.
	Given map[string]bool `env:"-"`
	// AppSecret, DashboardPassword, Keys and Endpoints are BITRIX_CLIENT_SECRET,
	// DASHBOARD_PASSWORD, SECRETS_KEY and ALLOW_INSECURE_PORTALS, read.
	AppSecret         bitrix.Secret    `env:"-"`
	DashboardPassword bitrix.Secret    `env:"-"`
	Keys              portals.Keyring  `env:"-"`
	Endpoints         bitrix.Endpoints `env:"-"`
}

// String names the settings that were given, and shows no value: REDIS_URL may
// hold a password, and SECRETS_KEY is one.
func (c Config) String() string {
	return "settings, given: " + strings.Join(slices.Sorted(maps.Keys(c.Given)), " ")
}

// GoString is String.
func (c Config) GoString() string { return c.String() }

// Flags are the settings as command-line flags, which beat the environment.
// Secrets have none: a command line is there for every user of a machine to read.
type Flags struct{ set *pflag.FlagSet }

// AddFlags adds a flag for each setting: REQUEST_TIMEOUT becomes --request-timeout.
func AddFlags(set *pflag.FlagSet) Flags {
	for _, f := range fields() {
		if !f.secret {
			set.String(flagName(f.name), "", f.help+" ("+f.name+"; default "+orNone(f.def)+")")
		}
	}
	return Flags{set}
}

// Load reads the settings from environ ("NAME=value" lines) and flags. Its
// error names all that is wrong at once.
func Load(environ []string, flags Flags) (Config, error) {
	vars := env.ToMap(environ)
	c := Config{Given: map[string]bool{}}
	var bad []error
	for _, f := range fields() {
		if fl := flags.lookup(f); fl != nil && fl.Changed {
			vars[f.name] = fl.Value.String()
			if f.name == "REDIS_URL" && hasPassword(fl.Value.String()) {
				bad = append(bad, errors.New("--redis-url: a password in a flag can be read by every user of this machine: put it into REDIS_URL"))
			}
		}
		// An empty variable is one that is not set: that is how most tools unset one.
		if strings.TrimSpace(vars[f.name]) == "" {
			delete(vars, f.name)
		} else {
			c.Given[f.name] = true
		}
	}
	unread, errs := parse(&c, vars)
	bad = append(bad, errs...)
	bad = append(bad, c.check(unread)...)
	if len(bad) > 0 {
		return Config{}, errors.Join(bad...)
	}
	return c, nil
}

func (f Flags) lookup(fd field) *pflag.Flag {
	if f.set == nil {
		return nil
	}
	return f.set.Lookup(flagName(fd.name))
}

func hasPassword(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return strings.Contains(raw, "@")
	}
	_, has := u.User.Password()
	return has
}

// parse fills c from vars. unread names the variables that cannot be read, and
// there is one error for each.
func parse(c *Config, vars map[string]string) (unread map[string]bool, bad []error) {
	err := env.ParseWithOptions(c, env.Options{Environment: vars})
	if err == nil {
		return nil, nil
	}
	var all env.AggregateError
	if !errors.As(err, &all) {
		return nil, []error{err}
	}
	unread = map[string]bool{}
	for _, e := range all.Errors {
		var pe env.ParseError
		if !errors.As(e, &pe) {
			bad = append(bad, e)
			continue
		}
		name := envName(pe.Name)
		unread[name] = true
		bad = append(bad, fmt.Errorf("%s: %q is not %s", name, vars[name], kindInWords(pe.Type)))
	}
	return unread, bad
}

func kindInWords(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "a duration such as 65s, 5m or 24h"
	case t.Kind() == reflect.Int:
		return "a whole number"
	case t.Kind() == reflect.Float64:
		return "a number"
	case t.Kind() == reflect.Bool:
		return "true or false"
	}
	return "a " + t.String()
}

// check returns everything that is wrong with values that could be read.
func (c *Config) check(unread map[string]bool) []error {
	var bad []error
	must := func(ok bool, name string, value any, want string) {
		if !ok && !unread[name] {
			bad = append(bad, fmt.Errorf("%s: %v: %s", name, value, want))
		}
	}
	must(c.Concurrency >= 1, "CONCURRENCY", c.Concurrency, "1 to 4096 are possible")
	must(c.Concurrency <= 4096, "CONCURRENCY", c.Concurrency, "1 to 4096 are possible: above that the engine slows down; start more workers instead")
	must(c.Shards >= 1 && c.Shards <= 64, "SHARDS", c.Shards, "1 to 64 are possible")
	must(c.BatchSize >= 1 && c.BatchSize <= 50, "BATCH_SIZE", c.BatchSize, "1 to 50 are possible, which is what a portal takes")
	must(c.PortalParallel >= 1 && c.PortalParallel <= 64, "PORTAL_PARALLEL", c.PortalParallel, "1 to 64 are possible")
	must(isName(c.Egress), "EGRESS", c.Egress, "1 to 64 letters, digits, dots, dashes or underscores")
	must(c.MaxRPS >= 0 && !math.IsInf(c.MaxRPS, 0) && !math.IsNaN(c.MaxRPS), "MAX_RPS", c.MaxRPS, "it is a number of requests a second, or 0")
	must(c.RequestTimeout >= 100*time.Millisecond && c.RequestTimeout <= 10*time.Minute, "REQUEST_TIMEOUT", c.RequestTimeout, "100ms to 10m are possible")
	must(c.MaxAttempts >= 1 && c.MaxAttempts <= 1000, "MAX_ATTEMPTS", c.MaxAttempts, "1 to 1000 are possible")
	must(c.HoldTTL >= 0, "HOLD_TTL", c.HoldTTL, "it cannot be negative")
	must(c.ResultTTL >= time.Minute, "RESULT_TTL", c.ResultTTL, "at least 1m")
	must(c.Shutdown >= time.Second, "SHUTDOWN_TIMEOUT", c.Shutdown, "at least 1s")
	must(oneOf(c.Batch, string(dispatch.Auto), string(dispatch.Always), string(dispatch.Off)), "BATCH", c.Batch, "it is auto, always or off")
	must(oneOf(c.LogFormat, "text", "json"), "LOG_FORMAT", c.LogFormat, "it is text or json")
	_, err := c.level()
	must(err == nil, "LOG_LEVEL", c.LogLevel, "it is debug, info, warn or error")
	_, _, err = net.SplitHostPort(c.HTTPAddr)
	must(err == nil, "HTTP_ADDR", c.HTTPAddr, "it is host:port, such as 127.0.0.1:8080")
	if c.InstallAddr != "" {
		_, _, err = net.SplitHostPort(c.InstallAddr)
		must(err == nil, "INSTALL_ADDR", c.InstallAddr, "it is host:port, such as 0.0.0.0:8443")
	}
	bad = append(bad, c.checkApplication()...)
	bad = append(bad, c.checkDashboard()...)

	if _, err := redisconn.Parse(c.RedisURL); err != nil {
		bad = append(bad, err) // it names the variable
	}
	if c.Endpoints, err = bitrix.ParseEndpoints(c.Insecure); err != nil {
		bad = append(bad, fmt.Errorf("ALLOW_INSECURE_PORTALS: %w", err))
	}
	if c.SecretsKey != "" {
		if c.Keys, err = portals.ParseKeys(c.SecretsKey); err != nil {
			bad = append(bad, err) // it names the variable
		}
	}
	return bad
}

// checkApplication returns what is wrong with the OAuth application's settings.
func (c *Config) checkApplication() (bad []error) {
	c.AppSecret = bitrix.NewSecret(c.ClientSecret)
	switch {
	case c.ClientID != "" && c.ClientSecret == "":
		bad = append(bad, errors.New("BITRIX_CLIENT_SECRET: is missing beside BITRIX_CLIENT_ID: the authorization server wants both"))
	case c.ClientID == "" && c.ClientSecret != "":
		bad = append(bad, errors.New("BITRIX_CLIENT_ID: is missing beside BITRIX_CLIENT_SECRET: the authorization server wants both"))
	}
	return bad
}

// minPassword is the least length of the dashboard's password, in characters.
// Wrong guesses are slowed down; this is for those who have the time.
const minPassword = 12

// checkDashboard returns what is wrong with the dashboard's user and password.
func (c *Config) checkDashboard() (bad []error) {
	c.DashboardPassword = bitrix.NewSecret(c.DashPassword)
	control := func(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }
	switch {
	case c.DashboardUser != "" && c.DashPassword == "":
		bad = append(bad, errors.New("DASHBOARD_PASSWORD: is missing beside DASHBOARD_USER"))
	case c.DashboardUser == "" && c.DashPassword != "":
		bad = append(bad, errors.New("DASHBOARD_USER: is missing beside DASHBOARD_PASSWORD"))
	case strings.Contains(c.DashboardUser, ":") || control(c.DashboardUser):
		bad = append(bad, errors.New("DASHBOARD_USER: a browser cannot send a name with a colon or a control character in it"))
	}
	if c.DashPassword != "" && utf8.RuneCountInString(c.DashPassword) < minPassword {
		bad = append(bad, fmt.Errorf("DASHBOARD_PASSWORD: is shorter than %d characters", minPassword))
	}
	if control(c.DashPassword) {
		bad = append(bad, errors.New("DASHBOARD_PASSWORD: has a control character in it, perhaps the end of a line"))
	}
	return bad
}

// isName reports whether s is a plain name, as it becomes part of what is kept in Redis.
func isName(s string) bool {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
	}
	return s != "" && len(s) <= 64 && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0
}

func oneOf(s string, words ...string) bool {
	return slices.Contains(words, s)
}

func (c *Config) level() (slog.Level, error) {
	var l slog.Level
	err := l.UnmarshalText([]byte(c.LogLevel))
	return l, err
}

// Logger returns a logger on w as the settings ask for it.
func (c *Config) Logger(w io.Writer) *slog.Logger {
	l, err := c.level()
	if err != nil {
		l = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: l}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
