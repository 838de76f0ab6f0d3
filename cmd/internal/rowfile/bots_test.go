// Files of bots without portals.

package rowfile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"botfleet/cmd/internal/rowfile"
)

func botsFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadBots(t *testing.T) {
	for name, text := range map[string]string{
		"bots.csv":   "CODE,NAME,EVENT_HANDLER\nhelper,Helper,https://bots.example.com/e\nsales,Sales,https://bots.example.com/e\n",
		"bots.jsonl": `{"CODE":"helper","NAME":"Helper","EVENT_HANDLER":"https://bots.example.com/e"}` + "\n" + `{"CODE":"sales","PROPERTIES":{"NAME":"Sales"},"EVENT_HANDLER":"https://bots.example.com/e"}`,
		"bots.json":  `[{"CODE":"helper","NAME":"Helper","EVENT_HANDLER":"https://bots.example.com/e"},{"CODE":"sales","NAME":"Sales","EVENT_HANDLER":"https://bots.example.com/e"}]`,
	} {
		bots, err := rowfile.LoadBots(t.Context(), botsFile(t, name, text))
		if err != nil || len(bots) != 2 || bots[0].Code != "helper" || bots[1].Properties.Name != "Sales" {
			t.Errorf("%s: %+v, %v", name, bots, err)
		}
	}
}

func TestLoadBotsNamesWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ name, file, text, want string }{
		{"portal", "b.csv", "portal,CODE,NAME,EVENT_HANDLER\nacme.bitrix24.ru,a,A,https://b.example.com/e\n", "b.csv:2: portal: has no place here"},
		{"id", "b.csv", "id,CODE,NAME,EVENT_HANDLER\n7,a,A,https://b.example.com/e\n", "b.csv:2: id: has no place here"},
		{"twice", "b.csv", "CODE,NAME,EVENT_HANDLER\na,A,https://b.example.com/e\nA,B,https://b.example.com/e\n", "b.csv:3: CODE: is that of line 2 already"},
		{"invalid", "b.jsonl", `{"CODE":"a","NAME":"A"}`, "EVENT_MESSAGE_ADD"},
		{"no code", "b.csv", "NAME,EVENT_HANDLER\nA,https://b.example.com/e\n", "column missing"},
		{"empty", "b.jsonl", "", "holds no rows"},
		{"unknown key", "b.jsonl", `{"CODE":"a","NAMEE":"A"}`, "NAMEE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := rowfile.LoadBots(t.Context(), botsFile(t, c.file, c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %q in it", err, c.want)
			}
		})
	}
	if _, err := rowfile.LoadBots(t.Context(), filepath.Join(t.TempDir(), "none.csv")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
	many := "CODE,NAME,EVENT_HANDLER\n" + strings.Repeat("a,,\n", 1000)
	if _, err := rowfile.LoadBots(t.Context(), botsFile(t, "b.csv", many)); err == nil || strings.Count(err.Error(), "\n") > 30 {
		t.Errorf("%d lines", strings.Count(err.Error(), "\n"))
	}
}
