// How status shows what a run's dead rows died of.

package command

import (
	"encoding/json"
	"strings"
	"testing"

	"botfleet/tasks/runs"
)

func TestStatusTellsWhatRowsDiedOf(t *testing.T) {
	s := statusOf(runs.Info{ID: "r", Counts: runs.Counts{Queued: 1204, Dead: 1204}, DeadBy: []runs.CodeCount{
		{Class: "blocked", Code: "PORTAL_DELETED", Rows: 1200}, {Code: runs.CodeOther, Rows: 4},
	}})
	var b strings.Builder
	(&app{}).printRun(&b, s)
	if want := "  1,200 dead of PORTAL_DELETED (blocked)\n  4 dead of OTHER\n"; !strings.Contains(b.String(), want) {
		t.Errorf("the table does not say %q:\n%s", want, b.String())
	}
	text, err := json.Marshal(s)
	if want := `"dead_by":[{"class":"blocked","code":"PORTAL_DELETED","rows":1200},{"code":"OTHER","rows":4}]`; err != nil || !strings.Contains(string(text), want) {
		t.Errorf("%s, %v", text, err)
	}
	if text, err := json.Marshal(statusOf(runs.Info{})); err != nil || strings.Contains(string(text), "dead_by") {
		t.Errorf("nothing died: %s, %v", text, err)
	}
}
