// Imports under a key that is not the workers'.

package command

import (
	"maps"
	"strings"
	"testing"

	"botfleet/bitrix/portals"
	"botfleet/ratelimit/redistest"
)

// A stray SECRETS_KEY changes nothing, and --lost-key is what it takes.
func TestAStrayKeyStoresNothing(t *testing.T) {
	r := withPortals(t, "aa.bitrix24.ru", "bb.bitrix24.ru")
	url, ours := r.environ[0], r.environ[1]
	rdb := redistest.Client(t, strings.TrimPrefix(url, "REDIS_URL="))
	contents := func() map[string]string {
		all, err := rdb.HGetAll(t.Context(), "botfleet:{portals}:records").Result()
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := contents()
	known, fresh := r.file("aa.bitrix24.ru", "bb.bitrix24.ru"), r.file("cc.bitrix24.ru")
	rows := write(t, "rows.jsonl", `{"portal":"aa.bitrix24.ru","CODE":"c","EVENT_HANDLER":"https://bots.example.com/e","PROPERTIES":{"NAME":"N"}}`+"\n")
	stray := []string{url, "SECRETS_KEY=" + portals.NewKey()}
	for _, tt := range []struct {
		said string
		args []string
	}{
		{"of 2 of these portals do not open", []string{"portals", "import", known}},
		{"of other portals do not open", []string{"portals", "import", fresh}},
		{"of 2 of these portals do not open", []string{"submit", "--portals", known, rows}},
		{"of 2 of these portals do not open", []string{"run", "--portals", known, rows}},
	} {
		code, out, errs := command(t.Context(), stray, tt.args...)
		if code != exitFailed || out != "" || !strings.Contains(errs, tt.said) || !strings.Contains(errs, "for example ") ||
			!strings.Contains(errs, "is it the workers' key? If that key is lost: enqueue portals import --lost-key") || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: exit status %d: %s%s", tt.args, code, out, errs)
		}
	}
	if !maps.Equal(contents(), before) {
		t.Error("the stored portals have changed")
	}
	if queues, err := rdb.Exists(t.Context(), "asynq:queues", "botfleet:{runs}:index").Result(); err != nil || queues != 0 {
		t.Errorf("something was queued: %v", err)
	}
	if code, _, errs := command(t.Context(), []string{url, ours}, "portals", "import", known); code != exitDone {
		t.Errorf("exit status %d: %s", code, errs)
	}

	r.environ = stray
	if out, _ := r.run(exitDone, "import", "--lost-key", known); !strings.Contains(out, `"updated":2`) {
		t.Error(out)
	}
	if out, _ := r.run(exitDone, "import", known); !strings.Contains(out, `"unchanged":2`) {
		t.Error(out)
	}
}
