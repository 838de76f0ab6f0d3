// The judgement finds what is wrong.

package main

import (
	"net/http"
	"strings"
	"testing"

	"botfleet/bitrix/sandbox"
)

// quiet is a court about one portal, one run of two rows, and a bot for each.
func quiet(t *testing.T) (*court, *submission, []result) {
	t.Helper()
	box := sandbox.Start(t, sandbox.WithPortals(sandbox.Unlimited("a.test")))
	w := &world{did: map[string]int{}, clicked: map[string][]click{}, box: box}
	w.places = []*place{{state: box.Portal("a.test"), names: []string{"a.test", "b.test"}}}
	s := &submission{run: "run", plan: &runPlan{wish: "keep", rows: []rowPlan{{code: "bot_1"}, {code: "bot_2", other: true}}}}
	c := &court{
		world: w, byName: map[string]int{"a.test": 0, "b.test": 0}, plans: map[string]*submission{"run": s},
		asked: map[string]map[string]bool{}, created: map[string][]string{}, tally: map[string]int{},
		bots: []map[int64]sandbox.Bot{{39: {ID: 39, Code: "bot_1", App: "custom" + ownClient}, 40: {ID: 40, Code: "Bot_2", App: "custom" + otherClient}}},
	}
	results := []result{
		{Row: 1, ID: "0/bot_1/1", Portal: "a.test", Code: "bot_1", Status: "registered", BotID: 39, How: "created", Attempts: 1},
		{Row: 2, ID: "0/bot_2/2", Portal: "b.test", Code: "bot_2", Status: "registered", BotID: 40, How: "recovered", Attempts: 2},
	}
	c.rows = map[string]map[int]result{"run": {1: results[0], 2: results[1]}}
	return c, s, results
}

func TestTrueOutcomesAreNoProblem(t *testing.T) {
	c, s, results := quiet(t)
	for i, r := range results {
		c.judgeRow(s, i+1, s.plan.rows[i], r)
	}
	c.judgePortals()
	if found := c.found(); len(found) > 0 {
		t.Error(found)
	}
	if c.tally["created"] != 1 || c.tally["recovered"] != 1 {
		t.Error(c.tally)
	}
}

func TestUntrueOutcomesAreFound(t *testing.T) {
	died := func(class, code string, attempts int) func(*result) {
		return func(r *result) {
			r.Status, r.How, r.BotID, r.Class, r.Error.Code, r.Attempts = "dead", "", 0, class, code, attempts
		}
	}
	for name, c := range map[string]struct {
		spoil func(*result)
		want  string
	}{
		"another row's":        {func(r *result) { r.ID = "0/bot_1/2" }, "another row's"},
		"another portal's":     {func(r *result) { r.Portal = "c.test" }, "another row's"},
		"no bot":               {func(r *result) { r.BotID = 41 }, "no such bot"},
		"another's bot":        {func(r *result) { r.BotID = 40 }, "the bot of that id"},
		"existed":              {func(r *result) { r.Existed = true }, "not created"},
		"not asked to update":  {func(r *result) { r.How = "updated" }, "not updated"},
		"unknown how":          {func(r *result) { r.How = "" }, "nobody knows how"},
		"attempts":             {func(r *result) { r.Attempts = maxAttempts + 1 }, "too many"},
		"refused":              {func(r *result) { r.Status = "refused" }, "was refused"},
		"waiting":              {func(r *result) { r.Status = "waiting" }, "its status is none"},
		"duplicate of nothing": {func(r *result) { r.Status = "duplicate" }, "names no row"},
		"dead too early":       {died("transient", "INTERNAL_SERVER_ERROR", 2), "attempts left"},
		"lost too early":       {died("ambiguous", "TIMEOUT", 2), "attempts left"},
		"dead, and stands":     {died("ambiguous", "ANSWER_LOST", maxAttempts), "its bot stands on the portal"},
		"nobody archived":      {died("operator", "TASK_ARCHIVED", 1), "nobody archived it"},
		"not blocked":          {died("blocked", "OVERLOAD_LIMIT", 1), "nothing was done that fits"},
		"no conflict":          {died("conflict", "APP_ID_ERROR", 1), "nothing was done that fits"},
	} {
		t.Run(name, func(t *testing.T) {
			court, s, results := quiet(t)
			r := results[0]
			c.spoil(&r)
			court.rows["run"][1] = r
			court.judgeRow(s, 1, s.plan.rows[0], r)
			found := strings.Join(court.found(), "\n")
			if !strings.Contains(found, c.want) {
				t.Errorf("%q; want %q", found, c.want)
			}
		})
	}
}

func TestResultsMustBeOnePerRow(t *testing.T) {
	c, s, _ := quiet(t)
	c.parse(s, `{"row":1,"status":"dead"}`+"\n"+`{"row":1,"status":"registered"}`+"\n"+`{"row":3,"status":"dead"}`+"\nx\n")
	found := strings.Join(c.found(), "\n")
	for _, want := range []string{"has two outcomes", "an outcome of row 3, of 2", "has no outcome", "cannot be read"} {
		if !strings.Contains(found, want) {
			t.Errorf("%q is not found in\n%s", want, found)
		}
	}
}

func TestAnOrphanBotIsFound(t *testing.T) {
	c, _, _ := quiet(t)
	c.judgePortals()
	if found := c.found(); len(found) != 2 || !strings.Contains(found[0], "for which nobody asked") {
		t.Error(found)
	}
}

// A call that is repeated with a new token counts as two requests: no portal may be
// asked too often for that.
func TestARefusalForTheRateIsFound(t *testing.T) {
	c, _, _ := quiet(t)
	limited := sandbox.Unlimited("c.test")
	limited.App, limited.Rate, limited.Burst = applicationID, 0.7, 1
	box := sandbox.Start(t, sandbox.WithApplication(applicationID, "s3cret"), sandbox.WithPortals(limited))
	state := box.Portal("c.test")
	token, _ := state.Pair()
	state.ExpireTokens()
	client := &http.Client{Transport: box.Transport()}
	for range 2 {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://c.test/rest/profile?auth="+string(token), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
	}
	if asked := state.Requests(); len(asked) != 2 || asked[0].Code != "expired_token" {
		t.Fatalf("%+v", asked)
	}
	c.judgeRules(0, &place{plan: portalPlan{oauth: true, limits: 1}, state: state})
	if found := c.found(); len(found) != 1 || !strings.Contains(found[0], string(sandbox.OverRate)) {
		t.Error(found)
	}
}
