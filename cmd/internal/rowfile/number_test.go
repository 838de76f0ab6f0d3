// Rows with numbers of their own.

package rowfile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRowsWithNumbersOfTheirOwn(t *testing.T) {
	for name, c := range map[string]struct {
		file, text string
		want       string // numbers, then the error
	}{
		"json lines":            {"a.jsonl", `{"row":12,"portal":"a.b","CODE":"x"}` + "\n" + `{"ROW":"3","portal":"a.b","CODE":"y","class":"c","error":{"code":"E","description":"d"}}`, "[12 3] "},
		"an array":              {"a.json", `[{"portal":"a.b","row":10000000},{"row":1,"portal":"a.b","error":"said"}]`, "[10000000 1] "},
		"csv":                   {"a.csv", "portal,CODE,Row,class,error.code,Error.Description\na.b,x, 12 ,c,E,\"d,\"\na.b,y,0003\n", "[12 3] "},
		"csv, nobody's numbers": {"a.csv", "row,portal,CODE\n,a.b,x\n,a.b,y\n", "[1 2] "},
		"null is none":          {"a.jsonl", `{"row":null,"portal":"a.b"}`, "[1] "},

		"twice the same":         {"a.csv", "row,portal,CODE\n12,a.b,x\n13,a.b,x\n12,a.b,y\n", "[12 13] a.csv:4: row: 12 was given to a row before"},
		"twice in a row":         {"a.jsonl", `{"row":1,"row":1,"portal":"a.b"}`, "[] a.jsonl:1: row: is not one whole number from 1 to 10000000"},
		"twice in a header":      {"a.csv", "row,portal,ROW,CODE\n", "[] a.csv:1: ROW: column given twice"},
		"zero":                   {"a.jsonl", `{"row":0,"portal":"a.b"}`, "[] a.jsonl:1: row: is not one whole number from 1 to 10000000"},
		"negative":               {"a.csv", "row,portal,CODE\n-1,a.b,x\n", "[] a.csv:2: row: is not one whole number from 1 to 10000000"},
		"too large":              {"a.csv", "row,portal,CODE\n10000001,a.b,x\n", "[] a.csv:2: row: is not one whole number from 1 to 10000000"},
		"absurd":                 {"a.jsonl", `{"row":99999999999999999999,"portal":"a.b"}`, "[] a.jsonl:1: row: is not one whole number from 1 to 10000000"},
		"no whole number":        {"a.json", `[{"row":1.5,"portal":"a.b"}]`, "[] a.json:1: row: is not one whole number from 1 to 10000000"},
		"a list":                 {"a.jsonl", `{"row":[1],"portal":"a.b"}`, "[] a.jsonl:1: row: is not one whole number from 1 to 10000000"},
		"an empty text":          {"a.jsonl", `{"row":"","portal":"a.b"}`, "[] a.jsonl:1: row: is not one whole number from 1 to 10000000"},
		"a row added without":    {"a.csv", "row,portal,CODE\n12,a.b,x\n,a.b,y\n", "[12] a.csv:3: row: missing, and the rows before have theirs; give it in all rows or in none"},
		"given from the second":  {"a.jsonl", `{"portal":"a.b"}` + "\n" + `{"row":12,"portal":"a.b"}`, "[1] a.jsonl:2: row: given, and the rows before have none; give it in all rows or in none"},
		"broken among numbered":  {"a.jsonl", `{"row":12,"portal":"a.b"}` + "\n{\n" + `{"row":13,"portal":"a.b"}`, "[12] a.jsonl:2: not valid JSON: it ends before its last bracket or quote (at character 2)"},
		"no place in PROPERTIES": {"a.jsonl", `{"row":12,"portal":"a.b","PROPERTIES":{"row":13}}`, "[12] "},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), c.file)
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 { // as often as wanted
				rows, failure := readAll(t, path, Options{})
				numbers := make([]int, len(rows))
				for i := range rows {
					numbers[i] = rows[i].Number
				}
				got := fmt.Sprint(numbers) + " " + failure
				if got != c.want {
					t.Errorf("got  %s\nwant %s", got, c.want)
				}
			}
		})
	}
}

func TestTheBotOfAllPortalsHasNoNumber(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bot.json")
	if err := os.WriteFile(path, []byte(`{"row":1,"CODE":"x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadBot(path); err == nil || !strings.Contains(err.Error(), "row: has no place here") {
		t.Errorf("%v", err)
	}
}
