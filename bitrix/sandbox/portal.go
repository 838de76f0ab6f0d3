// What a portal in the box is like: its configuration.

package sandbox

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Secret is a webhook's secret or an access token. It does not print.
type Secret string

func (Secret) String() string { return "[secret]" }

// GoString is what %#v prints.
func (Secret) GoString() string { return "[secret]" }

// MarshalText is what JSON holds.
func (Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// Webhook is an incoming webhook: /rest/USER/SECRET/METHOD.
type Webhook struct {
	User   string
	Secret Secret
	Scopes []string // nil means the portal's
}

// Token is an application's access token.
type Token struct {
	Value   Secret
	App     string    // the application's id: owner of the bots it registers
	User    string    // who signed in; empty means 1
	Expires time.Time // zero means never
	Scopes  []string  // nil means the portal's
}

// BatchCount says what the work of calls inside a batch is counted as.
type BatchCount string

const (
	// BatchAsMethod counts it as direct calls of the same method (documentation).
	BatchAsMethod BatchCount = "method"
	// BatchAsBatch counts it as work of the method batch (a measured
	// self-hosted build).
	BatchAsBatch BatchCount = "batch"
	// BatchShared counts it in one counter per method that all webhooks of the
	// portal share; applications' batches count as direct calls (sources).
	BatchShared BatchCount = "shared"
)

// Portal configures one portal. The zero value, given a name, is a portal
// without limits that nobody can sign in to.
type Portal struct {
	// Name is the Host that requests must carry: host, or host:port.
	Name string

	Webhooks []Webhook
	// AnyWebhook accepts every user and secret.
	AnyWebhook bool
	Tokens     []Token
	// Sessions are accepted as parameter sessid: signed in, but as a person in
	// a browser, which imbot methods refuse.
	Sessions []Secret
	// Scopes are what credentials without scopes of their own may do; nil means everything.
	Scopes []string

	// Plan gives Rate and Burst where these are 0: standard 2/s and 50,
	// enterprise 5/s and 250 (public REST limits page). Any other plan: no limit.
	Plan string
	// Rate is how many requests a second the bucket of a source address
	// drains; Burst is how many it holds. 0 means no limit.
	Rate  float64
	Burst int

	// OperatingLimit is how much work one method may do for one credential in
	// OperatingWindow; 0 means no limit. The cloud has 480 s in 10 minutes
	// (public REST limits page).
	OperatingLimit  time.Duration
	OperatingWindow time.Duration // 0 means 10 minutes
	// ReportsOperating puts operating and operating_reset_at into answers.
	ReportsOperating bool
	CountsBatchAs    BatchCount // empty means what Dialect says

	// MaxBotsPerApp refuses further bots of one application with
	// MAX_COUNT_ERROR (5 by documentation); 0 means no limit.
	MaxBotsPerApp int
	// MaxBotsStrict counts before the CODE is looked up, so that even a repeat
	// of an existing bot's registration is refused once the limit is reached.
	MaxBotsStrict bool

	// App is the client_id of the application that is installed, one of
	// [WithApplication]'s: it has a pair of tokens from the start, see
	// [PortalState.Pair]. Empty means none.
	App string
	// MemberID identifies the portal for ever; empty means one made of Name.
	MemberID string

	// RenamedTo is the portal's new name; Name then answers 302.
	RenamedTo string
	// RequireTLS refuses what came by plain HTTP with INVALID_REQUEST.
	RequireTLS bool
	Dialect    Dialect // empty means Documented

	// Latency is waited before each request is looked at.
	Latency time.Duration
	// ServiceTime, plus up to ServiceJitter, is how long the portal works on a
	// bot that it creates, between looking the CODE up and inserting the bot.
	// ServiceFunc, when set, gives it in place of both; n counts from 0.
	ServiceTime   time.Duration
	ServiceJitter time.Duration
	ServiceFunc   func(n uint64) time.Duration
	// OperatingCost is charged as operating time for each bot created or
	// returned, beyond the time that really passed, without waiting.
	OperatingCost time.Duration
	// ServerTimeout is when the server cuts a request off with a 504 while the
	// work goes on. 0 means 60 s, as on the cloud; negative means never.
	ServerTimeout time.Duration

	// FirstBotID is the first BOT_ID given; 0 means 39.
	FirstBotID int
	Faults     []Fault
}

// Cloud returns a portal as the cloud has them on a standard plan: 2 requests a
// second and 50 at once, 480 s of work in 10 minutes and told so, any webhook.
// Plain HTTP is let through, for addresses that have nothing better; set
// RequireTLS to refuse it as the cloud does.
func Cloud(name string) Portal {
	return Portal{
		Name: name, AnyWebhook: true, Plan: "standard",
		OperatingLimit: 480 * time.Second, OperatingWindow: 10 * time.Minute, ReportsOperating: true,
	}
}

// Unlimited returns a portal that accepts any webhook and answers at once.
func Unlimited(name string) Portal { return Portal{Name: name, AnyWebhook: true} }

// Limits are a portal's limits as its callers meet them, after [WithScale].
type Limits struct {
	Rate            float64 // requests a second; 0 is no limit
	Burst           int
	Operating       time.Duration // 0 is no limit
	OperatingWindow time.Duration
	ServerTimeout   time.Duration // 0 is no cut
}

// settled fills in defaults and shortens all periods by scale.
func (p Portal) settled(scale float64) Portal {
	rate, burst := 0.0, 0
	switch p.Plan {
	case "standard":
		rate, burst = 2, 50
	case "enterprise":
		rate, burst = 5, 250
	}
	if p.Rate == 0 {
		p.Rate = rate
	}
	if p.Burst == 0 {
		p.Burst = burst
	}
	if p.OperatingWindow == 0 {
		p.OperatingWindow = 10 * time.Minute
	}
	if p.ServerTimeout == 0 {
		p.ServerTimeout = time.Minute
	}
	if p.Dialect == "" {
		p.Dialect = Documented
	}
	if p.CountsBatchAs == "" {
		p.CountsBatchAs = BatchAsMethod
		if p.Dialect == Published {
			p.CountsBatchAs = BatchShared
		}
	}
	if p.FirstBotID == 0 {
		p.FirstBotID = 39
	}
	p.Rate /= scale
	for _, d := range []*time.Duration{
		&p.OperatingLimit, &p.OperatingWindow, &p.Latency, &p.ServiceTime,
		&p.ServiceJitter, &p.OperatingCost, &p.ServerTimeout,
	} {
		*d = scaled(*d, scale)
	}
	// Ten buckets of at least a nanosecond each.
	p.OperatingWindow = max(p.OperatingWindow, buckets)
	return p
}

func scaled(d time.Duration, scale float64) time.Duration {
	return time.Duration(float64(d) * scale)
}

// check finds what would make a portal's answers meaningless.
func (p Portal) check() error {
	switch {
	case p.Name == "":
		return errors.New("sandbox: portal without a name")
	case strings.ContainsAny(p.Name, "/ "):
		return fmt.Errorf("sandbox: portal %q: name is a host or host:port", p.Name)
	case p.Dialect != "" && p.Dialect != Documented && p.Dialect != Published:
		return fmt.Errorf("sandbox: portal %q: unknown dialect %q", p.Name, p.Dialect)
	case p.Rate < 0 || p.Burst < 0 || p.OperatingLimit < 0:
		return fmt.Errorf("sandbox: portal %q: negative limit", p.Name)
	}
	for _, f := range p.Faults {
		if err := f.check(); err != nil {
			return fmt.Errorf("sandbox: portal %q: %w", p.Name, err)
		}
	}
	return nil
}
