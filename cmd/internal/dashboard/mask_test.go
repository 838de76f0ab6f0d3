// What people read, and what they must not.

package dashboard

import (
	"strings"
	"testing"

	"github.com/hibiken/asynq"

	"botfleet/tasks"
)

func TestMask(t *testing.T) {
	const secret = "s3cr3tvalue"
	for _, text := range []string{
		`Post "https://acme.bitrix24.ru/rest/1/s3cr3tvalue/imbot.register": EOF`,
		`https://acme.bitrix24.ru/rest/1/s3cr3tvalue`,
		`{"url":"https:\/\/x\/rest","auth":"s3cr3tvalue"}`,
		`{"access_token": "s3cr3tvalue", "x": 1}`,
		`{\"refresh_token\":\"s3cr3tvalue\"}`,
		`auth=s3cr3tvalue&x=1`,
		`client_secret=s3cr3tvalue`,
		`APPLICATION_TOKEN=s3cr3tvalue`,
		`dial redis://ops:s3cr3tvalue@127.0.0.1:6379/0: refused`,
		`dial redis://:s3cr3tvalue@127.0.0.1:6379/0: refused`,
		`Authorization: Bearer s3cr3tvalue`,
		`{"password":"s3cr3tvalue"}`,
		`SECRETS_KEY=s3cr3tvalue`,
	} {
		if got := mask(text); strings.Contains(got, secret) || !strings.Contains(got, hidden) {
			t.Errorf("%s: %s", text, got)
		}
	}
	for _, text := range []string{
		"dead (blocked): expired_token: The access token provided has expired",
		"waits for a new token: invalid_grant: refresh token is dead, until 10:00:00 UTC",
		"dead (validation): ACCESS_DENIED: Client ID not specified",
		"portal held: NO_AUTH_FOUND: Wrong authorization data",
		"portal held: WRONG_AUTH_TYPE: Current authorization type is denied",
		`{"portal":"acme.bitrix24.ru","code":"token","name":"Secret: a bot","run":"r1","row":1}`,
		"waits for Redis: dial tcp 127.0.0.1:6379: connect: connection refused",
		"https://bots.example.com/rest/about",
	} {
		if got := mask(text); got != text {
			t.Errorf("%s: %s", text, got)
		}
	}
	if got := mask(strings.Repeat("я", 2*maxShown)); len([]rune(got)) != maxShown+1 {
		t.Errorf("%d characters", len([]rune(got)))
	}
}

func TestFormats(t *testing.T) {
	ours, err := tasks.Payload{Run: "r1", Row: 7, Gen: 2, PortalID: "p1", Portal: "acme.bitrix24.ru", Code: "helper", Name: "Помощник"}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ got, want string }{
		{formatPayload(tasks.TypeName, ours), `{"portal":"acme.bitrix24.ru","code":"helper","name":"Помощник","run":"r1","row":7,"gen":2}`},
		{formatPayload(tasks.TypeName, []byte(`{"v":9,"token":"abc"}`)), `{"v":9,"token":"[hidden]"}`},
		{formatPayload("other", []byte("plain\ntext")), "plain\ntext"},
		{formatPayload("other", []byte{0xff, 0}), "2 bytes that are no text"},
		{formatPayload("other", []byte("a\x00b")), "3 bytes that are no text"},
		{formatPayload("other", nil), ""},
		{formatResult("", []byte("39")), `{"BOT_ID":39}`},
		{formatResult("", nil), ""},
		{formatResult("", []byte("dead: dead (limit): X: y")), "dead: dead (limit): X: y"},
		{formatResult("", []byte("3.5")), "3.5"},
		{formatError("dead (validation): NAME_ERROR: x: " + asynq.SkipRetry.Error()), "dead (validation): NAME_ERROR: x"},
		{formatError("auth=abc: " + asynq.SkipRetry.Error()), "auth=[hidden]"},
	} {
		if c.got != c.want {
			t.Errorf("%s, want %s", c.got, c.want)
		}
	}
}
