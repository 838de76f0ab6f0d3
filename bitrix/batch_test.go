// Batches: what is sent, and what is made of an answer.

package bitrix

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func bots(n int) []*Bot {
	list := make([]*Bot, n)
	for i := range list {
		list[i] = goodBot()
		list[i].Code = fmt.Sprintf("bot%d", i)
	}
	return list
}

func TestRegisterBatch(t *testing.T) {
	var sent struct {
		Halt *int              `json:"halt"`
		Cmd  map[string]string `json:"cmd"`
		Auth string            `json:"auth"`
	}
	a := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &sent); err != nil || !strings.HasSuffix(r.URL.Path, "/batch") {
			t.Errorf("%s %s", r.URL.Path, body)
		}
		_, _ = io.WriteString(w, `{"result":{"result":{"r00":39,"r01":"40","r04":null},
			"result_error":{"r02":{"error":"NAME_ERROR","error_description":"Bot name isn\u0027t specified"},"r05":"STRANGE"},
			"result_time":{"r00":{"operating":0.5},"r02":[]},"result_total":[],"result_next":[]},"time":{"duration":1}}`)
	})
	list := bots(6)
	list[1].Properties.Name = "Имя & + %=[1]"
	got, err := local(t, nil).RegisterBatch(t.Context(), a, list)
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, row := range got.Rows {
		line := fmt.Sprint(row.Ran, row.Registered.BotID, row.Registered.Existed)
		if row.Err != nil {
			line += fmt.Sprint(" ", row.Err.Class, " ", row.Err.Code, " ", row.Err.Method)
		}
		shown = append(shown, line)
	}
	want := []string{"true 39 false", "true 40 true", "true 0 false validation NAME_ERROR imbot.register", "false 0 false",
		"true 0 false ambiguous UNEXPECTED_RESULT imbot.register", "true 0 false validation STRANGE imbot.register"}
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Error(diff)
	}
	if got.Time.Duration != time.Second || got.Rows[0].Time.Operating != time.Second/2 || got.Rows[0].Registered.Time != got.Rows[0].Time {
		t.Errorf("times: %+v", got)
	}
	if sent.Halt == nil || *sent.Halt != 0 || len(sent.Cmd) != 6 || sent.Auth != "" {
		t.Errorf("sent %+v", sent)
	}
	method, query, _ := strings.Cut(sent.Cmd["r01"], "?")
	values, err := url.ParseQuery(query)
	if err != nil || method != "imbot.register" || values.Get("CODE") != "bot1" || values.Get("PROPERTIES[NAME]") != "Имя & + %=[1]" {
		t.Errorf("command %s: %v", sent.Cmd["r01"], err)
	}
	if !strings.Contains(sent.Cmd["r00"], "PROPERTIES%5BNAME%5D=Helper") {
		t.Error(sent.Cmd["r00"])
	}
}

func TestBatchAnswers(t *testing.T) {
	tests := []struct {
		body, class, code string
		ran               int
	}{
		{`{"result":{"result":[],"result_error":[],"result_time":[]}}`, "", "", 0},
		{`{"result":{"result":{"r00":1,"r01":2},"result_error":[]}}`, "", "", 2},
		{`{"result":{"result":[1,2]}}`, "", "", 0},
		{`{"result":{"result":null,"result_error":{"r01":{"error":"X"}}}}`, "", "", 1},
		{`{"result":[]}`, "", "", 0},
		{`{"result":{}}`, "", "", 0},
		{`{"result":false}`, "ambiguous", CodeUnexpectedResult, 0},
		{`{"result":{"result":"x"}}`, "ambiguous", CodeUnexpectedResult, 0},
		{`{"error":"QUERY_LIMIT_EXCEEDED"}`, "limit", "QUERY_LIMIT_EXCEEDED", 0},
		{`{"result":{"result":{"r00":1`, "ambiguous", CodeTruncated, 0},
	}
	for _, tt := range tests {
		got, err := local(t, nil).RegisterBatch(t.Context(), serve(t, text(200, tt.body)), bots(2))
		if tt.class != "" {
			if e := mustError(t, err); string(e.Class) != tt.class || e.Code != tt.code || e.Method != "batch" {
				t.Errorf("%s: %+v", tt.body, e)
			}
			continue
		}
		ran := 0
		for _, row := range got.Rows {
			if row.Ran {
				ran++
			}
		}
		if err != nil || len(got.Rows) != 2 || ran != tt.ran {
			t.Errorf("%s: %+v, %v", tt.body, got, err)
		}
	}
}

func TestBatchLimits(t *testing.T) {
	a := mustWebhook(t, "https://acme.bitrix24.ru/rest/1/"+testSecret)
	never := roundTrip(func(*http.Request) (*http.Response, error) { t.Error("called"); return nil, io.EOF })
	c := NewClient(Config{Transport: never})
	if _, err := c.RegisterBatch(t.Context(), a, bots(51)); mustError(t, err).Code != CodeBadCall {
		t.Error(err)
	}
	if _, _, err := c.Batch(t.Context(), a, []Command{{Method: "x?CODE=1&"}}); mustError(t, err).Code != CodeBadCall {
		t.Error(err)
	}
	if got, err := c.RegisterBatch(t.Context(), a, nil); err != nil || len(got.Rows) != 0 {
		t.Error(got, err)
	}
	for i := 1; i < MaxBatch; i++ {
		if BatchKey(i-1) >= BatchKey(i) {
			t.Errorf("keys are not in order at %d", i)
		}
	}
}

func TestCanBatch(t *testing.T) {
	b := goodBot()
	b.Properties.WorkPosition = "costs $5, $res[ult] and $$result"
	if !CanBatch(b) {
		t.Error("a plain bot cannot travel in a batch")
	}
	b.Properties.WorkPosition = "see $$result[0]"
	if CanBatch(b) {
		t.Error("a reference travels in a batch")
	}
	b.Properties.WorkPosition = ""
	b.Properties.PersonalPhoto = strings.Repeat("A", 250<<10)
	if !CanBatch(b) {
		t.Error("250 KB cannot travel in a batch")
	}
	b.Properties.PersonalPhoto = strings.Repeat("+", 100<<10)
	if CanBatch(b) {
		t.Error("300 KB once encoded travels in a batch")
	}
}

// TestCanBatchCountsEncoded: the estimate is exact but for the separators.
func TestCanBatchCountsEncoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		if got, want := escapedLen(s), len(url.QueryEscape(s)); got != want {
			t.Fatalf("escapedLen(%q) = %d, want %d", s, got, want)
		}
	})
}

// TestCommandRoundTrip: whatever a bot holds comes out of PHP's bracket form again.
func TestCommandRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := Bot{Code: rapid.String().Draw(t, "code"), EventHandler: rapid.String().Draw(t, "handler"),
			Properties: Properties{Name: rapid.String().Draw(t, "name")}}
		for _, text := range []string{RegisterCommand(&b).text(), registerText(&b)} {
			_, query, _ := strings.Cut(text, "?")
			values, err := url.ParseQuery(query)
			if err != nil || values.Get("CODE") != b.Code || values.Get("EVENT_HANDLER") != b.EventHandler || values.Get("PROPERTIES[NAME]") != b.Properties.Name {
				t.Fatalf("%q: %v", query, err)
			}
			if quoted, err := json.Marshal(strings.ReplaceAll(text, "&", "")); err != nil || len(quoted) != len(text)-strings.Count(text, "&")+2 {
				t.Fatalf("%q is not quoted as it is: %s", text, quoted)
			}
		}
	})
}

func FuzzBatchAnswer(f *testing.F) {
	f.Add([]byte(`{"result":{"result":{"r00":39,"r01":"40"},"result_error":[],"result_time":{"r00":{"operating":1}}}}`))
	f.Add([]byte(`{"result":{"result":[],"result_error":{"r01":{"error":500}},"result_time":[]}}`))
	f.Add([]byte(`{"result":[[1]]}`))
	a, err := NewOAuth("acme.bitrix24.ru", testSecret)
	if err != nil {
		f.Fatal(err)
	}
	lines := []line{{MethodRegister, ""}, {MethodRegister, ""}}
	f.Fuzz(func(t *testing.T, body []byte) {
		answers, ok := parseBatch(a, body, lines)
		if !ok {
			return
		}
		for _, ans := range answers {
			row := registeredRow(a, ans)
			if !row.Ran && (row.Err != nil || row.Registered.BotID != 0) || row.Ran && (row.Err == nil) != (row.Registered.BotID > 0) {
				t.Errorf("contradiction: %+v", row)
			}
		}
	})
}
