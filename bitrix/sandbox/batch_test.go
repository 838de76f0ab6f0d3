package sandbox

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// batched is the result of a batch.
type batched struct {
	Result json.RawMessage `json:"result"`
	Errors json.RawMessage `json:"result_error"`
	Times  json.RawMessage `json:"result_time"`
	Total  json.RawMessage `json:"result_total"`
}

func (v *visitor) batch(body string) batched {
	v.t.Helper()
	var b batched
	if err := json.Unmarshal(v.works("batch", body, "").Result, &b); err != nil {
		v.t.Fatal(err)
	}
	return b
}

func TestBatchAnswersByKey(t *testing.T) {
	v := visit(t, Portal{})
	b := v.batch(batch(0, "k2", command("a"), "k1", command("b", "CODE", ""), "k3", "nothing", "k4", "batch?x=y", "k5", command("A")))
	if got := string(b.Result); got != `{"k2":39,"k5":"39"}` {
		t.Errorf("result %s", got)
	}
	want := `{"k1":{"error":"CODE_ERROR","error_description":"Bot code isn\u0027t specified"},` +
		`"k3":{"error":"ERROR_METHOD_NOT_FOUND","error_description":"Method not found!"},` +
		`"k4":{"error":"ERROR_BATCH_METHOD_NOT_ALLOWED","error_description":"Method is not allowed for batch usage"}}`
	if got := string(b.Errors); got != want {
		t.Errorf("result_error %s", got)
	}
	if got := string(b.Times); !strings.HasPrefix(got, `{"k2":{"start":`) || strings.Contains(got, "k1") {
		t.Errorf("result_time %s", got)
	}
}

func TestBatchEmptyMapsAreLists(t *testing.T) {
	v := visit(t, Portal{})
	for _, body := range []string{`{}`, `{"cmd":[]}`, `{"cmd":{}}`, `{"cmd":"x"}`, batch(0), `{"cmd":{"a":5,"b":{"x":1},"c":null}}`} {
		b := v.batch(body)
		if string(b.Result) != "[]" || string(b.Errors) != "[]" || string(b.Times) != "[]" || string(b.Total) != "[]" {
			t.Errorf("%s: %+v", body, b)
		}
	}
	// A list of commands, of which some are no strings.
	b := v.batch(`{"cmd":["profile",7,"scope"]}`)
	if got := string(b.Result); !strings.HasPrefix(got, `{"0":`) || !strings.Contains(got, `"2":[`) || strings.Contains(got, `"1":`) {
		t.Errorf("list: %s", got)
	}
}

func TestBatchHalt(t *testing.T) {
	for halt, want := range map[string]string{"1": `{"a":39,"n":"39"}`, "true": `{"a":39,"n":"39"}`, "0": `{"a":39,"n":"39","c":40}`, `"0"`: `{"a":39,"n":"39","c":40}`, `""`: `{"a":39,"n":"39","c":40}`, "false": `{"a":39,"n":"39","c":40}`} {
		v := visit(t, Portal{})
		body := strings.Replace(batch(0, "a", command("a"), "n", command("A"), "b", "nothing", "c", command("c")), `"halt":0`, `"halt":`+halt, 1)
		if got := string(v.batch(body).Result); got != want {
			t.Errorf("halt %s: %s", halt, got)
		}
	}
}

func TestBatchOfMoreThanFifty(t *testing.T) {
	var pairs []string
	for i := range 52 {
		pairs = append(pairs, fmt.Sprint("k", i), command(fmt.Sprint("bot", i)))
	}
	documented := visit(t, Portal{})
	documented.fails("batch", batch(0, pairs...), 400, "ERROR_BATCH_LENGTH_EXCEEDED", "")
	published := visit(t, Portal{Dialect: Published})
	b := published.batch(batch(0, pairs...))
	if n := len(published.st.Bots()); n != 50 {
		t.Errorf("%d bots", n)
	}
	if got := string(b.Errors); !strings.Contains(got, `"k50":{"error":"ERROR_BATCH_LENGTH_EXCEEDED"`) || !strings.Contains(got, `"k51"`) {
		t.Errorf("result_error %s", got)
	}
	documented.works("batch", batch(0, pairs[:100]...), "")
	if n := len(documented.st.Bots()); n != 50 {
		t.Errorf("%d bots", n)
	}
}

func TestBatchReferences(t *testing.T) {
	v := visit(t, Portal{})
	v.batch(batch(0,
		"a", command("a"),
		"b", command("b$result[a]", "PROPERTIES[NAME]", "costs $result[none] or $result"),
		"list", "imbot.bot.list",
		"c", command("c", "PROPERTIES[NAME]", "like $result[list][39][CODE]!", "PROPERTIES[LAST_NAME]", "$result[list]")))
	bots := v.st.Bots()
	if len(bots) != 3 || bots[1].Code != "b39" || bots[1].Name != "costs  or $result" || bots[2].Name != "like a!" || bots[2].LastName != "" {
		t.Errorf("stored %+v", bots)
	}
}

func TestBatchSignsInForItsCommands(t *testing.T) {
	v := visit(t, Portal{Tokens: []Token{{Value: "tok", App: "local.1"}, {Value: "crm", App: "local.2", Scopes: []string{"crm"}}}})
	body := strings.Replace(batch(0, "a", command("a", "auth", "nonsense")), "{", `{"auth":"tok",`, 1)
	if a := v.send("/rest/batch", body); a.status != 200 || len(v.st.Bots()) != 1 || v.st.Bots()[0].App != "local.1" {
		t.Errorf("%s %+v", a.raw, v.st.Bots())
	}
	body = strings.Replace(batch(0, "a", command("a")), "{", `{"auth":"crm",`, 1)
	if a := v.send("/rest/batch", body); a.status != 200 || !strings.Contains(a.raw, `"result_error":{"a":{"error":"insufficient_scope"`) {
		t.Error(a.raw)
	}
	if a := v.send("/rest/batch", batch(0, "a", command("a"))); a.Error != "NO_AUTH_FOUND" {
		t.Error(a.raw)
	}
}

func TestBatchIsOneRequest(t *testing.T) {
	clk := newClock()
	v := visit(t, Portal{Rate: 1, Burst: 2}, WithClock(clk.now))
	for i := range 2 {
		v.batch(batch(0, "a", command(fmt.Sprint("a", i)), "b", command(fmt.Sprint("b", i)), "c", command(fmt.Sprint("c", i))))
	}
	v.fails("batch", batch(0, "a", command("x")), 503, "QUERY_LIMIT_EXCEEDED", "Too many requests")
	if s := v.st.Stats(); s.Batches != 3 || s.Requests != 3 || s.Methods["imbot.register"] != 6 || s.BotsCreated != 6 {
		t.Errorf("%+v", s)
	}
	if r := v.st.Requests(); len(r) != 3 || r[0].Commands != 3 || r[0].Credential != "webhook of user 1" || r[2].Code != "QUERY_LIMIT_EXCEEDED" {
		t.Errorf("%+v", r)
	}
}

func TestBatchDiesMidway(t *testing.T) {
	for name, f := range map[string]Fault{
		"reset": {Kind: DieMidway, Commands: 2, Count: 1},
		"page":  {Kind: DieMidway, Commands: 2, Count: 1, Status: 504},
	} {
		t.Run(name, func(t *testing.T) {
			v := visit(t, Portal{Faults: []Fault{f}})
			v.works("profile", "", "") // not a batch: not struck
			a, err := v.try(t.Context(), hook+"batch", "application/json", batch(0, "a", command("a"), "b", command("b"), "c", command("c")))
			if f.Status == 0 && err == nil || f.Status != 0 && a.status != f.Status {
				t.Errorf("%v %d %s", err, a.status, a.raw)
			}
			if n := len(v.st.Bots()); n != 2 {
				t.Errorf("%d bots stand", n)
			}
		})
	}
	// Left to the seed, at least one command runs and at least one does not.
	v := visit(t, Portal{Faults: []Fault{{Kind: DieMidway, Status: 502}}})
	for i := range 20 {
		before := len(v.st.Bots())
		v.call("batch", batch(0, "a", command(fmt.Sprint("a", i)), "b", command(fmt.Sprint("b", i)), "c", command(fmt.Sprint("c", i))))
		if ran := len(v.st.Bots()) - before; ran < 1 || ran > 2 {
			t.Errorf("batch %d: %d of 3 ran", i, ran)
		}
	}
}

func TestBatchTakesItsCommandsTimeTogether(t *testing.T) {
	v := visit(t, Portal{ServiceTime: 20 * time.Millisecond})
	start := time.Now()
	v.batch(batch(0, "a", command("a"), "b", command("b"), "c", command("c")))
	if took := time.Since(start); took < 60*time.Millisecond {
		t.Errorf("took %v", took)
	}
}
