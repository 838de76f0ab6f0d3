// Codes and statuses to classes; costs; texts without secrets.

package bitrix

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestClassify(t *testing.T) {
	tests := []struct {
		class  Class
		status int
		codes  string
	}{
		{Validation, 400, "EVENT_MESSAGE_ADD_ERROR EVENT_BOT_DELETE_ERROR CODE_ERROR NAME_ERROR MAX_COUNT_ERROR WRONG_REQUEST UNHEARD_OF 500 ERROR_ARGUMENT ERROR_CORE"},
		{Validation, 503, "EVENT_WELCOME_MESSAGE_ERROR CODE_ERROR"},
		{Conflict, 403, "APP_ID_ERROR"},
		{Limit, 401, "QUERY_LIMIT_EXCEEDED OPERATION_TIME_LIMIT"},
		{Token, 403, "expired_token invalid_token"},
		{Blocked, 500, "ACCESS_DENIED INVALID_CREDENTIALS NO_AUTH_FOUND insufficient_scope user_access_error authorization_error " +
			"APPLICATION_NOT_FOUND WRONG_AUTH_TYPE INVALID_REQUEST PORTAL_DELETED PAYMENT_REQUIRED invalid_grant OVERLOAD_LIMIT"},
		{Transient, 400, "INTERNAL_SERVER_ERROR ERROR_UNEXPECTED_ANSWER CONNECTION_ERROR"},
		{Transient, 500, "ERROR_CORE UNHEARD_OF"},
		{Transient, 0, "ERROR_CORE"},
		{Validation, 0, "UNHEARD_OF 500"},
		{Validation, 200, "UNHEARD_OF"},
		{Ambiguous, 0, "TIMEOUT CONNECTION_RESET"},
		{Ambiguous, 500, "NOT_JSON EMPTY_ANSWER TRUNCATED_ANSWER ANSWER_TOO_LARGE"},
		{Blocked, 404, "NOT_JSON EMPTY_ANSWER"},
		{Transient, 401, "TRUNCATED_ANSWER ANSWER_TOO_LARGE"},
		{Transient, 400, "TRUNCATED_ANSWER"},
		{Limit, 429, "TRUNCATED_ANSWER"},
	}
	for _, tt := range tests {
		for code := range strings.FieldsSeq(tt.codes) {
			for _, c := range []string{code, strings.ToUpper(code), strings.ToLower(code)} {
				if got := Classify(tt.status, c, ""); got != tt.class {
					t.Errorf("Classify(%d, %s) = %s, want %s", tt.status, c, got, tt.class)
				}
			}
		}
	}
	if got := Classify(403, "ACCESS_DENIED", "Access denied! Client ID not specified"); got != Validation {
		t.Error(got)
	}
}

func TestParseTime(t *testing.T) {
	tests := []struct {
		raw  string
		want Time
	}{
		{``, Time{}}, {`[]`, Time{}}, {`null`, Time{}}, {`"x"`, Time{}}, {`{}`, Time{}},
		{`{"operating":0}`, Time{HasOperating: true}},
		{`{"operating":"1.25","operating_reset_at":"1762349466"}`, Time{Operating: 1250 * time.Millisecond, HasOperating: true, ResetAt: time.Unix(1762349466, 0)}},
		{`{"operating":-1,"operating_reset_at":-5,"duration":-1}`, Time{}},
		{`{"operating":1e300,"operating_reset_at":1e300}`, Time{}},
		{`{"operating":1e999}`, Time{}},
		{`{"operating":"NaN"}`, Time{}}, {`{"operating":"inf"}`, Time{}}, {`{"operating":true}`, Time{}},
		{`{"operating":null,"processing":"2","duration":0.5}`, Time{Processing: 2 * time.Second, Duration: time.Second / 2}},
		{`{"operating":[1],"operating_reset_at":{}}`, Time{}},
	}
	for _, tt := range tests {
		if got := parseTime(json.RawMessage(tt.raw)); got != tt.want {
			t.Errorf("%s: %+v", tt.raw, got)
		}
	}
}

// TestSecretsNeverInErrors: whatever fails, and whoever repeats the secret in
// which form, the error does not hold it.
func TestSecretsNeverInErrors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		oauth := rapid.Bool().Draw(t, "oauth")
		secret := rapid.StringMatching(`[a-zA-Z0-9]{12,40}`).Draw(t, "secret")
		var a Access
		var err error
		if oauth {
			secret += rapid.SampledFrom([]string{"", "/+=", "&%"}).Draw(t, "tail") + "x9Y"
			a, err = NewOAuth("acme.bitrix24.ru", secret)
		} else {
			a, err = ParseWebhook("https://acme.bitrix24.ru/rest/1/" + secret)
		}
		if err != nil {
			t.Fatal(err)
		}
		broken := secret[:5] + "\u0000" + secret[5:]
		echo := rapid.SampledFrom([]string{secret, url.QueryEscape(secret), strings.ToLower(url.PathEscape("/")) + url.PathEscape(secret),
			broken, strings.Repeat("я", 295) + secret, secret + secret, "\u200b" + secret[:3] + "\u200b" + secret[3:]}).Draw(t, "echo")
		quoted, _ := json.Marshal(echo)
		answer := func(status int, body string) func(*http.Request) (*http.Response, error) {
			return func(r *http.Request) (*http.Response, error) {
				_, _ = io.Copy(io.Discard, r.Body)
				return &http.Response{StatusCode: status, Header: http.Header{"Location": {"https://" + echo + "/" + echo}}, Body: io.NopCloser(strings.NewReader(body))}, nil
			}
		}
		paths := []func(*http.Request) (*http.Response, error){
			answer(400, `{"error":`+string(quoted)+`,"error_description":`+string(quoted)+`}`),
			answer(400, `{"error":{"code":`+string(quoted)+`,"message":`+string(quoted)+`}}`),
			answer(200, echo), answer(502, echo), answer(302, echo), answer(200, `{"result":`+string(quoted)+`}`),
			answer(200, `{"result":{"result_error":{"r00":{"error":`+string(quoted)+`,"error_description":`+string(quoted)+`}}}}`),
			func(r *http.Request) (*http.Response, error) { return nil, fmt.Errorf("lost %s and %s", r.URL, echo) },
			func(r *http.Request) (*http.Response, error) {
				return nil, &url.Error{Op: "Post", URL: r.URL.String() + echo, Err: context.DeadlineExceeded}
			},
		}
		client := NewClient(Config{Transport: roundTrip(rapid.SampledFrom(paths).Draw(t, "path"))})
		_, err1 := client.Register(context.Background(), a, goodBot())
		batch, err2 := client.RegisterBatch(context.Background(), a, bots(1))
		_, _, err3 := client.Bots(context.Background(), a, "")
		shown := fmt.Sprintf("%v %+v %#v %v %+v %#v", err1, err2, err3, batch, errors.Unwrap(err1), errors.Unwrap(err1))
		for _, e := range []error{err1, err2, err3} {
			if own, ok := errors.AsType[*Error](e); ok {
				shown += fmt.Sprintf("%+v %#v", *own, *own)
				if !utf8.ValidString(own.Description) || len([]rune(own.Description)) > maxDescription {
					t.Fatalf("untidy description %q", own.Description)
				}
			}
		}
		for _, row := range batch.Rows {
			if row.Err != nil {
				shown += fmt.Sprintf("%+v", *row.Err)
			}
		}
		for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret)} {
			if strings.Contains(shown, form) {
				t.Fatalf("the secret %q is in %s", form, shown)
			}
		}
	})
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{`{"result":39,"time":{"operating":"1"}}`, `{"error":"expired_token","error_description":"\u0027"}`,
		`{"error":{"code":1}}`, `[]`, `{"result":`, "\xef\xbb\xbf{}", `<html>`, `{"result":"7","error":0}`, `{"error":"\u0001"}`} {
		f.Add(200, []byte(seed))
		f.Add(503, []byte(seed))
	}
	a, err := ParseWebhook("https://acme.bitrix24.ru/rest/1/" + testSecret)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		k := &call{access: a, method: MethodRegister, caller: t.Context(), timed: t.Context()}
		ans, failed := k.interpret(status, body, nil)
		switch {
		case failed == nil && status != 200:
			t.Errorf("status %d is a success", status)
		case failed == nil:
			_, _ = k.registered(ans)
			_, _ = parseBots(ans.result)
		case failed.Class == "" || failed.Code == "" || failed.Status != status:
			t.Errorf("incomplete: %+v", failed)
		case strings.ContainsAny(failed.Error(), "\n\r\x00") || !utf8.ValidString(failed.Error()):
			t.Errorf("untidy: %q", failed)
		}
	})
}

func FuzzScrub(f *testing.F) {
	f.Add("abc", "xxabcxx", 5)
	f.Add(testSecret, "9q1zSe\u0000cretPath77", 300)
	f.Fuzz(func(t *testing.T, secret, text string, n int) {
		a, err := NewOAuth("acme.bitrix24.ru", secret)
		if err != nil || n < 1 || len(secret) < len(hidden) {
			return
		}
		secret = strings.TrimSpace(secret)
		got := a.scrub(text, n)
		if len(secret) >= len(hidden) && strings.Contains(got, secret) || utf8.RuneCountInString(got) > n || !utf8.ValidString(got) {
			t.Errorf("scrub(%q) = %q", text, got)
		}
	})
}

func BenchmarkValidate(b *testing.B) {
	bot := goodBot()
	b.ReportAllocs()
	for b.Loop() {
		if bot.Validate(Rules{Webhook: true}) != nil {
			b.Fatal("not valid")
		}
	}
}

func BenchmarkValidatePhoto(b *testing.B) {
	bot := goodBot()
	bot.Properties.PersonalPhoto = encoded(b, "png")
	b.ReportAllocs()
	for b.Loop() {
		if bot.Validate(Rules{Webhook: true}) != nil {
			b.Fatal("not valid")
		}
	}
}

// BenchmarkBatchEncoding encodes a full batch, as RegisterBatch does.
func BenchmarkBatchEncoding(b *testing.B) {
	list := bots(MaxBatch)
	b.ReportAllocs()
	for b.Loop() {
		lines := make([]line, len(list))
		for i, bot := range list {
			lines[i] = line{MethodRegister, registerText(bot)}
		}
		body, err := encodeBody(batchBody(lines), "token")
		if err != nil || bytes.Count(body, []byte("imbot.register")) != MaxBatch {
			b.Fatal(err)
		}
	}
}
