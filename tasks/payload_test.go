// Payloads: what is queued comes back, and what is hostile is refused in words.

package tasks_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"botfleet/tasks"
	"botfleet/tasks/runs"
)

func TestPayloadComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := tasks.Payload{
			Run: rapid.StringMatching(`[a-z0-9-]{1,64}`).Draw(t, "run"), Row: rapid.IntRange(1, 1<<30).Draw(t, "row"),
			Gen: rapid.IntRange(0, 100).Draw(t, "gen"), PortalID: rapid.StringMatching(`[a-f0-9]{16}`).Draw(t, "pid"),
			Portal: rapid.String().Draw(t, "portal"), Code: rapid.String().Draw(t, "code"), Name: rapid.String().Draw(t, "name"),
		}
		b, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := tasks.DecodePayload(b)
		if err != nil {
			t.Fatal(err)
		}
		want.Version = got.Version
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	})
}

// keptPayloads are the payloads of released versions, as they lie in queues. A
// version that is released adds files, and changes none.
var keptPayloads = map[string]tasks.Payload{
	"v1.json": {
		Version: 1, Run: "01997b2e-7c00-7000-8000-000000000001", Row: 12, Gen: 1, PortalID: "0123456789abcdef",
		Portal: "acme.bitrix24.ru", Code: "helper", Name: "Helper",
	},
	"v1-first.json": {
		Version: 1, Run: "nightly_2026.11", Row: 1_000_000, PortalID: "0123456789abcdef",
		Portal: "почта.example.рф:8443", Code: "Помощник <1>",
	},
}

func TestPayloadsOfReleasedVersionsStillDecode(t *testing.T) {
	files, err := filepath.Glob("testdata/payloads/*.json")
	if err != nil || len(files) != len(keptPayloads) {
		t.Fatalf("%d kept payloads, %v", len(files), err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		got, err := tasks.DecodePayload(b)
		if d := cmp.Diff(keptPayloads[filepath.Base(f)], got); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", f, err, d)
		}
	}
}

// hostilePayloads are what others may queue, and a word of what is said of each.
func hostilePayloads() map[string][2]string {
	return map[string][2]string{
		"empty":                     {``, "not readable"},
		"broken":                    {`{"v":1,`, "not readable"},
		"cut off":                   {`{"v":1,"run":"r","row":1,"pid":"p`, "not readable"},
		"two of them":               {`{"v":1,"run":"r","row":1,"pid":"p"}{"v":1}`, "not readable"},
		"a list":                    {`[1]`, "not readable"},
		"null":                      {`null`, "no version"},
		"no JSON":                   {"\x00\x01\xff\xfe", "not readable"},
		"another format":            {`O:8:"stdClass":0:{}`, "not readable"},
		"no version":                {`{"run":"r","row":1,"pid":"p"}`, "no version"},
		"later version":             {`{"v":7,"run":"r","row":1,"pid":"p","shard":[1]}`, "version 7, and this worker knows version 1"},
		"version as text":           {`{"v":"1","run":"r","row":1,"pid":"p"}`, "not readable"},
		"unknown field":             {`{"v":1,"run":"r","row":1,"pid":"p","secret":"x"}`, "unknown field"},
		"long field":                {`{"v":1,"` + strings.Repeat("x", 10_000) + `":1}`, "unknown field"},
		"row as text":               {`{"v":1,"run":"r","row":"1","pid":"p"}`, "not readable"},
		"row with a fraction":       {`{"v":1,"run":"r","row":1.5,"pid":"p"}`, "not readable"},
		"absurd row":                {`{"v":1,"run":"r","row":99999999999999999999,"pid":"p"}`, "not readable"},
		"run as object":             {`{"v":1,"run":{},"row":1,"pid":"p"}`, "not readable"},
		"no row":                    {`{"v":1,"run":"r","row":0,"pid":"p"}`, "names no row"},
		"negative row":              {`{"v":1,"run":"r","row":-12,"pid":"p"}`, "names no row"},
		"negative generation":       {`{"v":1,"run":"r","row":1,"gen":-1,"pid":"p"}`, "names no row"},
		"no portal":                 {`{"v":1,"run":"r","row":1}`, "names no row"},
		"no run":                    {`{"v":1,"run":"","row":1,"pid":"p"}`, "names no run"},
		"run that leaves its keys":  {`{"v":1,"run":"a}:meta{b","row":1,"pid":"p"}`, "names no run"},
		"run of lines":              {`{"v":1,"run":"a\nb\u0000","row":1,"pid":"p"}`, "names no run"},
		"run of ten kilobytes":      {`{"v":1,"run":"` + strings.Repeat("{", 10_000) + `","row":1,"pid":"p"}`, "names no run"},
		"deep":                      {strings.Repeat(`[`, 20_000), "not readable"},
		"deep inside":               {`{"v":1,"run":` + strings.Repeat(`{"a":`, 10_000), "not readable"},
		"ten megabytes":             {`{"v":1,"run":"` + strings.Repeat("x", 10<<20) + `"}`, "more than"},
		"ten megabytes of brackets": {strings.Repeat(`[`, 10<<20), "more than"},
	}
}

func TestHostilePayloadsAreRefusedInWords(t *testing.T) {
	for name, c := range hostilePayloads() {
		_, err := tasks.DecodePayload([]byte(c[0]))
		if err == nil || !strings.Contains(err.Error(), c[1]) || len(err.Error()) > 300 || strings.ContainsAny(err.Error(), "\n\x00") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecodePayload(f *testing.F) {
	for _, c := range hostilePayloads() {
		if len(c[0]) < 1000 {
			f.Add([]byte(c[0]))
		}
	}
	files, err := filepath.Glob("testdata/payloads/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"v":1,"v":2,"row":1e9}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := tasks.DecodePayload(b)
		if err != nil {
			if len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Fatalf("of %q is said %q", b, err)
			}
			return
		}
		if runs.CheckID(p.Run) != nil || p.Row < 1 || p.Gen < 0 || p.PortalID == "" {
			t.Fatalf("took %q as %+v", b, p)
		}
		again, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if same, err := tasks.DecodePayload(again); err != nil || same != p {
			t.Fatalf("%q is %+v, and queued again %+v, %v", b, p, same, err)
		}
	})
}

func TestTaskIDs(t *testing.T) {
	id := tasks.TaskID("p1", "customapp", "Helper")
	if id != tasks.TaskID("p1", "customapp", "hELPER") {
		t.Error("CODEs that differ in case are one bot")
	}
	for _, other := range []string{
		tasks.TaskID("p2", "customapp", "helper"), tasks.TaskID("p1", "customother", "helper"),
		tasks.TaskID("p1", "customapp", "helper2"), tasks.TaskID("p1c", "ustomapp", "helper"),
	} {
		if other == id {
			t.Error("different bots share a task id")
		}
	}
}
