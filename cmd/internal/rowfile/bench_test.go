package rowfile

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

const handler = "https://bots.example.com/events/%d"

// simpleRows makes a file of n usual rows in a format.
func simpleRows(tb testing.TB, n int, format string) string {
	tb.Helper()
	var out bytes.Buffer
	head, sep, tail := map[string]string{JSON: "[", CSV: "portal,CODE,TYPE,EVENT_HANDLER,OPENLINE,PROPERTIES.NAME,PROPERTIES.COLOR\n"}[format], "", ""
	if format == JSON {
		sep, tail = ",", "]"
	}
	out.WriteString(head)
	for i := range n {
		if i > 0 {
			out.WriteString(sep)
		}
		if format == CSV {
			fmt.Fprintf(&out, "portal%d.bitrix24.ru,helper%d,B,"+handler+",N,Helper %d,AZURE\n", i%1000, i, i, i)
			continue
		}
		fmt.Fprintf(&out, `{"portal":"portal%d.bitrix24.ru","CODE":"helper%d","TYPE":"B","EVENT_HANDLER":"`+handler+`","OPENLINE":"N","PROPERTIES":{"NAME":"Helper %d","COLOR":"AZURE"}}`+"\n", i%1000, i, i, i)
	}
	out.WriteString(tail)
	path := filepath.Join(tb.TempDir(), "rows."+format)
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// heapPeak reads a file and returns its rows and the most heap seen meanwhile.
func heapPeak(tb testing.TB, f *File) (rows int, peak uint64) {
	var m runtime.MemStats
	for row, err := range f.Rows() {
		if err != nil || len(row.Problems) > 0 {
			tb.Fatal(err, row.Problems)
		}
		if rows++; rows%20_000 == 0 {
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
		}
	}
	return rows, peak
}

func TestHeapDoesNotGrowWithRows(t *testing.T) {
	const many = 40_000
	for _, format := range []string{JSONL, JSON, CSV} {
		f, err := Open(t.Context(), simpleRows(t, many, format), Options{})
		if err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		rows, peak := heapPeak(t, f)
		if rows != many || peak > 20<<20 {
			t.Errorf("%s: %d rows with a heap of %d MB; at most 20 are allowed", format, rows, peak>>20)
		}
	}
}

func BenchmarkRows(b *testing.B) {
	const many = 100_000
	for _, format := range []string{JSONL, JSON, CSV} {
		b.Run(format, func(b *testing.B) {
			f, err := Open(b.Context(), simpleRows(b, many, format), Options{})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if rows, _ := heapPeak(b, f); rows != many {
					b.Fatalf("%d rows", rows)
				}
			}
			b.ReportMetric(float64(many)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
