package portals_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/ratelimit"
)

// planted is the secret of the files below; no error may show it.
const planted = "plantedSECRET99"

func endpoints(tb testing.TB, allow string) bitrix.Endpoints {
	tb.Helper()
	e, err := bitrix.ParseEndpoints(allow)
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

func read(tb testing.TB, format portals.Format, text string) ([]portals.Entry, error) {
	tb.Helper()
	return portals.Read(strings.NewReader(text), format, "p."+string(format), endpoints(tb, ""))
}

const hook = "https://acme.bitrix24.ru/rest/1/" + planted + "/"

func TestReadGivesTheSameFromEveryFormat(t *testing.T) {
	csv := "portal,webhook,client_id,plan,rate,burst,headroom,operating_limit,operating_window,server_timeout,access_token\n" +
		"acme.bitrix24.ru," + hook + ",app,enterprise,1.5,7,0.25,0,1,0.1,\n" +
		"globex.bitrix24.com,,,,,,,,,,t0ken\n"
	first := `{"portal":"ACME.bitrix24.ru:443","webhook":"` + hook + `","Client_ID":"app","plan":"Enterprise","rate":1.5,"burst":"7","headroom":0.25,"operating_limit":0,"operating_window":1,"server_timeout":0.1}`
	second := `{"portal":"globex.bitrix24.com","access_token":"t0ken","plan":null}`
	for name, in := range map[string]struct {
		format portals.Format
		text   string
	}{
		"csv":           {portals.CSV, csv},
		"bom and crlf":  {portals.CSV, "\ufeff" + strings.ReplaceAll(csv, "\n", "\r\n")},
		"semicolons":    {portals.CSV, strings.ReplaceAll(csv, ",", ";")},
		"tabs":          {portals.CSV, strings.ReplaceAll(csv, ",", "\t")},
		"quotes":        {portals.CSV, `"` + strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(csv), ",", `","`), "\n", "\"\n\"") + `"`},
		"upper header":  {portals.CSV, strings.ToUpper(csv[:40]) + csv[40:]},
		"empty rows":    {portals.CSV, csv + ",,,,,,,,,,\n\n"},
		"lines":         {portals.JSONLines, first + "\n\n" + second + "\r\n"},
		"array":         {portals.JSON, "[" + first + ",\n" + second + "]\n"},
		"array as line": {portals.JSONLines, "\ufeff [" + first + "," + second + "]"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := read(t, in.format, in.text)
			if err != nil || len(got) != 2 {
				t.Fatalf("%d entries, %v", len(got), err)
			}
			a, g := got[0], got[1]
			want := ratelimit.Limits{Rate: 1.5, Burst: 7, Headroom: 0.25, Operating: 0, OperatingWindow: time.Second}
			url, _ := a.Access.Reveal()
			if a.Name != "acme.bitrix24.ru" || url != hook || a.ClientID != "app" || a.Plan != portals.Enterprise ||
				a.Limits != want || a.ServerTimeout != 100*time.Millisecond {
				t.Errorf("got %+v", a)
			}
			if _, token := g.Access.Reveal(); token != "t0ken" || g.Plan != portals.Standard ||
				g.Limits != portals.PlanLimits(portals.Standard) || g.ServerTimeout != time.Minute {
				t.Errorf("got %+v", g)
			}
		})
	}
}

// What is missing is said in the file's own words.
func TestReadOfTokensWithoutWebhooks(t *testing.T) {
	for text, want := range map[string]string{
		"portal,access_token\nacme.bitrix24.ru,\n":                "access_token: is missing; give access_token, and refresh_token",
		"portal,access_token,refresh_token\nacme.bitrix24.ru,,\n": "access_token: is missing",
		"portal,access_token,webhook\nacme.bitrix24.ru,,\n":       "webhook: is missing; give the webhook's URL, or access_token",
		"portal,access_token\nacme.bitrix24.ru,t0ken\n":           "",
	} {
		_, err := read(t, portals.CSV, text)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestReadNamesEveryProblem(t *testing.T) {
	const head = "portal,webhook,access_token,refresh_token,client_endpoint,client_id,plan,rate,burst,headroom,operating_limit,operating_window,server_timeout\n"
	row := func(set string) string { // portal=…;field=…: a good row but for these
		values := map[string]string{"portal": "acme.bitrix24.ru", "webhook": hook}
		for kv := range strings.SplitSeq(set, ";") {
			k, v, _ := strings.Cut(kv, "=")
			values[k] = v
		}
		var cells []string
		for c := range strings.SplitSeq(strings.TrimSpace(head), ",") {
			cells = append(cells, `"`+values[c]+`"`)
		}
		return head + strings.Join(cells, ",") + "\n"
	}
	long := strings.Repeat("x", 300)
	for _, tt := range []struct{ set, want string }{
		{"portal=", "p.csv:2: portal: is missing"},
		{"portal=https://acme.bitrix24.ru/", "portal: is not a host but a URL; write only its host: acme.bitrix24.ru"},
		{"portal=" + hook, "is not a host but a URL; write only its host: acme.bitrix24.ru"},
		{"portal=acme.bitrix24.ru/" + planted, "write only its host: acme.bitrix24.ru"},
		{"portal=u:" + planted + "@acme.bitrix24.ru", "write it without user"},
		{"portal=пример.рф", "write the host's xn-- form"},
		{"portal=ac me.ru", "holds a space"},
		{"portal=acme..ru", "is not a host name"},
		{"portal=acme.bitrix24.ru:0", "has a port"},
		{"portal=other.bitrix24.ru", "webhook: is not on the portal other.bitrix24.ru but on acme.bitrix24.ru"},
		{"webhook=", "webhook: is missing; give the webhook's URL, or access_token"},
		{"webhook=htps://acme.bitrix24.ru/rest/1/" + planted, "webhook: must begin with https://"},
		{"webhook=https://acme.bitrix24.ru/1/" + planted, "webhook: has no /rest/"},
		{"access_token=" + planted, "webhook: is given beside OAuth tokens"},
		{"webhook=;refresh_token=" + planted, "access_token: is missing"},
		{"webhook=;access_token=" + planted + " x", "access_token: holds a space"},
		{"webhook=;access_token=" + planted + ";client_endpoint=https://evil.example.com/rest/", "client_endpoint: is not on the portal acme.bitrix24.ru but on evil.example.com"},
		{"webhook=;access_token=" + planted + ";client_endpoint=" + hook, "client_endpoint: must end in /rest/"},
		{"webhook=;access_token=" + planted + ";client_id=x", "client_id: is for webhooks"},
		{"client_id=a b", "client_id: holds a space"},
		{"client_id=" + long, "client_id: is longer than 200 bytes"},
		{"plan=enterprize", `plan: "enterprize" is not one of standard, enterprise`},
		{"plan=" + planted, "plan: the value given is not one of"},
		{"rate=0", "rate: must be a number of requests a second from 0.01 to 10000"},
		{"rate=0.009", "rate: must be"}, {"rate=0.05;headroom=0.9", "headroom: 0.9 of 0.05 requests a second leaves fewer than 0.01"},
		{"rate=-2", "rate: must be"}, {"rate=10001", "rate: must be"}, {"rate=1e309", "rate: "}, {"rate=fast", `rate: "fast" is not a number`},
		{"rate=NaN", `rate: "NaN" is not a number`}, {"rate=Inf", "is not a number"}, {"rate=0x10", "is not a number"}, {"rate=0,5", "with a point, not a comma"},
		{"rate=" + planted, "rate: the value given is not a number"},
		{"burst=0", "burst: must be a whole number"}, {"burst=1.5", "burst: must be a whole"}, {"burst=1e300", "burst: must be"}, {"burst=-1", "burst: must be"},
		{"headroom=1", "headroom: must be a share from 0 to below 1"}, {"headroom=-0.1", "headroom: must"},
		{"burst=2;headroom=0.9", "headroom: 0.9 of a burst of 2 leaves no whole request"},
		{"operating_limit=-1", "operating_limit: must"}, {"operating_limit=1e300", "operating_limit: must"},
		{"operating_window=0.5", "operating_window: must be a number of seconds from 1"}, {"operating_window=1e18", "operating_window: must"},
		{"operating_limit=641;operating_window=10", "operating_limit: of 10m41s cannot be used up in operating_window of 10s, not by 64 requests at once"},
		{"operating_window=7", "operating_limit: of 8m0s cannot be used up in operating_window of 7s"},
		{"operating_limit=0.0004", "operating_limit: must be 0 (the portal counts none) or a number of seconds from 0.01"}, {"operating_limit=0.009", "operating_limit: must"},
		{"server_timeout=0", "server_timeout: must be a number of seconds from 0.1 to 3600"}, {"server_timeout=3601", "server_timeout: must"},
	} {
		_, err := read(t, portals.CSV, row(tt.set))
		var refused *portals.FileError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.set, err, tt.want)
			continue
		}
		if len(refused.Problems) != 1 || strings.Contains(err.Error(), planted) {
			t.Errorf("%s: %d problems, or the secret shows: %v", tt.set, len(refused.Problems), err)
		}
	}
}

// What is possible is taken, and said where it can hardly be meant.
func TestStrangeLimitsAreSaid(t *testing.T) {
	for _, tt := range []struct {
		limits string // rate,burst,headroom,operating_limit,operating_window
		want   []string
	}{
		{",,,,", nil}, {"5,250,0.5,0,600", nil}, {"50,10,,48,60", nil},
		{"101,,,,", []string{"p.csv:2: rate: 101 requests a second are far more than any Bitrix24 plan allows"}},
		{"0.05,,,,", []string{"p.csv:2: rate: leaves one request in 20 s"}},
		{",,0.95,,", []string{"p.csv:2: headroom: 0.95 leaves 0.1 requests a second"}},
		{",1,,,", []string{"p.csv:2: burst: of one request"}},
		{",,,601,", []string{"p.csv:2: operating_limit: of 10m1s is more than operating_window of 10m0s"}},
		{",,,5,", []string{"p.csv:2: operating_limit: of 5s is less than a hundredth of operating_window of 10m0s"}},
	} {
		got, err := read(t, portals.CSV, "portal,webhook,rate,burst,headroom,operating_limit,operating_window\nacme.bitrix24.ru,"+hook+","+tt.limits+"\n")
		if err != nil {
			t.Errorf("%s: %v", tt.limits, err)
			continue
		}
		strange := portals.Strange(got)
		if len(strange) != len(tt.want) {
			t.Errorf("%s: %v", tt.limits, strange)
			continue
		}
		for i, p := range strange {
			if !strings.HasPrefix(p.String(), tt.want[i]) {
				t.Errorf("%s: %q, want %q", tt.limits, p, tt.want[i])
			}
		}
	}
}

// A token that nobody can renew is taken, and said.
func TestAnAccessTokenAloneIsSaid(t *testing.T) {
	const both = "portal,access_token,refresh_token,client_endpoint,member_id\nacme.bitrix24.ru,%s,%s,https://acme.bitrix24.ru/rest/,a223c6b3710f85df22e9377d6c4f7553\n"
	for refresh, want := range map[string]string{"": "p.csv:2: refresh_token: is missing", "a-refresh-token": ""} {
		got, err := read(t, portals.CSV, fmt.Sprintf(both, "an-access-token", refresh))
		if err != nil {
			t.Fatal(err)
		}
		switch strange := portals.Strange(got); {
		case want == "" && len(strange) > 0, want != "" && len(strange) != 1:
			t.Errorf("refresh token %q: %v", refresh, strange)
		case want != "" && !strings.HasPrefix(strange[0].String(), want):
			t.Errorf("%q, want %q", strange[0], want)
		}
	}
}

func TestReadRefusesFilesAsAWhole(t *testing.T) {
	good := `{"portal":"acme.bitrix24.ru","webhook":"` + hook + `"}`
	utf16 := "\xff\xfep\x00o\x00"
	for _, tt := range []struct {
		format     portals.Format
		text, want string
	}{
		{portals.CSV, "", "p.csv: is empty"},
		{portals.CSV, " \r\n\n", "p.csv: is empty"},
		{portals.CSV, "portal,webhook\n", "p.csv: holds no portal"},
		{portals.CSV, utf16, "p.csv: is UTF-16"},
		{portals.CSV, "p\x00o\x00", "is UTF-16"},
		{portals.CSV, "portal,webhook\na\xffb,c\n", "p.csv:2: is not UTF-8"},
		{portals.CSV, "webhook,plan\nx,y\n", "p.csv:1: has no column portal"},
		{portals.CSV, "portal,webhok\n", `p.csv:1: column 2: "webhok" is not known; did you mean webhook?`},
		{portals.CSV, "portal,webhook,Portal\n", "column 3: portal is column 1 already"},
		{portals.CSV, "acme.bitrix24.ru," + hook + "\n", "p.csv:1: is not a header"},
		{portals.CSV, "portal," + hook + "\n", "column 2: a name is not known"},
		{portals.CSV, "portal,webhook\nacme.bitrix24.ru\n", "p.csv:2: has 1 values, the header 2"},
		{portals.CSV, "portal,webhook\nacme.bitrix24.ru,x\"" + hook + "\n", "p.csv:2: has a stray quote"},
		{portals.CSV, "portal,webhook\nacme.bitrix24.ru,\"" + hook + "\n\n", "p.csv:2: has a quote that is not closed"},
		{portals.CSV, good, "is not CSV but JSON"},
		{portals.JSONLines, good + "\n{\"portal\":\n" + good, "p.jsonl:2: is not JSON: it ends in the middle"},
		{portals.JSONLines, good + "\n" + good, "p.jsonl:2: portal: is the same as in line 1"},
		{portals.JSONLines, strings.ReplaceAll(good, "acme", "Acme") + "\n" + good, "p.jsonl:2: portal: is the same as in line 1"},
		{portals.JSONLines, good + good, "p.jsonl:1: has something after the object"},
		{portals.JSONLines, "7\n", "p.jsonl:1: is not a JSON object"},
		{portals.JSONLines, `{"portal":"a.b","portal":"c.d"}`, "portal: is given twice"},
		{portals.JSONLines, `{"portal":["a.b"]}`, "portal: must be a string or a number"},
		{portals.JSONLines, `{"portal":true}`, "portal: must be a string or a number"},
		{portals.JSONLines, `{"webhuk":"x"}`, `the key "webhuk" is not known; did you mean webhook?`},
		{portals.JSONLines, `{"` + hook + `":"x"}`, "the key a name is not known"},
		{portals.JSONLines, "{'" + planted + "':1}", "is not JSON: invalid character"},
		{portals.JSON, good, "is not a JSON array"},
		{portals.JSON, "[\n" + good + ",\n" + good + "\n]", "p.json:3: portal: is the same as in line 2"},
		{portals.JSON, "[" + good, "ends inside the array"},
		{portals.JSON, "[" + good + "]x", "has something after the array"},
		{portals.JSON, "[" + good + ",]", "p.json:1: is not"},
		{portals.JSON, "[]", "holds no portal"},
	} {
		_, err := read(t, tt.format, tt.text)
		var refused *portals.FileError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.60q: got %v, want %q", tt.text, err, tt.want)
		} else if strings.Contains(err.Error(), planted) {
			t.Errorf("%.60q: the secret shows: %v", tt.text, err)
		}
	}
}

func TestFileErrorIsCutWhenPrinted(t *testing.T) {
	text := "portal,webhook\n" + strings.Repeat("acme.bitrix24.ru,x\n", 30)
	_, err := read(t, portals.CSV, text)
	var refused *portals.FileError
	if !errors.As(err, &refused) {
		t.Fatal(err)
	}
	lines := strings.Split(err.Error(), "\n")
	if len(refused.Problems) != 59 || len(lines) != 21 || lines[20] != "… and 39 more" {
		t.Errorf("%d problems, %d lines, the last %q", len(refused.Problems), len(lines), lines[len(lines)-1])
	}
}

func TestEndpointRulesApply(t *testing.T) {
	text := `{"portal":"127.0.0.1:8080","webhook":"http://127.0.0.1:8080/rest/1/` + planted + `/"}`
	if _, err := read(t, portals.JSONLines, text); err == nil || !strings.Contains(err.Error(), "p.jsonl:1: portal: 127.0.0.1") {
		t.Errorf("err = %v", err)
	}
	got, err := portals.Read(strings.NewReader(text), portals.JSONLines, "x", endpoints(t, "true"))
	if err != nil || got[0].Name != "127.0.0.1:8080" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := `{"portal":"acme.bitrix24.ru","webhook":"` + hook + `"}`
	for _, path := range []string{put("a.jsonl", good), put("b.NDJSON", good), put("c.json", "["+good+"]"), put("d.csv", "portal,webhook\nacme.bitrix24.ru,"+hook)} {
		if got, err := portals.ReadFile(path, endpoints(t, "")); err != nil || len(got) != 1 || got[0].File != path {
			t.Errorf("%s: %v, %v", path, got, err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "e.csv"), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		put("x.txt", good):             "must end in .csv",
		filepath.Join(dir, "none.csv"): "no such file or directory",
		filepath.Join(dir, "e.csv"):    "is a directory",
	} {
		_, err := portals.ReadFile(path, endpoints(t, ""))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	good := `{"portal":"acme.bitrix24.ru","webhook":"` + hook + `","rate":1}`
	for _, s := range []string{good, "[" + good + "]", "portal;webhook\nacme.bitrix24.ru;" + hook, "\ufeffportal,\"webhook\"\r\na,b", "{", "[", `[{"portal":`, "a\"b", ""} {
		for i := range 3 {
			f.Add(i, s)
		}
	}
	rules, err := bitrix.ParseEndpoints("")
	if err != nil {
		f.Fatal(err)
	}
	formats := []portals.Format{portals.CSV, portals.JSONLines, portals.JSON}
	f.Fuzz(func(t *testing.T, format int, text string) {
		format = ((format % 3) + 3) % 3
		entries, err := portals.Read(strings.NewReader(text), formats[format], "f", rules)
		var refused *portals.FileError
		if err != nil && (!errors.As(err, &refused) || len(refused.Problems) == 0 || entries != nil) {
			t.Fatalf("%d entries, %v", len(entries), err)
		}
		if err != nil && strings.Contains(err.Error(), planted) && strings.Contains(text, planted) {
			t.Fatalf("the secret shows: %v", err)
		}
		if err == nil && len(entries) == 0 {
			t.Fatal("neither entries nor an error")
		}
		for _, e := range entries {
			if e.Name != e.Access.Host() || e.Limits.Rate <= 0 || e.ServerTimeout <= 0 {
				t.Fatalf("accepted %+v", e)
			}
			if strings.Contains(fmt.Sprintf("%+v", e), planted) && e.ClientID != planted && !strings.Contains(e.Name+e.MemberID+e.ClientID, planted) {
				t.Fatal("an entry prints its secret")
			}
		}
	})
}
