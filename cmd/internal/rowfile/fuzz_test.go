package rowfile

import (
	"bytes"
	"strings"
	"testing"
)

// scanAll reads bytes as a format and checks what holds for any input.
func scanAll(t *testing.T, content []byte, format string) {
	lines := bytes.Count(content, []byte("\n")) + 1
	last, number := 0, 0
	s := &scan{name: "fuzz", photos: newPhotos("testdata/none")}
	s.yield = func(row Row, _ error) bool {
		number++
		if row.Number != number || row.Line < 1 || row.Line < last || row.Line > lines {
			t.Fatalf("row %d is number %d on line %d of %d, after line %d", number, row.Number, row.Line, lines, last)
		}
		last = row.Line
		return true
	}
	if err := s.run(bytes.NewReader(content), format); err != nil {
		text := s.asError(err).Error()
		if strings.Contains(text, "\n") {
			t.Fatalf("error of several lines: %q", text)
		}
	}
}

func FuzzJSONLine(f *testing.F) {
	f.Add([]byte(sampleJSONL))
	f.Add([]byte(`{"portal":"a.b","id":-1e3,"CODE":"\ud800","x":[{"y":"}"}],"PROPERTIES":{"NAME":null,"a":1}}`))
	f.Add([]byte("{}\n{\"a\n}\n[]\n\"\"\n{\"\":{}}"))
	f.Fuzz(func(t *testing.T, content []byte) { scanAll(t, content, JSONL) })
}

func FuzzJSONArray(f *testing.F) {
	f.Add([]byte("[\n" + `{"portal":"a.b","CODE":"x"}` + "\n, {\"PROPERTIES\":\n{}}]"))
	f.Add([]byte(`[1,"]",{"a":"\""},[[]],null]`))
	f.Add([]byte("[}]"))
	f.Fuzz(func(t *testing.T, content []byte) { scanAll(t, content, JSON) })
}

func FuzzCSV(f *testing.F) {
	f.Add([]byte(sampleCSV))
	f.Add([]byte("portal,CODE\n\"a\n\n.b\",\"\"\"\"\n\r\n,,,\n"))
	f.Add([]byte("\"portal;\"\tCODE\n"))
	f.Add([]byte("sep=|\r\nportal|CODE\na.b|x\n"))
	f.Fuzz(func(t *testing.T, content []byte) { scanAll(t, content, CSV) })
}
