// Addresses come from strangers: each form in which one can be written, tried
// in each place from which one can come. All are refused before a byte is sent.

package bitrix

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// hostileHosts stand where a host belongs. PORT is a listener's on loopback.
var hostileHosts = []string{
	// IPv4 in all its spellings: loopback, unspecified, metadata, private, multicast, broadcast.
	"127.0.0.1", "127.0.0.1:PORT", "127.0.0.1.", "127.1", "127.1:PORT", "127.0.1", "127.0.0.01", "127.000.000.001",
	"2130706433", "2130706433:PORT", "0x7f000001", "0x7f.0.0.1", "0x7f.1", "0X7F.0X0.0X0.0X1", "0177.0.0.1", "017700000001", "0177.1",
	"0", "0:PORT", "0.0.0.0", "0.0.0.0:PORT", "00.0", "169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518",
	"169.254.169.254.", "100.100.100.200", "168.63.129.16", "192.0.0.192", "10.0.0.1", "172.16.0.1", "192.168.0.1", "224.0.0.1",
	"255.255.255.255", "256.256.256.256", "1.2.3.4.5", "acme.bitrix24.ru.1",
	// IPv6, and IPv4 inside it.
	"[::1]", "[::1]:PORT", "[::]", "[::]:PORT", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::ffff:127.0.0.1]", "[::ffff:127.0.0.1]:PORT",
	"[::ffff:7f00:1]", "[::FFFF:7F00:1]", "[::ffff:169.254.169.254]", "[::ffff:0:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
	"[64:ff9b::127.0.0.1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[2001::7f00:1]", "[fe80::1]",
	"[fe80::1%25eth0]", "[fe80::1%eth0]", "[::1%25lo]", "[fc00::1]", "[fd00::1]", "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]",
	"[2001:db8::1]", "[::1", "::1", "[127.0.0.1]", "[localhost]", "[::1].bitrix24.ru", "[::1]acme.bitrix24.ru",
	// Names of this machine, of the network's and of clouds' own services.
	"localhost", "LOCALHOST", "LocalHost.", "localhost:PORT", "localhost.:PORT", "foo.localhost", "foo.localhost.:PORT", "ip6-localhost",
	"metadata", "metadata.google.internal", "METADATA.google.Internal.", "instance-data.ec2.internal", "printer.local", "intranet",
	// Tricks upon those who read addresses.
	"user@127.0.0.1", "user:password@acme.bitrix24.ru", "acme.bitrix24.ru@127.0.0.1:PORT", "127.0.0.1:PORT@acme.bitrix24.ru",
	"acme.bitrix24.ru:443@127.0.0.1", "@127.0.0.1", "acme.bitrix24.ru\\@127.0.0.1", "127.0.0.1:PORT\\.bitrix24.ru",
	"127.0.0.1:PORT#.bitrix24.ru", "127.0.0.1:PORT?.bitrix24.ru", "127.0.0.1:PORT;.bitrix24.ru", "127.0.0.1 acme.bitrix24.ru",
	"127.0.0.1\tacme.bitrix24.ru", "acme.bitrix24.ru\x00.evil.example", "127%2e0%2e0%2e1", "%31%32%37.0.0.1", "%6c%6f%63%61%6c%68%6f%73%74",
	"acme.bitrix24.ru%00", "127。0。0。1", "①②⑦.0.0.1", "ｌocalhost", "lOcalhost\u00ad", "локалхост.рф", "acme.bitrix24.ru\u202e", "аcme.bitrix24.ru",
	"acme..bitrix24.ru", ".acme.bitrix24.ru", "acme.bitrix24.ru..", ".", "..", "", " ",
	// Ports.
	"acme.bitrix24.ru:22", "acme.bitrix24.ru:80", "acme.bitrix24.ru:8443", "acme.bitrix24.ru:6379", "acme.bitrix24.ru:0", "acme.bitrix24.ru:65536",
	"acme.bitrix24.ru:-1", "acme.bitrix24.ru:", "acme.bitrix24.ru:443:443", "acme.bitrix24.ru:https", "8.8.8.8:PORT",
}

// hostileURLs have more wrong than the host.
var hostileURLs = []string{
	"http://acme.bitrix24.ru/rest/", "HTTP://acme.bitrix24.ru/rest/", "http://8.8.8.8/rest/", "http://127.0.0.1:PORT/rest/", "ftp://acme.bitrix24.ru/rest/",
	"gopher://127.0.0.1:PORT/rest/", "file:///etc/passwd", "file://127.0.0.1/rest/", "unix:/run/docker.sock", "https:127.0.0.1:PORT/rest/",
	"https:/127.0.0.1:PORT/rest/", "https:\\\\127.0.0.1:PORT/rest/", "https:///127.0.0.1:PORT/rest/", "javascript:alert(1)", "dict://127.0.0.1:PORT/", "ldap://127.0.0.1:PORT/",
}

// hostileAddresses are what a name may lead to.
const hostileAddresses = "0.0.0.0 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.9.9.9 168.63.129.16 169.254.169.254 172.31.255.255 192.0.0.8 192.168.1.1 " +
	"198.18.0.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255 :: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 64:ff9b::7f00:1 64:ff9b:1::808:808 " +
	"2002:7f00:1::1 2002:a9fe:a9fe::1 2001::1 2001:db8::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1"

// hostile is every form as an URL, with a scheme of each kind.
func hostile(port string) []string {
	var all []string
	for _, host := range hostileHosts {
		for _, scheme := range []string{"https://", "http://"} {
			all = append(all, scheme+host+"/rest/")
		}
	}
	for i, form := range append(all, hostileURLs...) {
		form = strings.ReplaceAll(form, "PORT", port)
		if i < len(all) {
			all[i] = form
		} else {
			all = append(all, form)
		}
	}
	return all
}

// guarded makes a client whose every name leads to loopback, and its zone.
func guarded(t *testing.T, list string) (*Client, *zone) {
	t.Helper()
	names := &zone{answers: []string{"127.0.0.1", "::1"}}
	c := local(t, func(c *Config) {
		c.Endpoints = mustEndpoints(t, list)
		c.Endpoints.resolver = names.resolver()
	})
	return c, names
}

// mustRefuse calls a portal that must not be called.
func mustRefuse(t *testing.T, c *Client, a Access, form string) {
	t.Helper()
	_, err := c.Register(t.Context(), a, goodBot())
	if e := mustError(t, err); e.Class != Blocked || e.Code != CodeForbiddenEndpoint {
		t.Errorf("%s: %s %v", form, e.Class, e)
	}
}

func TestHostilePortalHost(t *testing.T) {
	victim := listen(t)
	c, names := guarded(t, "")
	for _, form := range hostile(victim.port) {
		if a, err := ParseWebhook(form + "1/" + testSecret + "/"); err == nil {
			mustRefuse(t, c, a, form)
		}
		if a, err := NewOAuth(form, testSecret); err == nil {
			mustRefuse(t, c, a, form)
		}
		if host, ok := strings.CutPrefix(form, "https://"); ok {
			if a, err := NewOAuth(strings.TrimSuffix(host, "/rest/"), testSecret); err == nil {
				mustRefuse(t, c, a, form+" as a host")
			}
		}
		config := AuthConfig{URL: form, ClientID: "app.1", ClientSecret: NewSecret(clientSecret)}
		if _, err := NewAuthServer(config); err == nil {
			t.Errorf("an authorization server at %s", form)
		}
	}
	if victim.calls(t) != 0 || names.asked() != 0 {
		t.Errorf("%d connections, %d look-ups", victim.calls(t), names.asked())
	}
}

// TestHostileRedirect: the portal, which is allowed, sends elsewhere. Nothing is
// followed, and what its error names may not be followed either.
func TestHostileRedirect(t *testing.T) {
	victim := listen(t)
	var location string
	portal := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", location)
		w.WriteHeader(http.StatusFound)
	})
	c, names := guarded(t, portal.Host())
	cloud := mustWebhook(t, "https://acme.bitrix24.ru/rest/1/"+testSecret)
	for _, location = range hostile(victim.port) {
		_, err := c.Register(t.Context(), portal, goodBot())
		e := mustError(t, err)
		if e.Code == CodeBadHTTP && strings.ContainsAny(location, "\x00\n") {
			continue // the header itself is refused
		}
		if e.Code != CodePortalMoved {
			t.Errorf("%s: %v", location, e)
		}
		for _, from := range []Access{portal, cloud} {
			if e.Location != "" && c.config.Endpoints.CheckMove(from, e.Location) == nil {
				t.Errorf("%s: %v follows to %s", location, from, e.Location)
			}
			if e.Location != "" && (Endpoints{}).CheckMove(from, location) == nil {
				t.Errorf("%s: %v follows", location, from)
			}
		}
		if scheme, host, _ := strings.Cut(e.Location, "://"); e.Location != "" {
			moved, err := portal.At(scheme, host)
			if err != nil {
				t.Errorf("%s: %v", e.Location, err)
				continue
			}
			mustRefuse(t, c, moved, e.Location)
		}
	}
	if victim.calls(t) != 0 || names.asked() != 0 {
		t.Errorf("%d connections, %d look-ups", victim.calls(t), names.asked())
	}
}

// TestHostileClientEndpoint: the token answer says where the portal is.
func TestHostileClientEndpoint(t *testing.T) {
	victim := listen(t)
	var endpoint string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"access_token": newAccess1, "refresh_token": newRefresh1, "client_endpoint": endpoint})
	}))
	defer server.Close()
	s := authServer(t, server.URL+"/", func(c *AuthConfig) { c.Rate = 1e5 })
	c, names := guarded(t, "")
	from := mustWebhook(t, "https://acme.bitrix24.ru/rest/1/"+testSecret)
	for _, endpoint = range hostile(victim.port) {
		tokens, err := s.Refresh(t.Context(), NewSecret(oldRefresh))
		if err != nil || tokens.Endpoint != endpoint {
			t.Fatalf("%q: %q, %v", endpoint, tokens.Endpoint, err)
		}
		a, err := NewOAuth(tokens.Endpoint, tokens.Access.Reveal())
		if err != nil {
			continue
		}
		if err := (Endpoints{}).CheckMove(from, a.Scheme()+"://"+a.Host()); err == nil {
			t.Errorf("credentials go to %s", endpoint)
		}
		mustRefuse(t, c, a, endpoint)
	}
	if victim.calls(t) != 0 || names.asked() != 0 {
		t.Errorf("%d connections, %d look-ups", victim.calls(t), names.asked())
	}
}

// leading makes a client that may call any name, but whose connections check
// where names lead by the rules of a list.
func leading(t *testing.T, list string, names *zone) *Client {
	t.Helper()
	rules := mustEndpoints(t, list)
	rules.resolver = names.resolver()
	// The transport alone: Check, which runs before, refuses the listener's port.
	transport := newTransport(Config{Endpoints: rules, DialTimeout: 2 * time.Second}.withDefaults())
	return local(t, func(c *Config) { c.Transport = transport })
}

// TestHostileDNSAnswer: a name that any stranger may register leads inside.
func TestHostileDNSAnswer(t *testing.T) {
	victim := listen(t)
	a := mustWebhook(t, "https://portal.evil.example:"+victim.port+"/rest/1/"+testSecret)
	for address := range strings.FieldsSeq(hostileAddresses) {
		names := &zone{answers: []string{address}}
		mustRefuse(t, leading(t, "", names), a, address)
		if names.asked() == 0 {
			t.Errorf("%s: nobody asked for it", address)
		}
	}
	all := strings.Fields(hostileAddresses)
	mustRefuse(t, leading(t, "", &zone{answers: all}), a, "all at once")
	if victim.calls(t) != 0 {
		t.Errorf("%d connections", victim.calls(t))
	}
}

// TestRebinding: the name leads to a public address first, and inside in the
// next answer, or in the same one. 3ffe::/16 was given back (RFC 3701): public
// by the rules, and nobody is there.
func TestRebinding(t *testing.T) {
	victim := listen(t)
	a := mustWebhook(t, "https://portal.evil.example:"+victim.port+"/rest/1/"+testSecret)
	turning := leading(t, "", &zone{rounds: [][]string{{"3ffe::1"}, {"127.0.0.1", "::1"}}})
	_, err := turning.Register(t.Context(), a, goodBot())
	if e := mustError(t, err); e.Class != Transient || e.Code == CodeForbiddenEndpoint {
		t.Errorf("a public address: %s %v", e.Class, e)
	}
	mustRefuse(t, turning, a, "the second answer")
	both := leading(t, "", &zone{answers: []string{"3ffe::1", "127.0.0.1", "::1"}})
	if _, err := both.Register(t.Context(), a, goodBot()); err == nil {
		t.Error("a call was made")
	}
	if victim.calls(t) != 0 {
		t.Errorf("%d connections", victim.calls(t))
	}
	// An operator's network lets a name lead there, and nowhere else.
	for address, calls := range map[string]int32{"127.0.0.1": 1, "10.0.0.1": 0, "169.254.169.254": 0} {
		before := victim.calls(t)
		_, err := leading(t, "127.0.0.0/8", &zone{answers: []string{address}}).Register(t.Context(), a, goodBot())
		if e := mustError(t, err); (e.Code == CodeForbiddenEndpoint) != (calls == 0) || victim.calls(t)-before != calls {
			t.Errorf("%s: %v", address, e)
		}
	}
	// A listed name may lead anywhere.
	before := victim.calls(t)
	_, _ = leading(t, "portal.evil.example", &zone{answers: []string{"127.0.0.1"}}).Register(t.Context(), a, goodBot())
	if victim.calls(t)-before != 1 {
		t.Error("a listed name is not called")
	}
}

// TestHostileFormsWithExceptions: what is allowed opens that alone, in each
// direction: as a place to call, and as a place to move to.
func TestHostileFormsWithExceptions(t *testing.T) {
	tests := []struct {
		list  string
		open  string // places that are opened
		still string // places that are not
	}{
		{"127.0.0.1", "http://127.0.0.1 https://127.0.0.1:99 https://[::ffff:127.0.0.1] http://[::ffff:7f00:1]:1",
			"https://127.1 https://0x7f.1 https://2130706433 https://127.0.0.2 https://[::1] https://localhost https://0.0.0.0 https://[64:ff9b::7f00:1]"},
		{"127.0.0.1:81", "http://127.0.0.1:81 https://127.0.0.1:81", "https://127.0.0.1"},
		{"[::1]:81", "http://[::1]:81 https://[0:0:0:0:0:0:0:1]:81", "https://[::1] https://127.0.0.1:81"},
		{"10.0.0.0/8,fd00::/8", "http://10.255.0.1:7 https://[fd00::1] https://[::ffff:10.1.1.1]",
			"https://11.0.0.1:7 https://[fc00::1] https://[64:ff9b::a00:1] https://[2002:a00:1::] https://167772161 https://10.1"},
		{"localhost", "http://localhost http://LOCALHOST.:99", "https://127.0.0.1 https://foo.localhost http://localhost.evil.example"},
		{"portal.corp.example:8443", "https://portal.corp.example:8443 http://portal.corp.example:8443", "https://portal.corp.example:8444 http://portal.corp.example"},
		{"intranet", "http://intranet:99", "https://intranet.local https://xintranet"},
		{"true", "http://127.1 http://localhost:1 https://[::1] http://169.254.169.254", "ftp://localhost https://a@localhost https://127%2e1"},
	}
	for _, tt := range tests {
		e := mustEndpoints(t, tt.list)
		plain := mustWebhook(t, "http://old.corp.example/rest/1/"+testSecret)
		safe := mustWebhook(t, "https://old.corp.example/rest/1/"+testSecret)
		for place := range strings.FieldsSeq(tt.open) {
			scheme, host, _ := strings.Cut(place, "://")
			if err := e.Check(scheme, host); err != nil {
				t.Errorf("%s: %v", tt.list, err)
			}
			if err := e.CheckMove(plain, place); err != nil {
				t.Errorf("%s: move: %v", tt.list, err)
			}
			if err := e.CheckMove(safe, place); (err == nil) != (scheme == "https") {
				t.Errorf("%s: move from https to %s: %v", tt.list, place, err)
			}
		}
		for place := range strings.FieldsSeq(tt.still) {
			scheme, host, _ := strings.Cut(place, "://")
			if e.Check(scheme, host) == nil && !strings.Contains(place, "11.0.0.1") && !strings.Contains(place, "evil") || e.CheckMove(plain, place) == nil {
				t.Errorf("%s opens %s", tt.list, place)
			}
		}
	}
}
