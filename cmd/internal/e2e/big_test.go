// The main job at its size: 5,000 rows over 1,000 portals, some of which are
// ill, as one process and as worker and producer apart, from CSV and from JSON
// Lines.

package e2e

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/ratelimit/redistest"
)

// ailment is what is wrong with a portal.
type ailment string

const (
	healthy      ailment = "healthy"
	failing      ailment = "500 without JSON, for a while"
	refusing     ailment = "500 with JSON, for a while"
	resetting    ailment = "resets after the work"
	breaking     ailment = "resets during the work"
	silent       ailment = "silent"
	silentAtOnce ailment = "silent at first"
	full         ailment = "takes four bots of an application"
)

const (
	perPortal = 5
	bigRows   = bigPortals * perPortal
	// serverTimeout is how long these portals may work on a request. With the
	// request timeout of bigSettings a lost call is certain to be over after
	// 2 s + 0.5 s + 5 s.
	serverTimeout = 500 * time.Millisecond
)

// bigSettings shorten all waits so that a silent portal's rows end after some 40 s.
var bigSettings = []string{"REQUEST_TIMEOUT=2s", "MAX_ATTEMPTS=3", "HOLD_TTL=0s", "SHUTDOWN_TIMEOUT=10s"}

// sick are the ill ones of 1,000 portals: 2 % answer 500 for a while, 1 % reset
// connections after the work, 1 % are silent, and a few are full.
var sick = map[ailment]int{failing: 10, refusing: 10, resetting: 6, breaking: 4, silent: 6, silentAtOnce: 4, full: 5}

// sickPortals is how many they are: the first ones of a fleet.
const sickPortals = 45

func (a ailment) portal() sandbox.Portal {
	p := sandbox.Unlimited("")
	p.ServerTimeout = serverTimeout
	calls := []string{"imbot.register", "batch"}
	switch a {
	case healthy:
	case failing:
		p.Faults = []sandbox.Fault{{Kind: sandbox.HTML, Status: 500, Count: 3}}
	case refusing:
		p.Faults = []sandbox.Fault{{Kind: sandbox.Refuse, Code: "INTERNAL_SERVER_ERROR", Count: 3}}
	case resetting:
		p.Faults = []sandbox.Fault{{Kind: sandbox.Reset, When: sandbox.After, Methods: calls}}
	case breaking:
		p.Faults = []sandbox.Fault{{Kind: sandbox.Reset, When: sandbox.During, Methods: calls, Count: 5}}
	case silent:
		p.Faults = []sandbox.Fault{{Kind: sandbox.Silence}}
	case silentAtOnce:
		p.Faults = []sandbox.Fault{{Kind: sandbox.Silence, Count: 3}}
	case full:
		p.MaxBotsPerApp = perPortal - 1
	}
	return p
}

// big is a fleet of 1,000 portals and the rows for it.
type big struct {
	*fleet
	ill   map[string]ailment // by portal
	rows  []row
	flaws map[int]flaw // of invalid rows, by number
}

// newBig makes the fleet. ill says whether portals are; the rows are the same
// in any case.
func newBig(t *testing.T, ill map[ailment]int) *big {
	t.Helper()
	b := &big{fleet: newFleet(t), ill: map[string]ailment{}, flaws: map[int]flaw{}}
	settings := map[string]any{"server_timeout": serverTimeout.Seconds()}
	for _, a := range []ailment{failing, refusing, resetting, breaking, silent, silentAtOnce, full} {
		for range sick[a] {
			like := healthy
			if ill[a] > 0 {
				like = a
			}
			b.ill[b.add(like.portal(), settings)] = like
		}
	}
	bare := map[string]any{"server_timeout": serverTimeout.Seconds(), "client_id": nil}
	for len(b.names) < bigPortals {
		entry := settings
		if len(b.names) >= bigPortals-10 {
			entry = bare
		}
		b.ill[b.add(healthy.portal(), entry)] = healthy
	}
	b.makeRows()
	return b
}

// makeRows makes five rows for each portal, spoils 3 % of those of healthy
// portals, and shuffles them. The ill portals' rows come first, among themselves:
// a portal's failures are then spread over its rows, however long the submission
// takes, where the first row alone could use up its attempts on them; and the
// others have the silent portals before them all the time.
func (b *big) makeRows() {
	rng := rand.New(rand.NewPCG(2024, 11)) // the same rows each time are the point
	rows := goodRows(b.names, perPortal)
	spoilt := map[string]flaw{} // by id
	kinds := flaws()
	first := (bigPortals - 10) * perPortal
	for i := first; i < len(rows); i++ {
		rows[i]["CLIENT_ID"] = "of the row"
		if i%perPortal == 0 {
			delete(rows[i], "CLIENT_ID")
			spoilt[rows[i]["id"]] = flaw{field: "CLIENT_ID", code: "ACCESS_DENIED"}
		}
	}
	sickRows := sickPortals * perPortal
	for n, i := range rng.Perm(first - sickRows)[:130] {
		r := rows[sickRows+i]
		kind := kinds[n%len(kinds)]
		kind.spoil(r)
		spoilt[r["id"]] = kind
	}
	for _, part := range [][]row{rows[:sickRows], rows[sickRows:]} {
		rng.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
	}
	b.rows = rows
	b.repeatSome(spoilt, 10)
	for i, r := range b.rows {
		if kind, ok := spoilt[r["id"]]; ok {
			b.flaws[i+1] = kind
		}
	}
}

// repeatSome makes n of the last rows repeat others, with another case.
func (b *big) repeatSome(spoilt map[string]flaw, n int) {
	for i := len(b.rows) - 1; n > 0; i-- {
		last, first := b.rows[i], b.rows[sickPortals*perPortal+len(b.rows)-1-i]
		_, bad := spoilt[last["id"]]
		if _, alsoBad := spoilt[first["id"]]; bad || alsoBad {
			continue
		}
		b.rows[i] = goodRow(first["portal"], strings.ToUpper(first["CODE"]))
		b.rows[i]["id"] = fmt.Sprintf("double %d", n)
		if id := first["CLIENT_ID"]; id != "" {
			b.rows[i]["CLIENT_ID"] = id
		}
		spoilt[b.rows[i]["id"]] = flaw{field: "CODE", code: "CODE_DUPLICATE"}
		n--
	}
}

// check judges a whole run: every row one outcome, and the right one.
func (b *big) check(t *testing.T, results []result) {
	t.Helper()
	dead := map[string]int{}
	for _, r := range results {
		want := b.rows[r.Row-1]
		if r.ID != want["id"] {
			t.Errorf("row %d has the id %q, want %q", r.Row, r.ID, want["id"])
		}
		flaw, bad := b.flaws[r.Row]
		switch ill := b.ill[r.Portal]; {
		case bad:
			if !refusedFor(r, flaw) {
				t.Errorf("row %d is %s with %+v, want it refused for %s (%s)", r.Row, r.Status, r.Errors, flaw.field, flaw.code)
			}
		case ill == silent:
			if r.Status != "dead" || r.Error == nil || r.Error.Code == "" {
				t.Errorf("row %d on a silent portal is %s: %+v", r.Row, r.Status, r.Error)
			}
		case ill == full && r.Status == "dead":
			dead[r.Portal]++
			if r.Error.Code != "MAX_COUNT_ERROR" || r.Class != "validation" {
				t.Errorf("row %d on a full portal: %s %+v", r.Row, r.Class, r.Error)
			}
		case r.Status != "registered":
			t.Errorf("row %d on a portal that is %s: %s, %+v %+v", r.Row, ill, r.Status, r.Error, r.Errors)
		}
	}
	for name, ill := range b.ill {
		if ill == full && dead[name] != 1 {
			t.Errorf("%d rows of the full portal %s are dead, want 1", dead[name], name)
		}
	}
	matchBots(t, b.fleet, results)
	if got, want := b.bots(), b.expectedBots(); got != want {
		t.Errorf("the portals have %d bots, want %d", got, want)
	}
}

func refusedFor(r result, f flaw) bool {
	for _, e := range r.Errors {
		if e.Field == f.field && e.Code == f.code {
			return r.Status == "refused"
		}
	}
	return false
}

func (b *big) expectedBots() int {
	lost := perPortal*b.count(silent) + b.count(full)
	return len(b.rows) - len(b.flaws) - lost
}

func (b *big) count(a ailment) int {
	n := 0
	for _, ill := range b.ill {
		if ill == a {
			n++
		}
	}
	return n
}

// othersTook is how long the rows took whose portals are not silent, and did
// not have to be tried again.
func (b *big) othersTook(results []result) time.Duration {
	var first, last time.Time
	for _, r := range results {
		if b.ill[r.Portal] != healthy || r.Status != "registered" {
			continue
		}
		if first.IsZero() || r.QueuedAt.Before(first) {
			first = r.QueuedAt
		}
		if r.DoneAt.After(last) {
			last = r.DoneAt
		}
	}
	return last.Sub(first)
}

// fates are what became of each row, without what differs from run to run:
// addresses, and what a full portal or a silent one made of which row.
func (b *big) fates(results []result) []string {
	all := make([]string, len(results))
	for i, r := range results {
		_, code, _ := strings.Cut(r.ID, "/")
		all[i] = fmt.Sprintf("row %d %s: %s", r.Row, code, r.Status)
		if ill := b.ill[r.Portal]; ill == full || ill == silent {
			all[i] = fmt.Sprintf("row %d %s: on a portal that is %s", r.Row, code, ill)
		}
		for _, e := range r.Errors {
			all[i] += fmt.Sprintf(" %s (%s)", e.Field, e.Code)
		}
	}
	return all
}

// underWay is a command at work on a fleet's rows.
type underWay struct {
	*big
	p   *process
	out string // its results
}

// startAlone begins to register everything with enqueue run.
func (b *big) startAlone(t *testing.T, input string) underWay {
	t.Helper()
	out := filepath.Join(t.TempDir(), "results.jsonl")
	p := start(t, "enqueue", bigSettings, "run", "--skip-invalid", "--portals", b.file(), "--output", out, input)
	return underWay{b, p, out}
}

// startApart begins to register everything with a worker and enqueue submit on
// a real Redis.
func (b *big) startApart(t *testing.T, input string) (u underWay, worker *process) {
	t.Helper()
	env := append(slices.Clone(bigSettings), "REDIS_URL="+redistest.Start(t).URL, "SECRETS_KEY="+portals.NewKey())
	worker = startWorker(t, env...)
	out := filepath.Join(t.TempDir(), "results.jsonl")
	p := start(t, "enqueue", env, "submit", "--wait", "--skip-invalid", "--portals", b.file(), "--output", out, input)
	return underWay{b, p, out}, worker
}

// results waits for the end and reads the results.
func (u underWay) results(t *testing.T) []result {
	t.Helper()
	u.p.expect(2, 4*time.Minute)
	return readResults(t, u.out, bigRows)
}

// One process with CSV, and a worker and a producer with JSON Lines, side by side:
// most of it is waiting for silent portals.
func TestFiveThousandRows(t *testing.T) {
	t.Parallel()
	ill, far := newBig(t, sick), newBig(t, sick)
	var base underWay
	if compareTimes {
		well := newBig(t, nil)
		base = well.startAlone(t, writeJSONL(t, well.rows))
	}
	alone := ill.startAlone(t, writeCSV(t, ill.rows))
	apart, worker := far.startApart(t, writeJSONL(t, far.rows))

	aloneResults := alone.results(t)
	ill.check(t, aloneResults)
	apartResults := apart.results(t)
	far.check(t, apartResults)
	worker.stop(20 * time.Second)
	if compareTimes {
		checkOthers(t, ill.othersTook(aloneResults), base.othersTook(base.results(t)))
	}
	if diff := cmp.Diff(ill.fates(aloneResults), far.fates(apartResults)); diff != "" {
		t.Errorf("one process and CSV (-), worker and JSON Lines (+): what became of the rows differs:\n%s", diff)
	}
}

// checkOthers judges how long the rows of healthy portals took beside ill ones,
// and where no portal was ill. The two ran side by side, so that whatever else the
// machine does slows the one as much as the other; but it does not divide itself
// evenly: what silent portals cost is told from that only beyond a share of the whole.
func checkOthers(t *testing.T, others, took time.Duration) {
	t.Helper()
	t.Logf("rows on healthy portals took %v, and %v where no portal was ill", others, took)
	if most := took + took/4 + 2*time.Second; others > most {
		t.Errorf("rows on healthy portals took %v, and %v where no portal was ill", others, took)
	}
}
