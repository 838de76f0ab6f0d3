// What shells are told while a command line is typed.

package command

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/cmd/internal/version"
	"botfleet/ratelimit/redistest"
	"botfleet/tasks/runs"
)

// offered is what a shell is told for a command line whose last word is begun: the
// proposals with their descriptions, and cobra's directive.
func offered(t *testing.T, environ []string, args ...string) (words []string, directive string) {
	t.Helper()
	code, out, errs := command(t.Context(), environ, append([]string{"__complete"}, args...)...)
	if code != exitDone {
		t.Fatalf("%q: exit status %d: %s", args, code, errs)
	}
	if said := strings.TrimSpace(errs); strings.Count(said, "\n") > 0 || !strings.HasPrefix(said, "Completion ended with directive") {
		t.Errorf("%q says %q", args, said)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	last := len(lines) - 1
	return lines[:last], lines[last]
}

// Directives, as shells get them.
const (
	noFiles  = ":4"
	noBlank  = ":6"
	byEnding = ":8"
	inOrder  = ":36"
	inList   = ":38"
)

func TestCompletionOfWords(t *testing.T) {
	none := []string{"REDIS_URL=redis://127.0.0.1:1/0"}
	for _, c := range []struct {
		line      string
		want      []string // beginnings
		directive string
	}{
		{"dead ", []string{"export\tWrite", "list\t", "prune\t", "retry\t"}, noFiles},
		{"dead prune --older ", nil, noFiles},
		{"pause ", nil, noFiles},
		{"pause --queue ", nil, noBlank},
		{"cancel ", nil, inOrder},
		{"cancel RUN ", nil, noFiles},
		{"completion ", []string{"bash", "fish", "powershell", "zsh"}, noFiles},
		{"run --format ", []string{"jsonl", "json", "csv", "table"}, inOrder},
		{"run --format=", []string{"jsonl", "json", "csv", "table"}, inOrder},
		{"dead export RUN --format ", []string{"jsonl", "json", "csv"}, inOrder},
		{"run --input-format ", []string{"jsonl", "json", "csv"}, inOrder},
		{"check --on-existing ", []string{"keep", "update", "fail"}, inOrder},
		{"results RUN --only ", []string{"registered", "dead", "refused", "duplicate"}, inList},
		{"results RUN --only dead,", []string{"dead,registered", "dead,refused", "dead,duplicate"}, inList},
		{"dead list RUN --class ", []string{"validation", "conflict", "blocked", "ambiguous", "transient", "operator"}, inList},
		{"portals list --state ", []string{"active", "held", "gone"}, inList},
		{"portals check --state active,h", []string{"active,held", "active,gone"}, inList},
		{"submit ", []string{"jsonl", "ndjson", "json", "csv"}, byEnding},
		{"submit rows.csv ", nil, noFiles},
		{"portals import ", []string{"csv", "jsonl", "ndjson", "json"}, byEnding},
		{"run --portals ", []string{"csv", "jsonl", "ndjson", "json"}, byEnding},
		{"run --bot ", []string{"json"}, byEnding},
		{"run --output ", []string{"jsonl", "ndjson", "json", "csv"}, byEnding},
		{"portals hold --reason ", nil, noFiles},
		{"dead retry RUN --rps ", nil, noFiles},
		{"doctor ", nil, noFiles},
		{"portals rekey ", nil, noFiles},
		{"run --batch ", []string{"auto", "always", "off"}, inOrder},
		{"run --log-le", []string{"--log-level\tdebug, info, warn or error"}, noFiles},
		{"submit --ru", []string{"--run\tgo on with the run of this ID"}, noFiles},
		// Redis is away: nothing is offered, and nothing is said.
		{"status ", nil, inOrder},
		{"submit --run ", nil, inOrder},
		{"portals hold ", nil, noFiles},
		{"dead list RUN --portal ", nil, noBlank},
		{"dead list RUN --code ", nil, inList},
	} {
		words, directive := offered(t, none, strings.Split(c.line, " ")...)
		if !slices.EqualFunc(words, c.want, strings.HasPrefix) || directive != c.directive {
			t.Errorf("%q is offered %q %s, want %q %s", c.line, words, directive, c.want, c.directive)
		}
	}
}

// The settings' options would bury the others, so they come once they are begun.
func TestSettingsAreOfferedOnceBegun(t *testing.T) {
	words, _ := offered(t, nil, "check", "--")
	if len(words) < 9 || slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(w, "--redis-url") || strings.Contains(w, "`") }) {
		t.Errorf("%q", words)
	}
	words, _ = offered(t, nil, "check", "--re")
	if len(words) != 3 || !strings.HasPrefix(words[0], "--redis-url\t") {
		t.Errorf("%q", words)
	}
	for _, secret := range []string{"--sec", "--bitrix-client-s", "--dashboard-p"} {
		if words, _ = offered(t, nil, "check", secret); len(words) != 0 {
			t.Errorf("%s is offered %q", secret, words)
		}
	}
}

// Every option that takes a value says what it may be, if only that no file is meant.
func TestEveryOptionKnowsItsValues(t *testing.T) {
	root := newRoot(Options{}, nil, stdio{strings.NewReader(""), io.Discard, io.Discard})
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if _, ok := c.GetFlagCompletionFunc(f.Name); !ok && f.NoOptDefVal == "" {
				t.Errorf("%s --%s offers files of all kinds", c.CommandPath(), f.Name)
			}
		})
		if len(c.Commands()) == 0 && c.ValidArgsFunction == nil && len(c.ValidArgs) == 0 {
			t.Errorf("%s offers files of all kinds as arguments", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
}

// busy is a Redis with runs, the newest last, and many portals.
func busy(t *testing.T) (server *redistest.Server, environ []string, ids []string) {
	t.Helper()
	server = redistest.Start(t)
	rdb := redistest.Client(t, server.URL)
	key := portals.NewKey()
	keys, err := portals.ParseKeys(key)
	if err != nil {
		t.Fatal(err)
	}
	store := runs.New(rdb, runs.Options{})
	for i := range 3 {
		id := fmt.Sprintf("run-%d", i)
		if err := store.Open(t.Context(), id, runs.Begin{Label: "bots\t\x1b[31m\n" + id + ".csv"}); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	var entries []portals.Entry
	for i := range 250 {
		host := fmt.Sprintf("portal%03d.bitrix24.ru", i)
		access, err := bitrix.ParseWebhook("https://" + host + "/rest/1/s3cr3tw3bh00k/")
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, portals.Entry{
			Name: host, ClientID: "app", Plan: portals.Standard, Limits: portals.PlanLimits(portals.Standard),
			ServerTimeout: portals.DefaultServerTimeout, Access: access,
		})
	}
	if _, err := portals.New(rdb, keys, portals.Options{}).Import(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	return server, []string{"REDIS_URL=" + server.URL}, ids // a key is not needed
}

func TestCompletionAsksRedis(t *testing.T) {
	server, environ, ids := busy(t)
	for _, line := range []string{"status ", "results ", "dead list ", "dead export ", "dead retry ", "submit --run "} {
		words, directive := offered(t, environ, strings.Split(line, " ")...)
		if len(words) != len(ids) || directive != inOrder {
			t.Fatalf("%s: %q %s", line, words, directive)
		}
		for _, w := range words {
			id, about, _ := strings.Cut(w, "\t")
			if !slices.Contains(ids, id) || !strings.Contains(about, id+".csv, done, 20") || strings.ContainsAny(about, "\x1b\t") {
				t.Errorf("%s: %q", line, w)
			}
		}
	}
	if words, _ := offered(t, environ, "status", "run-2"); len(words) != 1 {
		t.Errorf("%q", words)
	}
	if words, _ := offered(t, environ, "status", "run-2", ""); len(words) != 0 {
		t.Errorf("a second run: %q", words)
	}
	words, directive := offered(t, environ, "portals", "hold", "")
	if len(words) != completePortals || directive != noFiles || slices.ContainsFunc(words, func(w string) bool { return strings.Contains(w, "s3cr3t") }) {
		t.Errorf("%d portals: %q", len(words), words)
	}
	words, _ = offered(t, environ, "portals", "release", "portal001.bitrix24.ru", "PORTAL00")
	if len(words) != 9 || words[0] != "portal000.bitrix24.ru" || words[1] != "portal002.bitrix24.ru" {
		t.Errorf("%q", words)
	}
	words, _ = offered(t, environ, "dead", "list", "run-0", "--portal", "portal001.bitrix24.ru,portal00")
	if len(words) != 9 || words[1] != "portal001.bitrix24.ru,portal002.bitrix24.ru" {
		t.Errorf("%q", words)
	}

	// Redis hangs: somebody waits for the line to be completed.
	server.Freeze()
	began := time.Now()
	if words, _ := offered(t, environ, "status", ""); len(words) != 0 {
		t.Errorf("%q", words)
	}
	if took := time.Since(began); took > completeWithin+500*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	server.Thaw()
}

func TestCompletionOffersWhatRowsDiedOf(t *testing.T) {
	g := newGraveyard(t)
	g.bury(t, grave{class: "validation", code: "NAME_ERROR"}, grave{class: "validation", code: "NAME_ERROR"}, grave{class: "validation", code: "CODE_ERROR"})
	words, directive := offered(t, g.environ, "dead", "list", deadRun, "--code", "")
	if want := []string{"NAME_ERROR\tvalidation, 2 rows", "CODE_ERROR\tvalidation, 1 row"}; !slices.Equal(words, want) || directive != inList {
		t.Errorf("%q %s", words, directive)
	}
	if words, _ = offered(t, g.environ, "dead", "list", deadRun, "--code", "name_error,co"); !slices.Equal(words, []string{"name_error,CODE_ERROR\tvalidation, 1 row"}) {
		t.Errorf("%q", words)
	}
	if words, _ = offered(t, g.environ, "dead", "list", "no-such-run", "--code", ""); len(words) != 0 {
		t.Errorf("%q", words)
	}
}

func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "fish", "powershell", "zsh"} {
		code, out, errs := command(t.Context(), nil, "completion", shell)
		if code != exitDone || errs != "" || !strings.Contains(out, "__complete") || !strings.Contains(out, "enqueue") {
			t.Errorf("%s: exit status %d, %d bytes, %s", shell, code, len(out), errs)
		}
	}
	for _, args := range [][]string{{"completion"}, {"completion", "tcsh"}, {"completion", "bash", "zsh"}} {
		if code, out, errs := command(t.Context(), nil, args...); code != exitFailed || out != "" || !strings.Contains(errs, "see: enqueue completion --help") {
			t.Errorf("%q: exit status %d, %q, %q", args, code, out, errs)
		}
	}
}

func TestVersion(t *testing.T) {
	code, out, errs := command(t.Context(), []string{"REDIS_URL=nonsense"}, "--version")
	if want := "enqueue version " + version.Long() + "\n"; code != exitDone || out != want || errs != "" {
		t.Errorf("exit status %d, %q, %q; want %q", code, out, errs, want)
	}
}
