// The caller, and what it is made of.

package signin

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
)

// Store keeps portals and their credentials; [portals.Registry] is one. A
// service with portals of its own brings its own.
//
// Each portal has a generation, which grows with every change of its
// credentials. What a method changes it changes at once, and only while the
// generation is the one given. Errors: for a portal that there is not, one for
// which errors.Is(err, [portals.ErrUnknown]) holds; for another generation,
// [portals.ErrChanged]; where host or member_id belong to another portal,
// [*portals.ConflictError]; any other error is taken for one that passes.
type Store interface {
	// Get returns a portal by its permanent id, with its credentials.
	Get(ctx context.Context, id string) (portals.Portal, error)
	// Renewing notes that the pair of a generation is about to be traded, and
	// returns how many earlier notes of that pair there are.
	Renewing(ctx context.Context, id string, generation int64) (unknown int, err error)
	// NotRenewed takes one note back: that trade certainly did not happen.
	NotRenewed(ctx context.Context, id string, generation int64) error
	// Renew stores a new pair, and the host of access, which may be new. memberID
	// is learned where none was known. All notes end. It returns the portal as
	// it is now.
	Renew(ctx context.Context, id string, generation int64, access bitrix.Access, refresh bitrix.Secret, memberID string) (portals.Portal, error)
	// Move stores a portal's new host; access is the same credential there.
	Move(ctx context.Context, id string, generation int64, access bitrix.Access) (portals.Portal, error)
}

// Auth trades refresh tokens; [bitrix.AuthServer] is one. Its errors are of
// type [*bitrix.Error], as [bitrix.AuthServer.Refresh] describes them.
type Auth interface {
	Refresh(ctx context.Context, refresh bitrix.Secret) (bitrix.Tokens, error)
}

// API calls portals; [bitrix.Client] is one. Its errors are of type [*bitrix.Error].
type API interface {
	Register(ctx context.Context, a bitrix.Access, b *bitrix.Bot) (bitrix.Registered, error)
	RegisterBatch(ctx context.Context, a bitrix.Access, bots []*bitrix.Bot) (bitrix.BatchAnswer, error)
	Bots(ctx context.Context, a bitrix.Access, clientID string) ([]bitrix.ListedBot, bitrix.Time, error)
	Batch(ctx context.Context, a bitrix.Access, commands []bitrix.Command) ([]bitrix.CommandAnswer, bitrix.Time, error)
	Update(ctx context.Context, a bitrix.Access, botID int64, b *bitrix.Bot) (bitrix.Time, error)
}

// Outcomes of requests to the authorization server, for [Meter].
const (
	Renewed = "renewed" // a new pair came
	Refused = "refused" // the server gives this portal no new pair
	Lost    = "lost"    // no readable answer came: the pair may have been traded
	PutOff  = "put_off" // nothing was traded; it is tried again
)

// Meter hears of renewals and renames. Its methods are called from many
// goroutines and must not block.
type Meter interface {
	// Refreshed tells how a request to the authorization server ended.
	Refreshed(outcome string)
	// Moved tells that a portal's new host was stored: it has accepted a call.
	Moved()
}

// unmetered is the Meter of those who have none.
type unmetered struct{}

func (unmetered) Refreshed(string) {}
func (unmetered) Moved()           {}

// Config is what a Caller works with. API and Store are needed.
type Config struct {
	API  API
	Auth Auth // nil: tokens cannot be renewed
	// WithoutAuth says why there is no Auth, and what to do, in words that follow
	// "the access token is no longer accepted, and". Defaults to the settings of
	// the application being missing.
	WithoutAuth string
	Store       Store
	Locks       Locks // nil: no other process renews tokens of these portals
	// Endpoints say where a portal's credentials may follow it.
	Endpoints bitrix.Endpoints
	Now       func() time.Time // defaults to time.Now
	Log       *slog.Logger     // nil: nothing is logged
	Meter     Meter            // nil: nothing is measured
	// Charge hears how many requests are about to be made to a portal beyond the
	// one that each call is: repeats after a renewal or a redirect. It is called
	// before they leave, and they leave whatever comes of it. Nil: nobody hears.
	Charge func(ctx context.Context, p *portals.Portal, requests int)
}

// Caller calls portals. Its methods may be called from many goroutines. End it
// with [Caller.Close].
type Caller struct {
	Config
	ctx  context.Context //nolint:containedctx // of the renewals, which outlive the calls that began them
	stop context.CancelFunc
	work sync.WaitGroup
	draw func() float64 // a random number in [0, 1)

	mu      sync.Mutex
	closed  bool
	known   map[string]*known  // by portal id; at most maxKnown
	flights map[string]*flight // by what is being done
	server  serverPause
	auth    trouble
}

// New makes a Caller.
func New(c Config) *Caller {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Meter == nil {
		c.Meter = unmetered{}
	}
	if c.Locks == nil {
		c.Locks = noLocks{}
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Caller{
		Config: c, ctx: ctx, stop: stop, draw: rand.Float64,
		known: map[string]*known{}, flights: map[string]*flight{},
	}
}

// Close ends renewals that have not asked for a new pair yet, and waits for the
// others: for the authorization server's answer, and up to 20 s for the store.
// Calls that need a renewal end as Transient from now on.
func (c *Caller) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.work.Wait()
}
