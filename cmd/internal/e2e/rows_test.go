// Rows of input, and the files that hold them.

package e2e

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// row is one row by the names of its fields; those of PROPERTIES have their dot.
type row map[string]string

// columns of CSV files.
var columns = []string{
	"portal", "id", "CODE", "TYPE", "OPENLINE", "EVENT_HANDLER", "EVENT_MESSAGE_ADD", "EVENT_MESSAGE_UPDATE",
	"EVENT_MESSAGE_DELETE", "EVENT_WELCOME_MESSAGE", "EVENT_BOT_DELETE", "CLIENT_ID",
	"PROPERTIES.NAME", "PROPERTIES.LAST_NAME", "PROPERTIES.COLOR", "PROPERTIES.EMAIL", "PROPERTIES.PERSONAL_BIRTHDAY",
	"PROPERTIES.WORK_POSITION", "PROPERTIES.PERSONAL_WWW", "PROPERTIES.PERSONAL_GENDER", "PROPERTIES.PERSONAL_PHOTO",
}

// goodRow is a row that any portal takes.
func goodRow(portal, code string) row {
	return row{
		"portal": portal, "id": portal + "/" + code, "CODE": code, "EVENT_HANDLER": "https://bots.example.com/events",
		"PROPERTIES.NAME": "Bot " + code, "PROPERTIES.COLOR": "AZURE",
	}
}

// goodRows are n rows for each portal, in order.
func goodRows(portals []string, n int) []row {
	var rows []row
	for _, p := range portals {
		for i := range n {
			r := goodRow(p, fmt.Sprintf("bot_%d", i))
			if n > 5 { // which is what one application may have
				r["CLIENT_ID"] = fmt.Sprintf("application_%d", i/5)
			}
			rows = append(rows, r)
		}
	}
	return rows
}

// object is the row as JSON has it.
func (r row) object() map[string]any {
	o, properties := map[string]any{}, map[string]any{}
	for k, v := range r {
		if plain, ok := strings.CutPrefix(k, "PROPERTIES."); ok {
			properties[plain] = v
		} else {
			o[k] = v
		}
	}
	if len(properties) > 0 {
		o["PROPERTIES"] = properties
	}
	return o
}

func writeJSONL(t *testing.T, rows []row) string {
	t.Helper()
	objects := make([]map[string]any, len(rows))
	for i, r := range rows {
		objects[i] = r.object()
	}
	return writeLines(t, "rows.jsonl", objects)
}

func writeCSV(t *testing.T, rows []row) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rows.csv")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := csv.NewWriter(file)
	records := [][]string{columns}
	for _, r := range rows {
		cells := make([]string, len(columns))
		for i, c := range columns {
			cells[i] = r[c]
		}
		records = append(records, cells)
	}
	if err := w.WriteAll(records); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// result is one row's outcome as users read it.
type result struct {
	Row      int       `json:"row"`
	ID       string    `json:"id"`
	Portal   string    `json:"portal"`
	Code     string    `json:"code"`
	Status   string    `json:"status"`
	BotID    int64     `json:"bot_id"`
	Existed  bool      `json:"existed"`
	How      string    `json:"how"`
	Attempts int       `json:"attempts"`
	QueuedAt time.Time `json:"queued_at"`
	DoneAt   time.Time `json:"done_at"`
	Class    string    `json:"class"`
	Error    *struct {
		Code        string `json:"code"`
		Description string `json:"description"`
	} `json:"error"`
	Errors []struct {
		Field   string `json:"field"`
		Code    string `json:"code"`
		Problem string `json:"problem"`
	} `json:"errors"`
	Of *struct {
		Run string `json:"run"`
		Row int    `json:"row"`
	} `json:"of"`
}

// readResults reads a file of results: exactly one for each of n rows.
func readResults(t *testing.T, path string, n int) []result {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return parseResults(t, string(text), n)
}

// parseResults puts results into the order of their rows. Every row from 1 to
// n must have exactly one.
func parseResults(t *testing.T, text string, n int) []result {
	t.Helper()
	all := make([]result, n)
	seen := 0
	for line := range strings.Lines(text) {
		var r result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("result %q: %v", line, err)
		}
		if r.Row < 1 || r.Row > n {
			t.Fatalf("result of row %d, of %d rows", r.Row, n)
		}
		if all[r.Row-1].Row != 0 {
			t.Fatalf("row %d has two results: %+v and %+v", r.Row, all[r.Row-1], r)
		}
		all[r.Row-1] = r
		seen++
	}
	if seen != n {
		t.Fatalf("%d results for %d rows", seen, n)
	}
	return all
}

// allRegistered fails the test for every row that is not, or whose BOT_ID is
// not that of its bot on its portal.
func allRegistered(t *testing.T, f *fleet, results []result) {
	t.Helper()
	for _, r := range results {
		if r.Status != "registered" {
			t.Errorf("row %d on %s is %s: %+v %+v", r.Row, r.Portal, r.Status, r.Error, r.Errors)
		}
	}
	matchBots(t, f, results)
}

// matchBots checks every registered row's BOT_ID against its portal.
func matchBots(t *testing.T, f *fleet, results []result) {
	t.Helper()
	ids := map[string]int64{}
	for _, st := range f.box.Portals() {
		for _, b := range st.Bots() {
			ids[st.Name()+" "+strings.ToLower(b.Code)] = int64(b.ID)
		}
	}
	for _, r := range results {
		if want := ids[r.Portal+" "+strings.ToLower(r.Code)]; r.Status == "registered" && r.BotID != want {
			t.Errorf("row %d: BOT_ID %d of %s on %s, and the portal says %d", r.Row, r.BotID, r.Code, r.Portal, want)
		}
	}
}
