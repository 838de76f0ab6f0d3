// Rows that wait for new tokens, and rows that are refused on submission.

package command

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit/redistest"
	"botfleet/tasks"
)

// worked gives each queued row to answer once, and waits until n have failed.
func worked(t *testing.T, url string, queues []string, n int, answer func(p tasks.Payload) error) {
	t.Helper()
	opt, err := asynq.ParseRedisURI(url)
	if err != nil {
		t.Fatal(err)
	}
	each := map[string]int{}
	for _, q := range queues {
		each[q] = 1
	}
	server := asynq.NewServer(opt, asynq.Config{
		Queues: each, Concurrency: 4, LogLevel: asynq.FatalLevel, TaskCheckInterval: 100 * time.Millisecond,
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Hour },
		IsFailure:      func(error) bool { return false },
	})
	err = server.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		p, err := tasks.DecodePayload(task.Payload())
		if err != nil {
			return err
		}
		return answer(p)
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	inspector := asynq.NewInspector(opt)
	defer func() { _ = inspector.Close() }()
	for end := time.Now().Add(30 * time.Second); ; {
		failed := 0
		if _, err := putOff(t.Context(), inspector, queues, sampleTasks, func(*asynq.TaskInfo) { failed++ }); err != nil {
			t.Fatal(err)
		}
		if failed == n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d rows were put off", failed, n)
		}
		if err := pause(t.Context(), 50*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRowsThatWaitForTokensHaveNoEnd(t *testing.T) {
	x := newTrouble(t, "a.bitrix24.ru", "b.bitrix24.ru")
	x.said(x.doctor(), "ok,tokens,none of 0 rows that are put off waits for a new one")
	worked(t, x.url, x.queues, 6, func(p tasks.Payload) error {
		if p.Portal == "b.bitrix24.ru" {
			return errors.New("waits for its turn on the portal, until 2026-11-22T10:00:00Z")
		}
		return errors.New("waits for a new token: invalid_client: the authorization server refuses, until 2026-11-22T10:00:00Z")
	})
	x.said(x.doctor(), "wrong,tokens,3 of 6 rows that are put off wait for a new token: invalid_client: the authorization server refuses")
	table, s := x.status()
	if s.ETA == nil || s.ETARows != 3 || s.SignIn == nil || s.SignIn.Rows != 3 || s.SignIn.Portals != 1 {
		t.Errorf("%+v", s.etaStatus)
	}
	x.said(table, "when 3 rows of the other portals will be done is not known before some rows are: no limit binds",
		"3 rows of 1 portal wait for a new token: invalid_client: the authorization server refuses\n")
	b, err := x.registry.Find(t.Context(), "b.bitrix24.ru")
	if err != nil {
		t.Fatal(err)
	}
	if err := x.registry.Remove(t.Context(), b.ID); err != nil {
		t.Fatal(err)
	}
	table, s = x.status()
	if s.ETA != nil || s.ETARows != 0 || s.ETABinds != "sign-in" || !strings.Contains(table, "nobody knows when it will be done") || strings.Contains(table, "no limit binds") {
		t.Errorf("%+v\n%s", s.etaStatus, table)
	}
}

// A portal's newest word counts, and a token that is about to come keeps nothing.
func TestWhatPortalsWaitFor(t *testing.T) {
	w := &waits{tokens: map[string]string{}, others: map[string]bool{}}
	oauth := func(id string) *portals.Portal { return &portals.Portal{ID: id, Kind: portals.OAuth} }
	w.learn("a", "waits for a new token: invalid_client: no, until 10:00")
	w.learn("b", "waits for a new token: x: y, until 10:00")
	w.learn("b", "waits for its turn on the portal, until 10:00")
	w.learn("c", "waits for a new token: TOKEN_RENEWAL_PENDING: the access token is being renewed, until 10:00")
	hook, held := &portals.Portal{ID: "e", Kind: portals.Webhook}, &portals.Portal{ID: "a", Held: &portals.Hold{}}
	for _, sampled := range []bool{false, true} {
		w.sampled = sampled
		for p, want := range map[*portals.Portal]bool{oauth("a"): true, oauth("b"): false, oauth("c"): false, oauth("d"): sampled, hook: false, held: false} {
			if why, got := w.token(p); got != want || got && why != "invalid_client: no" {
				t.Errorf("sampled %v, %s: %q, %v", sampled, p.ID, why, got)
			}
		}
	}
	if got := mostOften(map[string]int{"x": 1, "y": 3, "z": 1}); got != "y (and 2 other reasons)" {
		t.Error(got)
	}
}

// Why a row is refused on submission is said, of the first 20.
func TestSubmitSaysWhyRowsAreRefused(t *testing.T) {
	server := redistest.Start(t)
	environ := []string{"REDIS_URL=" + server.URL, secretsKey}
	keys, err := portals.ParseKeys(strings.TrimPrefix(secretsKey, "SECRETS_KEY="))
	if err != nil {
		t.Fatal(err)
	}
	registry := portals.New(redistest.Client(t, server.URL), keys, portals.Options{})
	access, err := bitrix.NewOAuth("https://gone.bitrix24.ru/rest/", "t0ken")
	if err != nil {
		t.Fatal(err)
	}
	in := portals.Install{MemberID: "member", Access: access, Refresh: bitrix.NewSecret("r"), AppToken: bitrix.NewSecret("app")}
	if _, err := registry.Install(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if _, err := registry.Uninstall(t.Context(), "member", in.AppToken, time.Now()); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for i := range 25 {
		_, _ = fmt.Fprintf(&text, `{"portal":"gone.bitrix24.ru","CODE":"c%d","EVENT_HANDLER":"https://bots.example.com/e","PROPERTIES":{"NAME":"N"}}`+"\n", i)
	}
	file := write(t, "gone.jsonl", text.String())
	code, _, errs := command(t.Context(), environ, "submit", file)
	if code != exitUnfinished || strings.Count(errs, "(PORTAL_GONE)") != 20 || !strings.Contains(errs, "gone.jsonl:1: portal: gone.bitrix24.ru: ") ||
		!strings.Contains(errs, "… and 5 more reasons; enqueue results ") {
		t.Errorf("exit status %d: %s", code, errs)
	}
}
