package portals

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseKeys(t *testing.T) {
	raw := make([]byte, 32)
	for i := range raw {
		raw[i] = byte(255 - i) // both + and / in standard base64
	}
	std := base64.StdEncoding.EncodeToString(raw)
	want, err := ParseKeys(std)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		base64.RawStdEncoding.EncodeToString(raw), base64.URLEncoding.EncodeToString(raw),
		base64.RawURLEncoding.EncodeToString(raw), " " + std + "\n",
	} {
		if got, err := ParseKeys(s); err != nil || got.IDs()[0] != want.IDs()[0] {
			t.Errorf("%v, %v", got, err)
		}
	}
	for s, part := range map[string]string{
		"":                               "head -c 32",
		"  ":                             "SECRETS_KEY is not set",
		std + ",":                        "key 2 is empty",
		"hunter2":                        "key 1",
		std + ",!!!!":                    "key 2 is not base64",
		std[:20]:                         "has 15 bytes, not 32",
		NewKey() + "," + std + "," + std: "keys 2 and 3 are the same",
	} {
		_, err := ParseKeys(s)
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v, want %q", err, part)
		} else if strings.Contains(err.Error(), std[:20]) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error shows the key: %v", err)
		}
	}
	if _, err := ParseKeys(""); !errors.Is(err, ErrNoKey) {
		t.Errorf("err = %v", err)
	}
}

func TestKeyringNeverPrints(t *testing.T) {
	text := NewKey()
	keys, err := ParseKeys(text)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := base64.StdEncoding.DecodeString(text)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		s := fmt.Sprintf(verb, keys) + fmt.Sprintf(verb, struct{ k Keyring }{keys})
		for _, leak := range []string{text[:12], hex.EncodeToString(raw[:6]), strings.Trim(fmt.Sprintf("%d", raw[:6]), "[]")} {
			if strings.Contains(s, leak) {
				t.Errorf("%s shows the key: %s", verb, s)
			}
		}
	}
}

// What is sealed opens with the same key for the same portal, and with nothing else.
func TestSealing(t *testing.T) {
	first, second := mustParse(t, NewKey()), NewKey()
	old := mustParse(t, second)
	both, err := ParseKeys(NewKey() + "," + second)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		plain, for1 := rapid.String().Draw(t, "plain"), rapid.String().Draw(t, "portal")
		for2 := rapid.String().Filter(func(s string) bool { return s != for1 }).Draw(t, "other portal")
		sealed, err := old.seal([]byte(plain), for1)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := old.seal([]byte(plain), for1); again == sealed {
			t.Fatal("two seals are the same")
		}
		for _, k := range []Keyring{old, both} {
			if got, err := k.open(sealed, for1); err != nil || string(got) != plain {
				t.Fatalf("%q, %v", got, err)
			}
			if _, err := k.open(sealed, for2); !errors.Is(err, errBroken) {
				t.Fatalf("for another portal: %v", err)
			}
		}
		if _, err := first.open(sealed, for1); err != missingKey(old.IDs()[0]) { //nolint:errorlint // a plain value
			t.Fatalf("with another key: %v", err)
		}
		at := rapid.IntRange(9, len(sealed)-1).Draw(t, "at")
		bent := []byte(sealed)
		bent[at] ^= 1
		if got, err := old.open(string(bent), for1); err == nil && string(got) != plain {
			t.Fatal("changed text opened to something else")
		}
		_, _ = old.open(rapid.String().Draw(t, "noise"), for1)
	})
}

func mustParse(t *testing.T, s string) Keyring {
	t.Helper()
	k, err := ParseKeys(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestNearest(t *testing.T) {
	for name, want := range map[string]string{
		"portl": "portal", "Web-hook": "webhook", "acces_token": "access_token", "brust": "burst",
		"operatinglimit": "operating_limit", "xyz": "", "": "",
	} {
		if got := nearest(name, fieldNames); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
