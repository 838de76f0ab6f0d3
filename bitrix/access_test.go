// Addresses and credentials: what is read, what is refused, what is shown.

package bitrix

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestParseWebhook(t *testing.T) {
	const u = "https://acme.bitrix24.ru/rest/1/" + testSecret
	for _, raw := range []string{u, u + "/", u + "/profile.json", u + "/profile/", " " + u + "\n",
		"HTTPS://ACME.Bitrix24.ru:443/rest/1/" + testSecret + "/imbot.register"} {
		a := mustWebhook(t, raw)
		if got, token := a.Reveal(); got != u+"/" || token != "" {
			t.Errorf("Reveal() = %q, %q", got, token)
		}
		if a.Host() != "acme.bitrix24.ru" || a.Scheme() != "https" || !a.Webhook() || a.Endpoint() != "https://acme.bitrix24.ru/rest/" {
			t.Errorf("%v: host %q, scheme %q", a, a.Host(), a.Scheme())
		}
	}
	if got := mustWebhook(t, "http://127.0.0.1:8080/rest/1/abc/").Host(); got != "127.0.0.1:8080" {
		t.Error(got)
	}
	if got := mustWebhook(t, "http://[::1]:8080/rest/1/abc/").Host(); got != "[::1]:8080" {
		t.Error(got)
	}
}

func TestParseWebhookRefuses(t *testing.T) {
	const s = testSecret
	tests := []struct{ raw, want string }{
		{"", "is empty"},
		{"acme.bitrix24.ru/rest/1/" + s, "does not begin with https://"},
		{"//acme.bitrix24.ru/rest/1/" + s, "does not begin with https://"},
		{"htps://acme.bitrix24.ru/rest/1/" + s, "another scheme"},
		{"https:///rest/1/" + s, "has no host"},
		{"https://acme.bitrix24.ru/1/" + s, "no /rest/"},
		{"https://acme.bitrix24.ru/rest/" + s, "user's number"},
		{"https://acme.bitrix24.ru/rest/", "missing"},
		{"https://acme.bitrix24.ru/rest/1/", "no secret"},
		{"https://acme.bitrix24.ru/rest/1/profile.json", "no secret"},
		{"https://acme.bitrix24.ru/rest/0/" + s, "user's number"},
		{"https://acme.bitrix24.ru/rest/one/" + s, "user's number"},
		{"https://acme.bitrix24.ru/rest/1/" + s + "/a/b", "more than a method"},
		{"https://acme.bitrix24.ru/rest/1/" + s + "/..", "other than a method"},
		{"https://acme.bitrix24.ru/rest/1/**" + s, "characters other than"},
		{"https://acme.bitrix24.ru/rest/1/" + s[:4] + " " + s[4:], "space"},
		{"https://acme.bitrix24.ru/rest/1/" + s + "?auth=1", "must not hold ?"},
		{"https://user:" + s + "@acme.bitrix24.ru/rest/1/" + s, "user name or password"},
		{"https://acme.bitrix24.ru:99999/rest/1/" + s, "port"},
		{"https://acme..bitrix24.ru/rest/1/" + s, "dot too many"},
		{"https://портал.рф/rest/1/" + s, "xn--"},
		{"https://[::g]/rest/1/" + s, "IPv6"},
	}
	for _, tt := range tests {
		_, err := ParseWebhook(tt.raw)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.raw, err, tt.want)
			continue
		}
		if strings.Contains(err.Error(), s[:6]) {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
}

func TestNewOAuth(t *testing.T) {
	for _, endpoint := range []string{"https://acme.bitrix24.ru/rest/", "https://acme.bitrix24.ru", "Acme.bitrix24.ru", "acme.bitrix24.ru:443"} {
		a, err := NewOAuth(endpoint, testSecret)
		if err != nil {
			t.Fatal(err)
		}
		if _, token := a.Reveal(); token != testSecret || a.Webhook() || a.Endpoint() != "https://acme.bitrix24.ru/rest/" {
			t.Errorf("%s: %v", endpoint, a)
		}
	}
	for _, bad := range [][2]string{{"", "x"}, {"acme.ru/portal", "x"}, {"acme.ru", ""}, {"acme.ru", "a b"}, {"acme.ru", "a\nb"}, {"a.ru", strings.Repeat("x", 5000)}} {
		if _, err := NewOAuth(bad[0], bad[1]); err == nil {
			t.Errorf("accepted %q with %d bytes of token", bad[0], len(bad[1]))
		}
	}
}

func TestFingerprint(t *testing.T) {
	a := mustWebhook(t, "https://a.bitrix24.ru/rest/1/"+testSecret)
	same := mustWebhook(t, "https://A.bitrix24.ru/rest/1/"+testSecret+"/profile")
	if len(a.Fingerprint()) != 16 || a.Fingerprint() != same.Fingerprint() {
		t.Errorf("%q and %q", a.Fingerprint(), same.Fingerprint())
	}
	for _, raw := range []string{"https://b.bitrix24.ru/rest/1/" + testSecret, "https://a.bitrix24.ru/rest/2/" + testSecret, "https://a.bitrix24.ru/rest/1/other"} {
		if mustWebhook(t, raw).Fingerprint() == a.Fingerprint() {
			t.Errorf("%s has the same fingerprint", raw)
		}
	}
}

// TestAccount: it is the credential's alone, wherever the portal is by now.
func TestAccount(t *testing.T) {
	a := mustWebhook(t, "https://a.bitrix24.ru/rest/1/"+testSecret)
	if len(a.Account()) != len("webhook-")+12 || !strings.HasPrefix(a.Account(), "webhook-") || strings.Contains(a.Account(), testSecret) {
		t.Error(a.Account())
	}
	moved, err := a.At("HTTPS", "B.bitrix24.de:443")
	if err != nil || moved.Account() != a.Account() || moved.Endpoint() != "https://b.bitrix24.de/rest/" {
		t.Errorf("%v, %v", moved, err)
	}
	if again, _ := moved.Reveal(); again != "https://b.bitrix24.de/rest/1/"+testSecret+"/" {
		t.Error(again)
	}
	for _, raw := range []string{"https://a.bitrix24.ru/rest/2/" + testSecret, "https://a.bitrix24.ru/rest/1/other"} {
		if mustWebhook(t, raw).Account() == a.Account() {
			t.Errorf("%s is charged to another's account", raw)
		}
	}
	for _, token := range []string{"one", "two"} {
		if oauth, err := NewOAuth("a.bitrix24.ru", token); err != nil || oauth.Account() != "oauth" {
			t.Errorf("%v, %v", oauth.Account(), err)
		}
	}
	if (Access{}).Account() != "" {
		t.Error("nobody has an account")
	}
	for _, place := range [][2]string{{"ftp", "a.ru"}, {"", "a.ru"}, {"https", ""}, {"https", "u@a.ru"}, {"https", "a.ru/x"}, {"https", "a.ru:0"}} {
		if moved, err := a.At(place[0], place[1]); err == nil || strings.Contains(err.Error(), testSecret) {
			t.Errorf("%q: %v, %v", place, moved, err)
		}
	}
	if _, err := (Access{}).At("https", "a.ru"); err == nil {
		t.Error("nothing can move")
	}
}

// TestSecretIsNeverPrinted prints one in every way that a program might.
func TestSecretIsNeverPrinted(t *testing.T) {
	s := NewSecret(testSecret)
	holder := struct {
		Shown  Secret
		hidden Secret
		Ptr    *Secret
		Pair   Tokens
	}{s, s, &s, Tokens{Access: s, Refresh: s}}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p"} {
		fmt.Fprintf(&out, verb+verb+verb, s, &s, holder)
	}
	marshalled, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "s", s, "h", holder.hidden, "p", holder.Ptr, "t", holder.Pair)
	all := out.String() + string(marshalled)
	if strings.Contains(all, testSecret) || strings.Contains(all, fmt.Sprintf("%x", testSecret)) {
		t.Errorf("the secret is shown: %s", all)
	}
	if s.Reveal() != testSecret || (Secret{}).Reveal() != "" || NewSecret("").String() != "" || s.String() != hidden {
		t.Error("a secret that is another")
	}
}

// TestAccessIsNeverPrinted prints accesses in every way that a program might.
func TestAccessIsNeverPrinted(t *testing.T) {
	hook := mustWebhook(t, "https://acme.bitrix24.ru/rest/1/"+testSecret)
	oauth, err := NewOAuth("acme.bitrix24.ru", testSecret)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []Access{hook, oauth, {}} {
		holder := struct {
			Shown  Access
			hidden Access
			Ptr    *Access
			Map    map[Access]Access
		}{a, a, &a, map[Access]Access{a: a}}
		var out strings.Builder
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p"} {
			fmt.Fprintf(&out, verb+verb+verb, a, &a, holder)
		}
		marshalled, err := json.Marshal(struct {
			A Access
			M map[Access]int
		}{a, map[Access]int{a: 1}})
		if err != nil {
			t.Fatal(err)
		}
		var logged bytes.Buffer
		logger := slog.New(slog.NewJSONHandler(&logged, nil))
		logger.Info("x", "a", a, "h", holder.hidden, "p", holder.Ptr)
		slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "a", a)
		all := out.String() + string(marshalled) + logged.String()
		if strings.Contains(all, testSecret) || strings.Contains(all, fmt.Sprintf("%x", testSecret)) {
			t.Errorf("the secret is shown: %s", all)
		}
	}
}

func FuzzParseWebhook(f *testing.F) {
	f.Add("https://acme.bitrix24.ru/rest/1/" + testSecret + "/profile.json")
	f.Add("http://[::1]:80/rest/1/a")
	f.Add("https://a.b/rest//")
	f.Add("https://:0/rest/1/x")
	f.Fuzz(func(t *testing.T, raw string) {
		a, err := ParseWebhook(raw)
		if err != nil {
			if len(err.Error()) > 300 || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("untidy error: %q", err)
			}
			return
		}
		again, _ := a.Reveal()
		if b := mustWebhook(t, again); b.Fingerprint() != a.Fingerprint() {
			t.Errorf("%q reads back as another access", again)
		}
		if u := a.methodURL("m"); u.Host != a.Host() || u.String() != again+"m" {
			t.Errorf("%q calls %q", raw, u.Host)
		}
	})
}
