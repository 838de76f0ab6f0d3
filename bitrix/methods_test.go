// Lists, updates and the form in which commands travel.

package bitrix

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBots(t *testing.T) {
	tests := []struct {
		result string
		want   []ListedBot
		bad    bool
	}{
		{`[]`, []ListedBot{}, false},
		{`{"7":{"ID":"7","NAME":"B","CODE":"b","OPENLINE":"N"},"3":{"ID":3,"NAME":null,"CODE":"A","OPENLINE":"Y"}}`,
			[]ListedBot{{3, "", "A", true}, {7, "B", "b", false}}, false},
		{`[{"ID":"1","CODE":"x"}]`, []ListedBot{{1, "", "x", false}}, false},
		{`{"9":{"CODE":"x"},"x":{"CODE":"y"},"10":null,"11":"z"}`, []ListedBot{{9, "", "x", false}, {10, "", "", false}}, false},
		{`false`, nil, true},
		{`"x"`, nil, true},
	}
	for _, tt := range tests {
		var sent string
		a := serve(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			sent = r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:] + string(body)
			_, _ = io.WriteString(w, `{"result":`+tt.result+`}`)
		})
		got, _, err := local(t, nil).Bots(t.Context(), a, "app")
		if (err != nil) != tt.bad || !cmp.Equal(got, tt.want) || sent != `imbot.bot.list{"CLIENT_ID":"app"}` {
			t.Errorf("%s: %+v, %v; sent %s", tt.result, got, err, sent)
		}
	}
}

func TestUpdate(t *testing.T) {
	const want = `{"BOT_ID":39,"CLIENT_ID":"app1","FIELDS":{"CODE":"helper","EVENT_HANDLER":"https://bots.example.com/events","PROPERTIES":{"NAME":"X"}}}`
	for result, ok := range map[string]bool{"true": true, `"1"`: true, "false": false, "null": false} {
		var sent []byte
		a := serve(t, func(w http.ResponseWriter, r *http.Request) {
			sent, _ = io.ReadAll(r.Body)
			_, _ = io.WriteString(w, `{"result":`+result+`,"time":{"operating":"1.5"}}`)
		})
		b := goodBot()
		b.Properties = Properties{Name: "X"}
		cost, err := local(t, nil).Update(t.Context(), a, 39, b)
		if (err == nil) != ok || string(sent) != want || ok && cost.Operating != 1500*time.Millisecond {
			t.Errorf("%s: %v, %v; sent %s", result, cost, err, sent)
		}
	}
}

func TestFormEncoding(t *testing.T) {
	values, err := url.ParseQuery(strings.TrimPrefix(UpdateCommand("$result[r00]", goodBot()).text(), "imbot.update?"))
	if err != nil || values.Get("FIELDS[PROPERTIES][NAME]") != "Helper" || values.Get("FIELDS[CODE]") != "helper" ||
		values.Get("BOT_ID") != "$result[r00]" || values.Get("CLIENT_ID") != "app1" || values.Has("FIELDS[TYPE]") {
		t.Error(values, err)
	}
}
