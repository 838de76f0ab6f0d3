package bitrix

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzEachMember: a valid object's members are those that encoding/json sees.
func FuzzEachMember(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { } `, `{"a":1}`, `{"a" : [1,{"b":"}"}], "c\"d":"\\", "a":null }`, `{"a":-1.5e3,"b":true,"":{}}`,
		`{"\u0061":"\ud83d\ude00","x":"é"}`, `[1]`, `null`, `"{"`, `{`, `{"a"`, `{"a":`, `{"a":"`, `{"a":"\`, `{"a":1]`, `{]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got := map[string]string{}
		ok := eachMember(raw, func(key string, value json.RawMessage) { got[key] = string(value) })
		var want map[string]json.RawMessage
		err := json.Unmarshal(raw, &want)
		if !json.Valid(raw) {
			return // it was enough not to panic
		}
		if ok != (err == nil && want != nil) {
			t.Fatalf("%q: an object: %v; encoding/json: %v", raw, ok, err)
		}
		if ok && len(got) != len(want) {
			t.Fatalf("%q: %q, want %q", raw, got, want)
		}
		for key, value := range want {
			if got[key] != strings.TrimSpace(string(value)) {
				t.Fatalf("%q: %q is %q, want %q", raw, key, got[key], value)
			}
		}
	})
}
