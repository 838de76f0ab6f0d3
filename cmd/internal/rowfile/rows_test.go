package rowfile

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"botfleet/bitrix"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// write puts content in a file of the test's own folder.
func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// readAll returns the rows of a file, and the error that ended them, with the
// folder taken out of it.
func readAll(t testing.TB, path string, o Options) ([]Row, string) {
	t.Helper()
	f, err := Open(t.Context(), path, o)
	if err != nil {
		return nil, strings.ReplaceAll(err.Error(), filepath.Dir(path)+string(filepath.Separator), "")
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	var rows []Row
	for row, err := range f.Rows() {
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Errorf("%T is no *Error: %v", err, err)
			}
			return rows, strings.ReplaceAll(err.Error(), filepath.Dir(path)+string(filepath.Separator), "")
		}
		rows = append(rows, row)
	}
	return rows, ""
}

const sampleJSONL = "\xef\xbb\xbf" + `{"portal":" HTTPS://Acme.Bitrix24.ru:443/ ","CODE":"helper","TYPE":"B","EVENT_HANDLER":"https://bots.example.com/events","openline":"N","PROPERTIES":{"NAME":"Helper \u00e9","COLOR":"AZURE"}}

{"Portal":"beta.example.com:8443","id":7,"code":"second","properties.name":"Two\nlines","last_name":null}
`

const sampleCSV = "\xef\xbb\xbf" + `Portal; id ;CODE;TYPE;EVENT_HANDLER;openline;PROPERTIES.NAME;COLOR` + "\r\n" +
	`HTTPS://Acme.Bitrix24.ru/;;helper;B;https://bots.example.com/events;N;Helper é;AZURE` + "\r\n" +
	"\r\n;;;;;;;\r\n" +
	"beta.example.com:8443;7;second;;;;\"Two\nlines\";\r\n"

var sampleRows = []Row{
	{Number: 1, Line: 1, Portal: "acme.bitrix24.ru", Bot: bitrix.Bot{Code: "helper", Type: "B", OpenLine: "N",
		EventHandler: "https://bots.example.com/events", Properties: bitrix.Properties{Name: "Helper é", Color: "AZURE"}}},
	{Number: 2, Line: 3, Portal: "beta.example.com:8443", ID: "7", Bot: bitrix.Bot{Code: "second", Properties: bitrix.Properties{Name: "Two\nlines"}}},
}

func atLines(rows []Row, lines ...int) []Row {
	moved := append([]Row(nil), rows...)
	for i := range moved {
		moved[i].Line = lines[i]
	}
	return moved
}

func TestFormatsGiveTheSameRows(t *testing.T) {
	array := "[" + strings.Replace(strings.TrimPrefix(strings.TrimSpace(sampleJSONL), "\xef\xbb\xbf"), "}}\n", "}},\n", 1) + "]\n"
	tests := []struct {
		name, content string
		lines         []int
	}{
		{"a.jsonl", sampleJSONL, []int{1, 3}},
		{"a.NDJSON", sampleJSONL, []int{1, 3}},
		{"a.json", array, []int{1, 3}},
		{"a.csv", sampleCSV, []int{2, 5}},
		{"tab.csv", strings.ReplaceAll(sampleCSV, ";", "\t"), []int{2, 5}},
		{"comma.csv", strings.ReplaceAll(sampleCSV, ";", ","), []int{2, 5}},
		{"sep.csv", strings.Replace(sampleCSV, "Portal", "sep=;\r\nPortal", 1), []int{3, 6}},
		{"quoted sep.csv", strings.Replace(sampleCSV, "Portal", "\"SEP=;\"\nPortal", 1), []int{3, 6}},
		{"sep that nobody would guess.csv", strings.Replace(strings.ReplaceAll(sampleCSV, ";", "|"), "Portal", "sep=|\nPortal", 1), []int{3, 6}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rows, failure := readAll(t, write(t, tt.name, tt.content), Options{})
			if diff := cmp.Diff(atLines(sampleRows, tt.lines...), rows); diff != "" || failure != "" {
				t.Errorf("error %q, rows differ (-want +got):\n%s", failure, diff)
			}
		})
	}
}

func TestRowsCanBeReadTwiceAndLeftEarly(t *testing.T) {
	f, err := Open(t.Context(), write(t, "a.csv", sampleCSV), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range f.Rows() {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	for range 2 {
		n := 0
		for _, err := range f.Rows() {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 2 {
			t.Errorf("%d rows, want 2", n)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func TestSourcesThatCannotBeRead(t *testing.T) {
	long := `{"portal":"a.b","CODE":"` + strings.Repeat("x", maxRow) + `"}`
	tests := []struct{ name, content, want string }{
		{"empty.csv", "", "empty.csv: holds no rows"},
		{"empty.json", " \n", "empty.json: holds no rows"},
		{"none.json", "[\n]", "none.json: holds no rows"},
		{"blank.jsonl", "\n\n", "blank.jsonl: holds no rows"},
		{"header.csv", "portal,CODE\n", "header.csv: holds no rows"},
		{"sep.csv", "sep=;", "sep.csv: holds no rows"},
		{"a.csv", "sep=;\nportal,CODE\n", "a.csv:2: portal,CODE: unknown; no known name is near it"},
		{"a.xlsx", "PK", "a.xlsx: files ending in .xlsx are not read; save it as CSV UTF-8"},
		{"a.txt", "x", "a.txt: files ending in .txt are not known; use .jsonl, .ndjson, .json or .csv, or give --input-format"},
		{"plain", "", "plain: has no extension to tell its format by; give --input-format jsonl, json or csv"},
		{"a.csv", "portal,NAME\n", "a.csv:1: CODE: column missing"},
		{"a.csv", "\nCODE;NAME\n", "a.csv:2: portal: column missing"},
		{"a.csv", "portal,CODE,NAME,PROPERTIES.NAME\n", "a.csv:1: PROPERTIES.NAME: column given twice"},
		{"a.csv", "portal,CODE,COLUOR\n", "a.csv:1: COLUOR: unknown; the nearest known name is COLOR"},
		{"a.csv", "portal,CODE,PROPERTIES\n", "a.csv:1: PROPERTIES: give its fields as columns of their own, such as PROPERTIES.NAME"},
		{"a.csv", "portal,CODE,\n", `a.csv:1: "": column 3 has no name`},
		{"a.csv", "[{}]", "a.csv:1: is JSON, not CSV; name it .jsonl or .json, or give --input-format"},
		{"a.csv", "portal,CODE\na.b,\"x\ny\"\na.b,x\"y\n", "a.csv:4: stray quote in a cell; put the whole cell in quotes and double each quote inside it"},
		{"a.csv", "portal,CODE\na.b,\"x\na.b,y\n", "a.csv:2: a quoted cell that begins in this row is not closed rightly (read up to line 3)"},
		{"a.csv", "portal,CODE\na.b,\"x\"y\n", "a.csv:2: stray or missing quote at a quoted cell; double each quote inside it"},
		{"a.csv", "portal,CODE\na.b,\"" + strings.Repeat("x", maxRow+1<<20), "a.csv:2: is longer than 16 MB; is a quote left open? (Give photos as @file)"},
		{"a.csv", "portal,CODE\na.b,x\na.b,\xcf\xf0\n", "a.csv:3: CODE: " + notUTF8},
		{"a.csv", "\xff\xfep\x00", "a.csv: " + utf16},
		{"a.jsonl", "p\x00o\x00", "a.jsonl: " + utf16},
		{"a.jsonl", `{"portal":"a.b","CODE":"` + "\xcf\xf0\"}", "a.jsonl:1: " + notUTF8},
		{"a.jsonl", "\n[{}]", "a.jsonl:2: begins with [: it is a JSON array; name it .json or give --input-format json"},
		{"a.jsonl", "portal,CODE\n", "a.jsonl:1: is not JSON Lines: a line is one object {…}"},
		{"a.json", `{"portal":"a.b"}`, "a.json:1: begins with {, not with [: for one object a line give --input-format jsonl, else put the rows in [ ]"},
		{"a.json", "portal", "a.json:1: is not a JSON array: it does not begin with ["},
		{"a.json", "[{}\n,{\"CODE\":\n\"x\"\n\"y\"}]", "a.json:4: not valid JSON: invalid character '\"' after object key:value pair"},
		{"a.json", "[{},\n]", "a.json:2: not valid JSON: a comma without a row after it, or a stray bracket"},
		{"a.json", "[{}\n{}]", "a.json:2: not valid JSON: between two rows stands something other than a comma"},
		{"a.json", "[{}\n", "a.json:2: ends before the array's closing ]"},
		{"a.json", "[\n{\"CODE\":1", "a.json:2: not valid JSON: it ends before its last bracket or quote"},
		{"a.json", "[{}]\n x", "a.json:2: something follows the array's closing ]"},
		{"a.json", "[\n" + long + "]", "a.json:2: " + tooLong},
	}
	for _, tt := range tests {
		t.Run(tt.want, func(t *testing.T) {
			if _, got := readAll(t, write(t, tt.name, tt.content), Options{}); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestFilesThatCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		path string
		o    Options
		want string
	}{
		{filepath.Join(dir, "no.csv"), Options{}, "there is no such file"},
		{dir, Options{Format: CSV}, "is a folder, not a file of rows"},
		{dir, Options{}, "is a folder, not a file of rows"},
		{"a.csv", Options{Format: "xml"}, `unknown input format "xml"; it is jsonl, json or csv`},
		{"-", Options{}, "has no name to tell its format by; give --input-format jsonl, json or csv"},
		{"-", Options{Format: CSV, Stdin: strings.NewReader(""), TempDir: filepath.Join(dir, "none")}, "cannot be kept in a temporary file"},
	}
	for _, tt := range tests {
		_, err := Open(t.Context(), tt.path, tt.o)
		var typed *Error
		if !errors.As(err, &typed) || !strings.Contains(typed.Problem, tt.want) {
			t.Errorf("%s: %v, want %q", tt.path, err, tt.want)
		}
	}
	if _, err := Open(t.Context(), filepath.Join(dir, "no.csv"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v does not say os.ErrNotExist", err)
	}
}

func TestProblemsOfARow(t *testing.T) {
	tests := []struct{ row, field, problem string }{
		{`{"CODE":"x"}`, "portal", "missing"},
		{`{"portal":"  ","CODE":"x"}`, "portal", "missing"},
		{`{"portal":"https://a.b/rest/1/secret/","CODE":"x"}`, "portal", errPortalPath.Error()},
		{`{"portal":"a b.c","CODE":"x"}`, "portal", errPortal.Error()},
		{`{"portal":"a.b:0","CODE":"x"}`, "portal", errPortal.Error()},
		{`{"portal":"a.b","COED":"x"}`, "COED", "unknown; the nearest known name is CODE"},
		{`{"portal":"a.b","PROPERTIES":{"CODE":"x"}}`, "PROPERTIES.CODE", "unknown; no known name is near it"},
		{`{"portal":"a.b","Handler":"x"}`, "Handler", "unknown; the nearest known name is EVENT_HANDLER"},
		{`{"portal":"a.b","message":"x"}`, "message", "unknown; no known name is near it"},
		{`{"portal":"a.b","Webhook":"x"}`, "Webhook", "unknown; no known name is near it"},
		{`{"portal":"a.b","PROPERTIES":{"photo":"x"}}`, "PROPERTIES.photo", "unknown; the nearest known name is PERSONAL_PHOTO"},
		{`{"portal":"a.b","CODE":12}`, "CODE", `is a number; write it in quotes: "12"`},
		{`{"portal":"a.b","OPENLINE":true}`, "OPENLINE", "is true or false; write a text in quotes"},
		{`{"portal":"a.b","NAME":["x"]}`, "PROPERTIES.NAME", "is a list; write a text in quotes"},
		{`{"portal":"a.b","PROPERTIES":"x"}`, "PROPERTIES", `is a text; write an object, such as {"NAME":"Helper"}`},
		{`{"portal":"a.b","CODE":"x","code":"y"}`, "CODE", "given twice"},
		{`{"portal":"a.b","NAME":"x","PROPERTIES":{"NAME":"y"}}`, "PROPERTIES.NAME", "given twice"},
		{`{"portal":"a.b","PROPERTIES":{},"PROPERTIES":{}}`, "PROPERTIES", "given twice"},
		{`{"portal":"a.b","CODE":"\u0000"}`, "CODE", "holds a NUL character"},
		{`{"portal":"a.b","CODE":"x"`, "", "not valid JSON: it ends before its last bracket or quote (at character 27)"},
		{`{"portal":"a.b","CODE":'x'}`, "", `not valid JSON: invalid character '\'' looking for beginning of value (at character 24)`},
		{`{"portal":"a.b"} x`, "", "not valid JSON: invalid character 'x' after top-level value (at character 18)"},
		{`17`, "", "is a number; a row is an object {…}"},
		{`{"portal":"a.b","PERSONAL_PHOTO":"@no.png"}`, photoField, "photo no.png: there is no such file"},
		{`{"portal":"a.b","CODE":"` + strings.Repeat("x", maxRow) + `"}`, "", tooLong},
	}
	for _, tt := range tests {
		t.Run(tt.field+" "+tt.problem, func(t *testing.T) {
			const good = `{"portal":"a.b","CODE":"x"}`
			rows, failure := readAll(t, write(t, "a.jsonl", good+"\n"+tt.row+"\n"+good), Options{})
			if failure != "" || len(rows) != 3 {
				t.Fatalf("%d rows, error %q", len(rows), failure)
			}
			want := []bitrix.Problem{{Field: tt.field, Code: CodeInput, Problem: tt.problem}}
			if diff := cmp.Diff(want, rows[1].Problems); diff != "" || rows[1].Line != 2 || rows[2].Line != 3 || rows[2].Number != 3 {
				t.Errorf("lines %d, %d; problems differ:\n%s", rows[1].Line, rows[2].Line, diff)
			}
		})
	}
}

func TestPortalThatIsAWebhookKeepsItsSecret(t *testing.T) {
	rows, _ := readAll(t, write(t, "a.jsonl", `{"portal":"https://a.b/rest/1/s3cr3t/","CODE":"x"}`), Options{})
	if rows[0].Portal != "" || strings.Contains(rows[0].Problems[0].Problem, "s3cr3t") {
		t.Errorf("the secret shows: %+v", rows[0])
	}
}

func TestRaggedCSV(t *testing.T) {
	rows, failure := readAll(t, write(t, "a.csv", "portal,CODE,NAME\na.b,x\na.b,x,n,,\na.b,x,n,m\n"), Options{})
	if failure != "" || len(rows) != 3 {
		t.Fatalf("%d rows, error %q", len(rows), failure)
	}
	if rows[0].Problems != nil || rows[1].Problems != nil {
		t.Errorf("missing or empty cells are no problem: %v %v", rows[0].Problems, rows[1].Problems)
	}
	if len(rows[2].Problems) != 1 || !strings.HasPrefix(rows[2].Problems[0].Problem, "has 4 cells, but the header has 3") {
		t.Errorf("problems %v", rows[2].Problems)
	}
}

func TestFileChangedBetweenReadings(t *testing.T) {
	path := write(t, "a.jsonl", sampleJSONL)
	f, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(sampleJSONL+"\n{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, err := range f.Rows() {
		if err == nil || !strings.HasSuffix(err.Error(), "was changed after it was opened; start again") {
			t.Errorf("got %v", err)
		}
	}
}

func TestStandardInput(t *testing.T) {
	dir := t.TempDir()
	f, err := Open(t.Context(), "-", Options{Format: "ndjson", Stdin: strings.NewReader(sampleJSONL), TempDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var rows []Row
		for row, err := range f.Rows() {
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, row)
		}
		if diff := cmp.Diff(sampleRows, rows); diff != "" {
			t.Error(diff)
		}
	}
	if err := errors.Join(f.Close(), f.Close()); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestStandardInputIsGivenUp(t *testing.T) {
	in, typist, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(in.Close(), typist.Close()) }()
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	dir := t.TempDir()
	_, err = Open(ctx, "-", Options{Format: JSONL, Stdin: in, TempDir: dir})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func namedPipe(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rows.jsonl")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNamedPipe(t *testing.T) {
	path := namedPipe(t)
	written := make(chan error)
	go func() { written <- os.WriteFile(path, []byte(sampleJSONL), 0o600) }()
	rows, failure := readAll(t, path, Options{TempDir: t.TempDir()})
	if diff := cmp.Diff(sampleRows, rows); diff != "" || failure != "" {
		t.Errorf("error %q, rows differ:\n%s", failure, diff)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

func TestNamedPipeNobodyWritesToIsGivenUp(t *testing.T) {
	path := namedPipe(t)
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	if _, err := Open(ctx, path, Options{TempDir: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	// Lets the goroutine go that waits for the pipe's other end, whenever it
	// gets there: this end stays open for as long as the tests run.
	if _, err := syscall.Open(path, syscall.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
}
