package sandbox

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// neighbours are two portals with secrets of every kind.
func neighbours(t *testing.T) *visitor {
	t.Helper()
	of := func(n int) Portal {
		return Portal{
			Name: fmt.Sprintf("p%d.bitrix24.ru", n), App: appID,
			Webhooks: []Webhook{{User: "1", Secret: Secret(fmt.Sprintf("webhookof%06d", n))}},
			Tokens:   []Token{{Value: Secret(fmt.Sprintf("tokenof%06d", n)), App: "local.7"}},
			Sessions: []Secret{Secret(fmt.Sprintf("sessionof%06d", n))},
		}
	}
	box := Start(t, WithApplication(appID, appSecret), WithPortals(of(1), of(2)))
	return &visitor{t: t, box: box, client: &http.Client{Transport: box.Transport()}, base: "https://p1.bitrix24.ru"}
}

// TestStraySecrets puts each secret into each part of a request to each kind of
// host.
func TestStraySecrets(t *testing.T) {
	v := neighbours(t)
	one, two := v.box.Portal("p1.bitrix24.ru"), v.box.Portal("p2.bitrix24.ru")
	own, ownRefresh := one.Pair()
	others, _ := two.Pair()
	secrets := map[string]struct {
		value                      Secret
		atOne, atAuth, atElsewhere ViolationKind
		secret                     string
	}{
		"client_secret": {appSecret, LeakedClientSecret, "", LeakedClientSecret, "client_secret"},
		"own access":    {own, "", StraySecret, StraySecret, "access token of p1.bitrix24.ru"},
		"own refresh":   {ownRefresh, StraySecret, "", StraySecret, "refresh token of p1.bitrix24.ru"},
		"own webhook":   {"webhookof000001", "", StraySecret, StraySecret, "webhook of p1.bitrix24.ru"},
		"own token":     {"tokenof000001", "", StraySecret, StraySecret, "token of p1.bitrix24.ru"},
		"own session":   {"sessionof000001", "", StraySecret, StraySecret, "session of p1.bitrix24.ru"},
		"app token":     {Secret(one.Install().Get("auth[application_token]")), StraySecret, StraySecret, StraySecret, "application_token of p1.bitrix24.ru"},
		"other access":  {others, StraySecret, StraySecret, StraySecret, "access token of p2.bitrix24.ru"},
		"other webhook": {"webhookof000002", StraySecret, StraySecret, StraySecret, "webhook of p2.bitrix24.ru"},
		"other token":   {"tokenof000002", StraySecret, StraySecret, StraySecret, "token of p2.bitrix24.ru"},
		"other session": {"sessionof000002", StraySecret, StraySecret, StraySecret, "session of p2.bitrix24.ru"},
	}
	for name, s := range secrets {
		for where, send := range placesOf(string(s.value)) {
			for to, want := range map[string]ViolationKind{"p1.bitrix24.ru": s.atOne, "oauth.bitrix24.tech": s.atAuth, "evil.example.com": s.atElsewhere} {
				before := len(v.box.Violations())
				send(t, v.client, "https://"+to)
				all := v.box.Violations()
				got := all[before:]
				switch {
				case want == "" && len(got) != 0, want != "" && len(got) != 1:
					t.Errorf("%s in %s to %s: %+v, want %q", name, where, to, got, want)
				case want != "" && (got[0].Kind != want || got[0].Host != to || got[0].Secret != s.secret):
					t.Errorf("%s in %s to %s: %+v, want %q of %s", name, where, to, got, want, s.secret)
				}
			}
		}
	}
	if text := fmt.Sprintf("%+v %+v", v.box.Violations(), v.box.Auth().Requests()); strings.Contains(text, v.box.TokenMark()) || strings.Contains(text, appSecret) {
		t.Error("a secret shows")
	}
}

// placesOf are requests with a secret in each of their parts.
func placesOf(secret string) map[string]func(*testing.T, *http.Client, string) {
	request := func(path, body, header, value string) func(*testing.T, *http.Client, string) {
		return func(t *testing.T, client *http.Client, base string) {
			t.Helper()
			r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, base+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if header != "" {
				r.Header.Set(header, value)
			}
			resp, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
		}
	}
	escaped := ""
	for _, c := range []byte(secret) {
		escaped += fmt.Sprintf("%%%02X", c)
	}
	return map[string]func(*testing.T, *http.Client, string){
		"path":          request("/rest/1/"+secret+"/profile", "", "", ""),
		"odd path":      request("/x"+secret, "", "", ""),
		"query":         request("/rest/profile?a=b&x="+secret, "", "", ""),
		"escaped query": request("/rest/profile?x="+escaped, "", "", ""),
		"body":          request("/rest/profile", `{"x":["y`+secret+`z"]}`, "", ""),
		"body twice":    request("/rest/profile", secret+" "+secret, "", ""),
		"bearer":        request("/rest/profile", "", "Authorization", "Bearer "+secret),
		"basic":         request("/rest/profile", "", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("id:"+secret))),
		"header":        request("/rest/profile", "", "Referer", "https://x/"+secret),
	}
}

func TestShortAndSharedSecretsAreNoViolation(t *testing.T) {
	box := Start(t, WithPortals(
		Portal{Name: "a.ru", Webhooks: []Webhook{{User: "1", Secret: "short"}, {User: "1", Secret: "sharedsecret"}}},
		Portal{Name: "b.ru", Webhooks: []Webhook{{User: "1", Secret: "sharedsecret"}}},
	))
	v := &visitor{t: t, box: box, client: &http.Client{Transport: box.Transport()}, base: "https://b.ru"}
	v.send("/rest/1/sharedsecret/profile", `{"x":"short"}`)
	v.violated()
}

// TestReplacedPortalsAreForgotten: nothing is kept of a portal that is no more.
func TestReplacedPortalsAreForgotten(t *testing.T) {
	v := neighbours(t)
	count, known := v.box.secrets.count.Load(), len(v.box.secrets.known)
	old, _ := v.box.Portal("p2.bitrix24.ru").Pair()
	for range 3 {
		st := v.box.AddPortal(Portal{
			Name: "p2.bitrix24.ru", App: appID, Webhooks: []Webhook{{User: "1", Secret: "freshwebhook"}},
			Tokens: []Token{{Value: "freshtoken"}}, Sessions: []Secret{"freshsession"},
		})
		for range 3 {
			st.Uninstall()
			st.Install()
		}
	}
	s, tails := v.box.secrets, 0
	for _, same := range s.tails {
		tails += len(same)
	}
	if s.count.Load() != count || len(s.known) != known || tails != known || len(s.issuers) != 2 {
		t.Errorf("%d secrets counted, %d known, %d by tail, %d issuers", s.count.Load(), len(s.known), tails, len(s.issuers))
	}
	v.send("/rest/1/webhookof000002/profile", "")
	v.violated() // nobody's any more
	v.send("/rest/1/freshwebhook/profile", "")
	v.send("/rest/profile", `{"auth":`+quote(string(old))+`}`)
	v.violated(StraySecret, StraySecret)
}
