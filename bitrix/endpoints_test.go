// Where requests may go, by name and by address.

package bitrix

import (
	"net/netip"
	"strings"
	"testing"
)

func TestEndpointsCheck(t *testing.T) {
	const list = "intranet, portal.local:8080, 10.1.2.3,192.168.0.0/16,127.0.0.1:9000,[::1]:9000,fd00::/8"
	tests := []struct {
		list, scheme, host string
		ok                 bool
	}{
		{"", "https", "acme.bitrix24.ru", true},
		{"", "https", "acme.bitrix24.ru:443", true},
		{"", "https", "ACME.bitrix24.ru.", true},
		{"", "https", "8.8.8.8", true},
		{"", "https", "[2606:4700::1111]", true},
		{"", "http", "acme.bitrix24.ru", false},
		{"", "https", "acme.bitrix24.ru:8443", false},
		{"", "https", "user@acme.bitrix24.ru", false},
		{"true", "https", "user@acme.bitrix24.ru", false},
		{"true", "ftp", "acme.bitrix24.ru", false},
		{"true", "http", "localhost:1", true},
		{"false", "http", "localhost:1", false},
		{"", "https", "localhost", false},
		{"", "https", "127.0.0.1", false},
		{"", "https", "[::1]", false},
		{"", "https", "[::ffff:10.0.0.1]", false},
		{"", "https", "169.254.169.254", false},
		{"", "https", "", false},
		{list, "http", "intranet", true},
		{list, "http", "INTRANET:99", true},
		{list, "http", "portal.local:8080", true},
		{list, "http", "portal.local", false},
		{list, "http", "10.1.2.3:1234", true},
		{list, "https", "10.1.2.4", false},
		{list, "http", "192.168.7.7", true},
		{list, "https", "[::ffff:192.168.7.7]:444", true},
		{list, "http", "127.0.0.1:9000", true},
		{list, "http", "127.0.0.1:9001", false},
		{list, "http", "[::1]:9000", true},
		{list, "https", "[fd12::1]", true},
	}
	for _, tt := range tests {
		err := mustEndpoints(t, tt.list).Check(tt.scheme, tt.host)
		if (err == nil) != tt.ok {
			t.Errorf("%q: %s://%s: %v", tt.list, tt.scheme, tt.host, err)
		}
	}
}

func TestParseEndpointsRefuses(t *testing.T) {
	for _, list := range []string{"a,,b", "a,", "http://a", "10.0.0.0/33", "*.local", "a:0", "a:x", "a b", "fe80::1%eth0", "u@a", "[::1", "::ffff:1.2.3.4/100"} {
		if e, err := ParseEndpoints(list); err == nil {
			t.Errorf("%q is accepted: %+v", list, e)
		}
	}
}

func TestPublicAddr(t *testing.T) {
	tests := map[bool]string{
		true: "8.8.8.8 1.1.1.1 172.32.0.1 100.128.0.1 2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::1",
		false: "0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.9.9.9 168.63.129.16 169.254.169.254 172.16.0.1 " +
			"172.31.255.255 192.0.0.8 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 " +
			"240.0.0.1 255.255.255.255 :: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b:1::808:808 " +
			"100::1 2001::1 2001:2::1 2001:10::1 2001:db8::1 2002:7f00:1::1 2002:a00:1:: 2002:a9fe:a9fe::1 3fff::1 5f00::1 fc00::1 " +
			"fd00:ec2::254 fe80::1 fec0::1 ff02::1 fe80::1%eth0 2606:4700::1%eth0",
	}
	for want, list := range tests {
		for s := range strings.FieldsSeq(list) {
			if got := publicAddr(netip.MustParseAddr(s)); got != want {
				t.Errorf("publicAddr(%s) = %v", s, got)
			}
		}
	}
	if publicAddr(netip.Addr{}) {
		t.Error("no address is public")
	}
}

// TestCheckDialed: whatever a name leads to is checked, and a network that is
// allowed lets it through.
func TestCheckDialed(t *testing.T) {
	none, some := Endpoints{}, mustEndpoints(t, "10.0.0.0/8")
	for _, address := range []string{"10.0.0.1:443", "[::ffff:10.0.0.1]:443", "[::1]:443", "127.0.0.1:443", "nonsense"} {
		if none.checkDialed("acme.bitrix24.ru", address) == nil {
			t.Errorf("%s is dialled", address)
		}
	}
	if err := some.checkDialed("acme.bitrix24.ru", "[::ffff:10.0.0.1]:443"); err != nil {
		t.Error(err)
	}
	if err := none.checkDialed("acme.bitrix24.ru", "8.8.8.8:443"); err != nil {
		t.Error(err)
	}
}

func FuzzEndpoints(f *testing.F) {
	f.Add("intranet,10.0.0.0/8", "https", "127.0.0.1")
	f.Add("true", "http", "[::1]:80")
	f.Add("", "https", "0x7f.1")
	f.Fuzz(func(t *testing.T, list, scheme, host string) {
		e, err := ParseEndpoints(list)
		if err != nil {
			return
		}
		if e.Check(scheme, host) != nil {
			return
		}
		if strings.Contains(host, "@") {
			t.Errorf("user info is accepted: %q", host)
		}
		if (Endpoints{}).Check(scheme, host) == nil && scheme != "https" {
			t.Errorf("%s://%s is accepted by default", scheme, host)
		}
	})
}
