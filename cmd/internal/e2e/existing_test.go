// Bots that are there already: kept, brought up to date, or in the way.

package e2e

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/png"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"botfleet/bitrix/sandbox"
)

// largePhoto is a picture too large to travel in a batch.
func largePhoto(t *testing.T) string {
	t.Helper()
	picture := image.NewNRGBA(image.Rect(0, 0, 300, 300))
	rng := rand.New(rand.NewPCG(1, 2)) // the same noise, which does not compress
	for i := range picture.Pix {
		picture.Pix[i] = byte(rng.Uint32())
	}
	var file bytes.Buffer
	if err := png.Encode(&file, picture); err != nil {
		t.Fatal(err)
	}
	if file.Len() < 256<<10 {
		t.Fatalf("the picture has %d bytes only", file.Len())
	}
	return base64.StdEncoding.EncodeToString(file.Bytes())
}

// inhabited is a portal with bots of our application, and of another one.
type inhabited struct {
	*fleet
	name string
	rows []row // ours 0 to 3, theirs 4 and 5, new ones 6 to 8; 3 and 8 with a large photo
}

const (
	ours, theirs, fresh = 4, 2, 3
)

func newInhabited(t *testing.T) *inhabited {
	t.Helper()
	f := newFleet(t)
	like := sandbox.Unlimited("")
	like.ReportsOperating = true
	i := &inhabited{fleet: f}
	i.name = f.add(like, nil)
	var old []row
	for n := range ours + theirs + fresh {
		r := goodRow(i.name, fmt.Sprintf("bot_%d", n))
		r["PROPERTIES.WORK_POSITION"] = "of today"
		i.rows = append(i.rows, r)
		if n >= ours+theirs {
			continue
		}
		before := goodRow(i.name, strings.ToUpper(r["CODE"])) // portals know no case
		before["PROPERTIES.WORK_POSITION"] = "of yesterday"
		if n >= ours {
			before["CLIENT_ID"] = "somebody else's"
		}
		old = append(old, before)
	}
	i.rows[3]["PROPERTIES.PERSONAL_PHOTO"] = largePhoto(t)
	i.rows[8]["PROPERTIES.PERSONAL_PHOTO"] = i.rows[3]["PROPERTIES.PERSONAL_PHOTO"]
	finish(t, 0, time.Minute, "enqueue", []string{"BATCH=off"}, "run", "--quiet", "--portals", f.file(), writeJSONL(t, old))
	return i
}

// requests are what a portal was asked since.
func (i *inhabited) requests(since sandbox.Stats) (requests, registers, updates int) {
	now := i.portal(i.name).Stats()
	return now.Requests - since.Requests, now.Methods["imbot.register"] - since.Methods["imbot.register"],
		now.Methods["imbot.update"] - since.Methods["imbot.update"]
}

// bot finds a bot by the number of its row.
func (i *inhabited) bot(n int) sandbox.Bot {
	i.t.Helper()
	for _, b := range i.portal(i.name).Bots() {
		if strings.EqualFold(b.Code, i.rows[n]["CODE"]) {
			return b
		}
	}
	i.t.Fatalf("no bot %d", n)
	return sandbox.Bot{}
}

// isUpToDate judges whether the portal has what a row asks for, or what was there before.
func (i *inhabited) isUpToDate(n int, want bool) {
	i.t.Helper()
	b := i.bot(n)
	position, updates := "of yesterday", 0
	if want {
		position, updates = "of today", 1
	}
	if n >= ours+theirs {
		updates = 0
	}
	if b.WorkPosition != position || b.Updates != updates {
		i.t.Errorf("bot %d is %q after %d updates, want %q after %d", n, b.WorkPosition, b.Updates, position, updates)
	}
	if photo := b.PhotoFormat != ""; photo != (want && (n == 3 || n == 8)) {
		i.t.Errorf("bot %d has a photo: %v", n, photo)
	}
}

// is judges a result.
func (i *inhabited) is(r result, status, how, class, code string, existed bool) {
	i.t.Helper()
	got := ""
	if r.Error != nil {
		got = r.Error.Code
	}
	if r.Status != status || r.How != how || r.Class != class || got != code || r.Existed != existed && status == "registered" {
		i.t.Errorf("row %d is %s %s %s %s, existed: %v; want %s %s %s %s, %v", r.Row, r.Status, r.How, r.Class, got, r.Existed, status, how, class, code, existed)
	}
	if want := int64(i.bot(r.Row - 1).ID); r.BotID != want {
		i.t.Errorf("row %d has the BOT_ID %d, want %d", r.Row, r.BotID, want)
	}
}

// What keep, update and fail do with bots of ours, of others and new ones, and
// what they cost.
func TestOnExisting(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		wish, batch string
		// requests in all, and the calls of the two methods in them. How many rows
		// meet in a batch is a matter of milliseconds.
		fewest, most, registers, updates int
	}{
		{"keep", "off", 9, 9, 9, 0},
		{"keep", "auto", 3, 9, 9, 0},
		{"keep", "always", 3, 8, 9, 0},
		// Every row that exists takes a second request, others' too.
		{"update", "off", 15, 15, 9, 6},
		// The photos by themselves, one of them existing; seven rows in pairs.
		{"update", "auto", 4, 10, 9, 8},
		{"update", "always", 4, 9, 9, 8},
		{"fail", "off", 9, 9, 9, 0},
		{"fail", "always", 3, 8, 9, 0},
	} {
		t.Run(c.wish+" "+c.batch, func(t *testing.T) {
			turn(t)
			i := newInhabited(t)
			before := i.portal(i.name).Stats()
			status := map[string]int{"keep": 0, "update": 2, "fail": 2}[c.wish]
			p := finish(t, status, time.Minute, "enqueue", []string{"BATCH=" + c.batch}, "run", "--on-existing", c.wish,
				"--portals", i.file(), writeJSONL(t, i.rows))
			i.judge(c.wish, parseResults(t, p.stdout.String(), len(i.rows)))
			requests, registers, updates := i.requests(before)
			if requests < c.fewest || requests > c.most || registers != c.registers {
				t.Errorf("%d requests with %d registrations; want %d to %d with %d", requests, registers, c.fewest, c.most, c.registers)
			}
			if c.wish != "update" && updates != 0 || c.wish == "update" && c.batch == "off" && updates != c.updates {
				t.Errorf("%d updates, want %d", updates, c.updates)
			}
			if n := i.bots(); n != len(i.rows) {
				t.Errorf("%d bots for %d rows", n, len(i.rows))
			}
			t.Logf("%d requests, %d registrations, %d updates", requests, registers, updates)
		})
	}
}

func (i *inhabited) judge(wish string, results []result) {
	i.t.Helper()
	for n, r := range results {
		switch isOurs := n < ours; {
		case n >= ours+theirs:
			i.is(r, "registered", "created", "", "", false)
		case wish == "keep":
			i.is(r, "registered", "skipped", "", "", true)
		case wish == "fail":
			i.is(r, "dead", "", "conflict", "BOT_EXISTS", true)
		case isOurs:
			i.is(r, "registered", "updated", "", "", true)
		default:
			i.is(r, "dead", "", "conflict", "APP_ID_ERROR", true)
			if !strings.Contains(r.Error.Description, "another application") {
				i.t.Errorf("row %d: %s", r.Row, r.Error.Description)
			}
		}
		if n < ours+theirs {
			i.isUpToDate(n, wish == "update" && n < ours)
		} else if b := i.bot(n); b.WorkPosition != "of today" {
			i.t.Errorf("new bot %d: %+v", n, b)
		}
	}
}

// Where the request rate binds, 25 rows travel in a request: a registration and an
// update for each, 50 commands.
func TestUpdatesTravelInPairs(t *testing.T) {
	turn(t)
	const bots = 150
	f := newFleet(t)
	like := sandbox.Unlimited("")
	// Each run has a gate of its own, which takes the portal's bucket for empty.
	like.Rate, like.Burst = 1, 40
	// With a request a second most rows wait before half of them have gone.
	name := f.add(like, map[string]any{"rate": 1, "burst": 1})
	var rows []row
	for n := range bots {
		r := goodRow(name, fmt.Sprintf("bot_%d", n))
		r["CLIENT_ID"] = fmt.Sprintf("application_%d", n)
		rows = append(rows, r)
	}
	finish(t, 0, time.Minute, "enqueue", []string{"BATCH=always"}, "run", "--quiet", "--portals", f.file(), writeJSONL(t, rows))
	before := f.portal(name).Stats()
	p := finish(t, 0, time.Minute, "enqueue", nil, "run", "--on-existing", "update", "--portals", f.file(), writeJSONL(t, rows))
	for _, r := range parseResults(t, p.stdout.String(), bots) {
		if r.How != "updated" || !r.Existed {
			t.Errorf("%+v", r)
		}
	}
	for _, b := range f.portal(name).Bots() {
		if b.Updates != 1 {
			t.Errorf("%s was updated %d times", b.Code, b.Updates)
		}
	}
	most := 0
	for _, r := range f.portal(name).Requests() {
		most = max(most, r.Commands)
	}
	if most != 50 {
		t.Errorf("the largest batch has %d commands", most)
	}
	after := f.portal(name).Stats()
	t.Logf("%d requests for %d rows", after.Requests-before.Requests, bots)
	if n := after.Requests - before.Requests; n != after.Batches-before.Batches || n > 20 {
		t.Errorf("%d requests, %d of them batches", n, after.Batches-before.Batches)
	}
	if after.Violations > 0 || after.Statuses[503] > 0 {
		t.Errorf("violations: %v", f.portal(name).Violations())
	}
	if n := f.bots(); n != bots {
		t.Errorf("%d bots for %d rows", n, bots)
	}
}

// Answers that are lost while bots are brought up to date: each is in the end, new
// ones are there once, and others' bots are as they were.
func TestUpdatesWhoseAnswersAreLost(t *testing.T) {
	t.Parallel()
	for _, batch := range []string{"off", "auto"} {
		for _, kind := range []sandbox.Fault{
			{Kind: sandbox.Reset, When: sandbox.After},
			{Kind: sandbox.Truncate},
			{Kind: sandbox.HTML, Status: 504, When: sandbox.After},
			{Kind: sandbox.DieMidway},
		} {
			if batch == "off" && kind.Kind == sandbox.DieMidway {
				continue
			}
			t.Run(fmt.Sprintf("%s, batch %s", kind.Kind, batch), func(t *testing.T) {
				turn(t)
				f := newFleet(t)
				like := sandbox.Unlimited("")
				like.ServerTimeout = time.Second
				f.addMany(5, like, map[string]any{"server_timeout": 1})
				settings := []string{"BATCH=" + batch, "REQUEST_TIMEOUT=2s"}
				rows := goodRows(f.names, 5)
				for n := range rows {
					rows[n]["PROPERTIES.WORK_POSITION"] = "of yesterday"
				}
				old := rows[:0:0]
				for n, r := range rows {
					if n%5 < 3 { // the others are new
						old = append(old, r)
					}
				}
				finish(t, 0, time.Minute, "enqueue", settings, "run", "--quiet", "--portals", f.file(), writeJSONL(t, old))
				for n := range rows {
					rows[n]["PROPERTIES.WORK_POSITION"] = "of today"
				}
				kind.Count, kind.Methods = 2, []string{"imbot.register", "imbot.update", "batch"}
				for _, name := range f.names {
					if err := f.portal(name).Inject(kind); err != nil {
						t.Fatal(err)
					}
				}
				p := finish(t, 0, 2*time.Minute, "enqueue", settings, "run", "--on-existing", "update", "--portals", f.file(), writeJSONL(t, rows))
				allRegistered(t, f, parseResults(t, p.stdout.String(), len(rows)))
				if n := f.bots(); n != len(rows) {
					t.Errorf("%d bots for %d rows", n, len(rows))
				}
				for _, st := range f.box.Portals() {
					for _, b := range st.Bots() {
						if b.WorkPosition != "of today" {
							t.Errorf("%s on %s is %q after %d updates", b.Code, st.Name(), b.WorkPosition, b.Updates)
						}
					}
				}
			})
		}
	}
}
