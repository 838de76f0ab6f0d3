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

func TestPayloadsOfReleasedVersionsStillDecode(t *testing.T) {
	files, err := filepath.Glob("testdata/payloads/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no kept payloads: %v", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		p, err := tasks.DecodePayload(b)
		if err != nil || p.Row != 12 || p.Code != "helper" || p.Gen != 1 {
			t.Errorf("%s: %+v, %v", f, p, err)
		}
	}
}

func TestHostilePayloadsAreRefusedInWords(t *testing.T) {
	for name, c := range map[string]struct{ payload, says string }{
		"empty":         {``, "not readable"},
		"broken":        {`{"v":1,`, "not readable"},
		"not an object": {`[1]`, "not readable"},
		"no version":    {`{"run":"r","row":1,"pid":"p"}`, "no version"},
		"later version": {`{"v":7,"run":"r","row":1,"pid":"p"}`, "version 7, and this worker knows version 1"},
		"unknown field": {`{"v":1,"run":"r","row":1,"pid":"p","secret":"x"}`, "not readable"},
		"no row":        {`{"v":1,"run":"r","row":0,"pid":"p"}`, "names no row"},
		"negative gen":  {`{"v":1,"run":"r","row":1,"gen":-1,"pid":"p"}`, "names no row"},
		"deep":          {strings.Repeat(`[`, 20_000), "not readable"},
		"ten megabytes": {`{"v":1,"run":"` + strings.Repeat("x", 10<<20) + `"}`, "more than"},
	} {
		_, err := tasks.DecodePayload([]byte(c.payload))
		if err == nil || !strings.Contains(err.Error(), c.says) || len(err.Error()) > 300 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecodePayload(f *testing.F) {
	f.Add([]byte(`{"v":1,"run":"r","row":1,"pid":"p","portal":"a","code":"b"}`))
	f.Add([]byte(`{"v":2}`))
	f.Add([]byte(`{"v":1,"v":2,"row":1e9}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := tasks.DecodePayload(b)
		if err == nil && (p.Run == "" || p.Row < 1 || p.PortalID == "") {
			t.Fatalf("took %q as %+v", b, p)
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
