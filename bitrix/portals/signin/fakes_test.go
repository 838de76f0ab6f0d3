// A world of portals without a network: what the tests of this package run in.

package signin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// errStore is a store that does not answer.
var errStore = errors.New("connection refused")

// world is a portal, the authorization server and the store, all in one.
type world struct {
	tb testing.TB
	mu sync.Mutex

	// The store's side.
	stored portals.Portal
	notes  int
	broken map[string]int // method → how many calls fail still; -1: all
	slow   map[string]time.Duration
	hosts  map[string]bool // hosts that belong to other portals
	deaf   bool            // what fails is done all the same, and its answer lost
	calls  map[string]int

	// The portal's and the server's side.
	access, refresh string // the valid ones
	trades          int
	reuse           int // requests with a dead refresh token
	host            string
	movedTo         map[string]string        // host → place
	there           map[string]*bitrix.Error // host → its answer to everybody
	deadCalls       int                      // calls with a token that was not valid
	sent            []string                 // "host token" of each call
	// answer, when set, takes the place of the server's own answer after the
	// trade; before it is called in place of the trade.
	answer  func(bitrix.Tokens) (bitrix.Tokens, error)
	before  func(ctx context.Context, n int) error
	charged []int // sent calls at the time of each charge
	rows    func(a bitrix.Access, bots []*bitrix.Bot) (bitrix.BatchAnswer, error)
}

const oldHost = "acme.bitrix24.ru"

// newWorld has a portal whose access token has expired.
func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{
		tb: tb, access: "valid-0", refresh: "refresh-0", host: oldHost, movedTo: map[string]string{},
		there: map[string]*bitrix.Error{}, broken: map[string]int{}, slow: map[string]time.Duration{}, hosts: map[string]bool{}, calls: map[string]int{},
	}
	w.put(1, "https://"+oldHost, "expired-0", "refresh-0")
	w.stored.MemberID = "member"
	return w
}

// put changes the stored credentials, as an import does.
func (w *world) put(generation int64, place, token, refresh string) {
	a, err := bitrix.NewOAuth(place, token)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stored.ID, w.stored.Kind, w.notes = "p1", portals.OAuth, 0
	w.set(generation, a, bitrix.NewSecret(refresh))
}

// set needs the lock.
func (w *world) set(generation int64, a bitrix.Access, refresh bitrix.Secret) {
	w.stored.Generation, w.stored.Access, w.stored.Refresh = generation, a, refresh
	w.stored.Name, w.stored.Credential, w.stored.Account = a.Host(), a.Fingerprint(), a.Account()
}

func (w *world) portal() portals.Portal {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stored
}

// seen is what has happened so far.
type seen struct {
	trades, reuse, deadCalls, notes int
	sent                            []string
	calls                           map[string]int
	charged                         []int
}

func (w *world) see() seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return seen{w.trades, w.reuse, w.deadCalls, w.notes, slices.Clone(w.sent), maps.Clone(w.calls), slices.Clone(w.charged)}
}

// change changes the world while it is at work.
func (w *world) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// elapse lets time pass in a bubble.
func elapse(d time.Duration) { _ = pause(context.Background(), d) }

// config is what a process has.
func (w *world) config() Config {
	return Config{API: fakeAPI{w}, Auth: fakeAuth{w}, Store: fakeStore{w}, Charge: w.charge}
}

// charge notes each extra request, and how many were sent before it.
func (w *world) charge(_ context.Context, p *portals.Portal, requests int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.ID != w.stored.ID || requests != 1 {
		w.tb.Errorf("%d charged to %q", requests, p.ID)
	}
	w.charged = append(w.charged, len(w.sent))
}

func (w *world) caller() *Caller { return w.callerOf(w.config()) }

func (w *world) callerOf(config Config) *Caller {
	c := New(config)
	c.draw = func() float64 { return 0 }
	w.tb.Cleanup(c.Close)
	return c
}

// fakeStore is a portals.Registry of one portal.
type fakeStore struct{ *world }

// enter counts a call, waits, and says whether it fails.
func (w *world) enter(ctx context.Context, method string) error {
	w.mu.Lock()
	w.calls[method]++
	wait, left := w.slow[method], w.broken[method]
	if left > 0 {
		w.broken[method]--
	}
	w.mu.Unlock()
	if wait > 0 {
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
	if left != 0 {
		return errStore
	}
	return nil
}

func (w fakeStore) Get(ctx context.Context, id string) (portals.Portal, error) {
	if err := w.enter(ctx, "Get"); err != nil {
		return portals.Portal{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if id != w.stored.ID {
		return portals.Portal{}, &portals.UnknownError{Name: id}
	}
	return w.stored, nil
}

func (w fakeStore) Renewing(ctx context.Context, _ string, generation int64) (int, error) {
	err := w.enter(ctx, "Renewing")
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && !w.deaf {
		return 0, err
	}
	if generation != w.stored.Generation {
		return 0, portals.ErrChanged
	}
	w.notes++
	return w.notes - 1, err
}

func (w fakeStore) NotRenewed(ctx context.Context, _ string, generation int64) error {
	if err := w.enter(ctx, "NotRenewed"); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if generation == w.stored.Generation && w.notes > 0 {
		w.notes--
	}
	return nil
}

func (w fakeStore) Renew(ctx context.Context, _ string, generation int64, a bitrix.Access, refresh bitrix.Secret, memberID string) (portals.Portal, error) {
	err := w.enter(ctx, "Renew")
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err != nil && !w.deaf:
		return portals.Portal{}, err
	case generation != w.stored.Generation:
		return portals.Portal{}, portals.ErrChanged
	case w.hosts[a.Host()]:
		return portals.Portal{}, &portals.ConflictError{Portal: w.stored.Name, Field: "host", Other: a.Host()}
	}
	w.set(generation+1, a, refresh)
	w.notes, w.stored.Held = 0, nil
	if w.stored.MemberID == "" {
		w.stored.MemberID = memberID
	}
	return w.stored, err
}

func (w fakeStore) Move(ctx context.Context, _ string, generation int64, a bitrix.Access) (portals.Portal, error) {
	if err := w.enter(ctx, "Move"); err != nil {
		return portals.Portal{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case generation != w.stored.Generation:
		return portals.Portal{}, portals.ErrChanged
	case w.hosts[a.Host()]:
		return portals.Portal{}, &portals.ConflictError{Portal: w.stored.Name, Field: "host", Other: a.Host()}
	}
	w.set(generation, a, w.stored.Refresh)
	return w.stored, nil
}

// fakeAuth is the authorization server.
type fakeAuth struct{ *world }

func (w fakeAuth) Refresh(ctx context.Context, refresh bitrix.Secret) (bitrix.Tokens, error) {
	if err := w.enter(ctx, "Refresh"); err != nil {
		return bitrix.Tokens{}, err
	}
	w.mu.Lock()
	before, n := w.before, w.calls["Refresh"]
	w.mu.Unlock()
	if before != nil {
		if err := before(ctx, n); err != nil {
			return bitrix.Tokens{}, err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if refresh.Reveal() != w.refresh {
		w.reuse++
		return bitrix.Tokens{}, authError(bitrix.Blocked, "invalid_grant")
	}
	w.trades++
	w.access, w.refresh = fmt.Sprintf("valid-%d", w.trades), fmt.Sprintf("refresh-%d", w.trades)
	tokens := bitrix.Tokens{
		Access: bitrix.NewSecret(w.access), Refresh: bitrix.NewSecret(w.refresh),
		Endpoint: "https://" + w.host + "/rest/", MemberID: "member",
	}
	if w.answer != nil {
		return w.answer(tokens)
	}
	return tokens, nil
}

func authError(class bitrix.Class, code string) *bitrix.Error {
	return &bitrix.Error{Class: class, Code: code, Method: "oauth/token", Host: "oauth.bitrix24.tech", Status: 400}
}

// fakeAPI is the portal.
type fakeAPI struct{ *world }

// enterPortal answers like a portal to a call with a credential.
func (w *world) enterPortal(ctx context.Context, a bitrix.Access) error {
	if err := w.enter(ctx, "call"); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, token := a.Reveal()
	w.sent = append(w.sent, a.Host()+" "+token)
	e := &bitrix.Error{Status: 401, Host: a.Host(), Method: "imbot.register", Credential: a.Fingerprint()}
	switch place := w.movedTo[a.Host()]; {
	case place != "":
		e.Class, e.Code, e.Status, e.Location = bitrix.Blocked, bitrix.CodePortalMoved, 302, place
	case w.there[a.Host()] != nil:
		own := *w.there[a.Host()]
		own.Host, own.Method, own.Credential = e.Host, e.Method, e.Credential
		return &own
	case token != w.access:
		w.deadCalls++
		e.Class, e.Code = bitrix.Token, "expired_token"
	default:
		return nil
	}
	return e
}

func (w fakeAPI) Register(ctx context.Context, a bitrix.Access, _ *bitrix.Bot) (bitrix.Registered, error) {
	if err := w.enterPortal(ctx, a); err != nil {
		return bitrix.Registered{}, err
	}
	return bitrix.Registered{BotID: 39}, nil
}

func (w fakeAPI) RegisterBatch(ctx context.Context, a bitrix.Access, bots []*bitrix.Bot) (bitrix.BatchAnswer, error) {
	if w.rows != nil && w.movedTo[a.Host()] == "" {
		return w.rows(a, bots)
	}
	return bitrix.BatchAnswer{}, w.enterPortal(ctx, a)
}

func (w fakeAPI) Bots(ctx context.Context, a bitrix.Access, _ string) ([]bitrix.ListedBot, bitrix.Time, error) {
	return []bitrix.ListedBot{{ID: 39}}, bitrix.Time{Duration: time.Second}, w.enterPortal(ctx, a)
}

func (w fakeAPI) Update(ctx context.Context, a bitrix.Access, _ int64, _ *bitrix.Bot) (bitrix.Time, error) {
	return bitrix.Time{Duration: time.Second}, w.enterPortal(ctx, a)
}

func (w fakeAPI) Batch(ctx context.Context, a bitrix.Access, commands []bitrix.Command) ([]bitrix.CommandAnswer, bitrix.Time, error) {
	answers := make([]bitrix.CommandAnswer, len(commands))
	for i, command := range commands {
		answers[i].Ran = true
		if command.Method == "refused" {
			err := w.enterPortal(ctx, a)
			answers[i].Err, _ = errors.AsType[*bitrix.Error](err)
		}
	}
	return answers, bitrix.Time{}, nil
}

// register makes one call with a copy of the portal and 65 s, as a worker has them.
func register(c *Caller, p portals.Portal) error {
	ctx, cancel := context.WithTimeout(context.Background(), 65*time.Second)
	defer cancel()
	_, err := c.Register(ctx, &p, &bitrix.Bot{Code: "helper"})
	return err
}

// mustBe checks an error's class and code, and that each of words is in its text.
func mustBe(t *testing.T, err error, class bitrix.Class, code string, words ...string) *bitrix.Error {
	t.Helper()
	e, ok := errors.AsType[*bitrix.Error](err)
	if !ok {
		t.Fatalf("error is %v (%T), want a *bitrix.Error with %s", err, err, code)
	}
	if e.Class != class || e.Code != code {
		t.Errorf("got %s %s (%s), want %s %s", e.Class, e.Code, e.Description, class, code)
	}
	for _, word := range words {
		if !strings.Contains(e.Description, word) {
			t.Errorf("%q does not say %q", e.Description, word)
		}
	}
	if (class == bitrix.Transient) != (e.Wait != nil) {
		t.Errorf("class %s with Wait %v", class, e.Wait)
	}
	for _, secret := range []string{"refresh-", "valid-", "expired-"} {
		if strings.Contains(fmt.Sprintf("%+v %v %s", e, e, e.Error()), secret) {
			t.Errorf("a secret is shown: %v", e)
		}
	}
	return e
}

// counted is a Meter that counts.
type counted struct {
	mu sync.Mutex
	n  map[string]int
}

func (m *counted) Refreshed(outcome string) { m.add(outcome) }
func (m *counted) Moved()                   { m.add("moved") }

func (m *counted) add(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n == nil {
		m.n = map[string]int{}
	}
	m.n[what]++
}

func (m *counted) counts() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.n)
}

// fakeLocks are a fleet's locks, which end by themselves.
type fakeLocks struct {
	mu    sync.Mutex
	until map[string]time.Time
	taken int
}

func (l *fakeLocks) Lock(ctx context.Context, id string) (func(), error) {
	for {
		l.mu.Lock()
		if l.until == nil {
			l.until = map[string]time.Time{}
		}
		if now := time.Now(); now.After(l.until[id]) {
			end := now.Add(LockTime)
			l.until[id] = end
			l.taken++
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				defer l.mu.Unlock()
				if l.until[id].Equal(end) {
					delete(l.until, id)
				}
			}, nil
		}
		l.mu.Unlock()
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return nil, err
		}
	}
}
