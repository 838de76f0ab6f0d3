// Where a portal's credentials may follow it.

package bitrix

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCheckMove(t *testing.T) {
	const cloud = "https://acme.bitrix24.ru"
	tests := []struct {
		list, from, to string
		ok             bool
	}{
		{"", cloud, "https://acme2.bitrix24.ru", true},
		{"", cloud, "https://b24-x1y2z3.bitrix24.com.br", true},
		{"", cloud, "https://ACME.Bitrix24.COM.TR.:443/rest/", true},
		{"", cloud, "https://acme.bitrix24.eu/rest/", true},
		{"", "https://portal.corp.example", "https://acme.bitrix24.ru", true},
		{"", cloud, cloud, true},
		{"", "https://portal.corp.example", "https://portal.corp.example/rest/", true},
		{"http", "http://portal.corp.example", "https://acme.bitrix24.ru", true},
		{"", cloud, "http://acme.bitrix24.ru", false},
		{"true", cloud, "http://acme.bitrix24.ru", false},
		{"acme2.bitrix24.ru", cloud, "http://acme2.bitrix24.ru", false},
		{"portal.corp.example", "http://portal.corp.example", "http://portal.corp.example", true},
		{"", "http://portal.corp.example", "http://portal.corp.example", false},
		{"", cloud, "https://evil.example", false},
		{"", cloud, "https://8.8.8.8", false},
		{"", cloud, "https://bitrix24.ru", false},
		{"", cloud, "https://.bitrix24.ru", false},
		{"", cloud, "https://a.b.bitrix24.ru", false},
		{"", cloud, "https://-a.bitrix24.ru", false},
		{"", cloud, "https://a-.bitrix24.ru", false},
		{"", cloud, "https://a_b.bitrix24.ru", false},
		{"", cloud, "https://" + strings.Repeat("a", 64) + ".bitrix24.ru", false},
		{"", cloud, "https://evilbitrix24.ru", false},
		{"", cloud, "https://acme.bitrix24.ru.evil.example", false},
		{"", cloud, "https://acme.bitrix24.evil", false},
		{"", cloud, "https://acme.bitrix24.co.uk", false},
		{"", cloud, "https://acme.bitrix24.tech", false},
		{"", cloud, "https://acme.bitrix24.site", false},
		{"", cloud, "https://www.bitrix24.ru", false},
		{"", cloud, "https://cdn.bitrix24.com", false},
		{"", cloud, "https://acme.bitrix24.ru:8443", false},
		{"", cloud, "https://u@acme2.bitrix24.ru", false},
		{"", cloud, "acme2.bitrix24.ru", false},
		{"", cloud, "", false},
		{"evil.example", cloud, "https://evil.example:8443", true},
		{"203.0.113.0/24", cloud, "https://203.0.113.7", true},
		{"true", cloud, "https://evil.example", true},
	}
	for _, tt := range tests {
		err := mustEndpoints(t, tt.list).CheckMove(mustWebhook(t, tt.from+"/rest/1/"+testSecret), tt.to)
		if (err == nil) != tt.ok {
			t.Errorf("%q: from %s to %s: %v", tt.list, tt.from, tt.to, err)
		}
		if err != nil && strings.Contains(err.Error(), testSecret) {
			t.Error(err)
		}
	}
	if (Endpoints{all: true}).CheckMove(Access{}, cloud) == nil {
		t.Error("no credentials move")
	}
}

// TestMoveProperties: whatever is allowed without exceptions is https on a
// name directly below a cloud zone, and the access made of it calls that name.
func TestMoveProperties(t *testing.T) {
	from := mustWebhook(t, "https://acme.bitrix24.ru/rest/1/"+testSecret)
	part := rapid.SampledFrom([]string{"https", "http", "ftp", "://", ":", "/", "//", "a", "acme", ".", "..", "-", "_", "@", "bitrix24", ".bitrix24.ru",
		".bitrix24.com.br", ".evil", "127.0.0.1", "[::1]", "443", "8443", "%", "\\", "?", "#", " ", "\x00", "ж", "A", "www"})
	rapid.Check(t, func(t *rapid.T) {
		to := rapid.SampledFrom([]string{"https://", ""}).Draw(t, "scheme") + strings.Join(rapid.SliceOfN(part, 0, 8).Draw(t, "parts"), "")
		if (Endpoints{}).CheckMove(from, to) != nil {
			return
		}
		scheme, host, _, err := splitAddress(to)
		if err != nil || scheme != "https" {
			t.Fatalf("%q: %s, %v", to, scheme, err)
		}
		moved, err := from.At(scheme, host)
		if err != nil || moved.methodURL("m").Host != host || !strings.Contains(host, ".bitrix24.") || strings.ContainsAny(host, ":@/") {
			t.Fatalf("%q leads to %q, %v", to, host, err)
		}
		if moved.Account() != from.Account() || moved.Webhook() != from.Webhook() || (moved.Fingerprint() == from.Fingerprint()) != (host == from.Host()) {
			t.Fatalf("%q changes more than the place", to)
		}
	})
}
