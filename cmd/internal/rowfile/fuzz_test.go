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
	theirs := map[int]bool{}
	s := &scan{name: "fuzz", photos: newPhotos("testdata/none")}
	s.yield = func(row Row, _ error) bool {
		number++
		ours := row.Number == number
		if !ours && (row.Number < 1 || row.Number > MaxNumber || theirs[row.Number]) || row.Line < 1 || row.Line < last || row.Line > lines {
			t.Fatalf("row %d is number %d on line %d of %d, after line %d", number, row.Number, row.Line, lines, last)
		}
		theirs[row.Number] = true
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
	f.Add([]byte("{\"row\":7}\n{\"row\":\"3\",\"error\":{\"code\":[1]},\"class\":0}\n{\"row\":7}"))
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
	f.Add([]byte("row,portal,CODE,class,error.code\n12,a.b,x,validation,E\n 0013,a.b,y\n,a.b,z\n"))
	f.Add([]byte("\"portal;\"\tCODE\n"))
	f.Add([]byte("sep=|\r\nportal|CODE\na.b|x\n"))
	f.Fuzz(func(t *testing.T, content []byte) { scanAll(t, content, CSV) })
}
