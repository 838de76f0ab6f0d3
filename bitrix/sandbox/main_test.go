// What the tests share: a portal, and plain HTTP requests to it.

package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	host = "acme.bitrix24.ru"
	hook = "/rest/1/s3cret/"
	// patience bounds waits for events that come at once unless something is broken.
	patience = 20 * time.Second
)

// answer is what came back, raw and decoded.
type answer struct {
	status int
	header http.Header
	raw    string
	Result json.RawMessage `json:"result"`
	Error  string          `json:"error"`
	Text   string          `json:"error_description"`
	Time   *struct {
		Start, Finish, Duration, Processing float64
		DateStart                           string   `json:"date_start"`
		Operating                           *float64 `json:"operating"`
		ResetAt                             *int64   `json:"operating_reset_at"`
	} `json:"time"`
}

// visitor calls one portal.
type visitor struct {
	t      *testing.T
	box    *Sandbox
	st     *PortalState
	client *http.Client
	base   string
}

// visit starts a sandbox with one portal, which accepts webhook 1/s3cret.
func visit(t *testing.T, p Portal, opts ...Option) *visitor {
	t.Helper()
	p.Name = host
	p.Webhooks = append(p.Webhooks, Webhook{User: "1", Secret: "s3cret"})
	box := Start(t, opts...)
	st, err := box.Add(p)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: box.Transport(), CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	return &visitor{t: t, box: box, st: st, client: client, base: "https://" + host}
}

// try sends a request and returns whatever happened.
func (v *visitor) try(ctx context.Context, path, kind, body string) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, v.base+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Content-Type", kind)
	resp, err := v.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	a := answer{status: resp.StatusCode, header: resp.Header, raw: string(raw)}
	if err != nil {
		return a, err
	}
	if bytes.HasPrefix(raw, []byte("{")) {
		err = json.Unmarshal(raw, &a)
	}
	return a, err
}

// send is a JSON request that must be answered.
func (v *visitor) send(path, body string) answer {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a, err := v.try(ctx, path, "application/json", body)
	if err != nil {
		v.t.Errorf("POST %s: %v", path, err)
	}
	return a
}

// call calls a method over the webhook.
func (v *visitor) call(method, body string) answer {
	v.t.Helper()
	return v.send(hook+method, body)
}

// fails calls and requires an error.
func (v *visitor) fails(method, body string, status int, code, text string) {
	v.t.Helper()
	a := v.call(method, body)
	if a.status != status || a.Error != code || text != "" && a.Text != text {
		v.t.Errorf("%s %s\n got %d %s", method, body, a.status, a.raw)
		v.t.Errorf("want %d %s %q", status, code, text)
	}
	if a.Error != "" && a.Time != nil {
		v.t.Errorf("an error answer carries time: %s", a.raw)
	}
}

// works calls and requires a result, given as JSON; "" takes any.
func (v *visitor) works(method, body, want string) answer {
	v.t.Helper()
	a := v.call(method, body)
	if a.status != 200 || a.Result == nil || want != "" && string(a.Result) != want {
		v.t.Errorf("%s %s\n got %d %s", method, body, a.status, a.raw)
		v.t.Errorf("want 200 with result %s", want)
	}
	return a
}

// bot is a sound registration; more are further members, as JSON text.
func bot(code string, more ...string) string {
	members := []string{`"CODE":` + quote(code), `"CLIENT_ID":"app"`}
	all := strings.Join(append(members, more...), ",")
	if !strings.Contains(all, `"EVENT_`) {
		all += `,"EVENT_HANDLER":"https://bots.example.com/h"`
	}
	if !strings.Contains(all, `"PROPERTIES"`) {
		all += `,"PROPERTIES":{"NAME":"Helper"}`
	}
	return "{" + all + "}"
}

// command is the same as a command of a batch.
func command(code string, more ...string) string {
	q := url.Values{
		"CODE": {code}, "CLIENT_ID": {"app"}, "EVENT_HANDLER": {"https://bots.example.com/h"}, "PROPERTIES[NAME]": {"Helper"},
	}
	for i := 0; i+1 < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return "imbot.register?" + q.Encode()
}

// batch is a batch of commands, key and command in turn.
func batch(halt int, pairs ...string) string {
	var b strings.Builder
	b.WriteString(`{"halt":` + itoa(halt) + `,"cmd":{`)
	for i := 0; i+1 < len(pairs); i += 2 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(quote(pairs[i]) + ":" + quote(pairs[i+1]))
	}
	return b.String() + "}}"
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// clock is a clock that tests move.
type clock struct{ at chan time.Time }

func newClock() *clock {
	c := &clock{at: make(chan time.Time, 1)}
	c.at <- time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	return c
}

func (c *clock) now() time.Time {
	t := <-c.at
	c.at <- t
	return t
}

func (c *clock) move(d time.Duration) { c.at <- (<-c.at).Add(d) }
