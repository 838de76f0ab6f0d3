// Dead rows: mended in a file and submitted again, and queued again as they are.

package e2e

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"botfleet/bitrix/sandbox"
)

// onePixel is the smallest PNG.
const onePixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

// lineWith is the first line of a text that begins so.
func lineWith(text, begin string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, begin) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// retriedOf are the reasons and counts of retries in results, by row.
func retriedOf(t *testing.T, text string) map[int]string {
	t.Helper()
	all := map[int]string{}
	for line := range strings.Lines(text) {
		var r struct {
			Row     int
			Retried *struct {
				Reason string
				Times  int
				At     time.Time
			}
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r.Retried != nil && r.Retried.Times == 1 && time.Since(r.Retried.At) < time.Hour {
			all[r.Row] = r.Retried.Reason
		}
	}
	return all
}

// mend changes cells of a CSV file: by column, what an old value becomes.
func mend(t *testing.T, path string, change func(cells map[string]string)) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(strings.NewReader(string(text))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range records[1:] {
		cells := map[string]string{}
		for i, c := range records[0] {
			cells[c] = record[i]
		}
		change(cells)
		for i, c := range records[0] {
			record[i] = cells[c]
		}
	}
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := csv.NewWriter(file)
	w.Comma = ';' // as a spreadsheet in half of the world saves it
	if err := w.WriteAll(records); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// A portal takes five bots of an application. The others are exported, mended in
// CLIENT_ID, in CODE, or by moving to another portal, and submitted under the
// same run: each row has one outcome in the end, and no bot stands twice.
func TestDeadRowsAreMendedUnderTheirRun(t *testing.T) {
	turn(t)
	f := newFleet(t)
	full := sandbox.Unlimited("")
	full.MaxBotsPerApp = 5
	f.add(full, nil)
	f.add(sandbox.Unlimited(""), nil)
	env := shared(t)
	rows := goodRows(f.names[:1], 5)
	for _, code := range []string{"sixth", "seventh", "eighth"} {
		r := goodRow(f.names[0], code)
		r["PROPERTIES.PERSONAL_PHOTO"] = onePixel
		rows = append(rows, r)
	}
	startWorker(t, env...)
	out := filepath.Join(t.TempDir(), "out.jsonl")
	p := finish(t, 2, time.Minute, "enqueue", env, "submit", "--wait", "--output", out, "--portals", f.file(), writeJSONL(t, rows))
	run := strings.TrimSpace(strings.TrimPrefix(lineWith(p.stderr.String(), "run "), "run "))
	before := readResults(t, out, len(rows))

	failed := filepath.Join(t.TempDir(), "failed.csv")
	p = finish(t, 0, time.Minute, "enqueue", env, "dead", "export", run, "--output", failed)
	if said := p.stderr.String(); !strings.Contains(said, "3 dead rows") || !strings.Contains(said, "1 photo in ") {
		t.Errorf("export said:\n%s", said)
	}
	was := map[string]string{}
	mend(t, failed, func(c map[string]string) {
		was[c["row"]] = c["error.code"] + " " + c["class"]
		switch len(was) {
		case 1:
			c["CLIENT_ID"] = "another_application"
		case 2:
			c["portal"] = f.names[1]
		case 3:
			c["CODE"], c["CLIENT_ID"], c["portal"] = "mended", "third_application", "https://"+strings.ToUpper(f.names[1])+"/"
		}
	})
	for row, died := range was {
		if died != "MAX_COUNT_ERROR validation" {
			t.Errorf("row %s died of %s", row, died)
		}
	}
	finish(t, 0, time.Minute, "enqueue", env, "submit", "--run", run, failed)
	results := resultsOf(t, env, run, len(rows), time.Minute)
	allRegistered(t, f, results)
	if n := f.bots(); n != len(rows) {
		t.Errorf("%d bots for %d rows", n, len(rows))
	}
	for i, r := range results {
		died := before[i].Status == "dead"
		if died != (was[strconv.Itoa(r.Row)] != "") || !died && (r.BotID != before[i].BotID || !r.DoneAt.Equal(before[i].DoneAt)) {
			t.Errorf("row %d was %+v and is %+v", r.Row, before[i], r)
		}
	}
	mended := 0
	for _, st := range f.box.Portals() {
		for _, b := range st.Bots() {
			if b.PhotoFormat == "png" {
				mended++
			}
		}
	}
	if mended != 3 {
		t.Errorf("%d bots have the photo", mended)
	}
}

// Rows that died because their portal did not answer are queued again when it
// does, with the reason kept, also long after their run has ended.
func TestDeadRowsAreRetriedWhenTheirPortalIsBack(t *testing.T) {
	turn(t)
	f := newFleet(t)
	f.addMany(3, sandbox.Unlimited(""), nil)
	env := append(shared(t), "MAX_ATTEMPTS=1", "HOLD_TTL=0")
	down := f.portal(f.names[0])
	if err := down.Inject(sandbox.Fault{Kind: sandbox.Refuse, Code: "INTERNAL_SERVER_ERROR"}); err != nil {
		t.Fatal(err)
	}
	rows := goodRows(f.names, 5)
	startWorker(t, env...)
	run := submitted(t, env, "--portals", f.file(), writeJSONL(t, rows))
	before := resultsOf(t, env, run, len(rows), time.Minute)
	p := finish(t, 0, time.Minute, "enqueue", env, "dead", "list", run, "--class", "transient", "--format", "jsonl")
	if n := strings.Count(p.stdout.String(), "\n"); n != 5 || !strings.Contains(p.stderr.String(), "5  transient INTERNAL_SERVER_ERROR") {
		t.Fatalf("%d dead rows:\n%s%s", n, p.stdout.String(), p.stderr.String())
	}
	down.ClearFaults()
	finish(t, 1, time.Minute, "enqueue", env, "dead", "retry", run) // nobody has said yes
	p = finish(t, 0, time.Minute, "enqueue", env, "dead", "retry", run, "--yes", "--reason", "the portal is back", "--portal", strings.ToUpper(f.names[0]))
	if !strings.Contains(p.stderr.String(), "5 rows queued again") {
		t.Error(p.stderr.String())
	}
	p = finish(t, 0, time.Minute, "enqueue", env, "results", "--follow", run)
	results := parseResults(t, p.stdout.String(), len(rows))
	allRegistered(t, f, results)
	retried := retriedOf(t, p.stdout.String())
	for i, r := range before {
		if want := map[bool]string{true: "the portal is back"}[r.Status == "dead"]; retried[i+1] != want {
			t.Errorf("row %d was %s, and is retried for %q", r.Row, r.Status, retried[i+1])
		}
	}
	if n := f.bots(); n != len(rows) {
		t.Errorf("%d bots for %d rows", n, len(rows))
	}
}
