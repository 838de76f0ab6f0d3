// Stored values, whatever they hold.

package runs

import (
	"encoding/json"
	"errors"
	"testing"
)

func FuzzParseState(f *testing.F) {
	for _, v := range []string{
		`w0|0123abcd|{"id":"own","portal":"acme.bitrix24.ru","pid":"p1","code":"helper","queued_at":"2027-01-15T08:00:00Z","bot":{"CODE":"helper"}}`,
		`w3|i|{"retried":{"at":"2027-01-15T08:00:00Z","times":2,"reason":"\u007b"},"portal":"a","pid":"p","code":"c","queued_at":"2027-01-15T08:00:00Z","bot":{}}`,
		`r1|i|{"row":12,"portal":"a","code":"c","status":"registered","bot_id":39}`,
		`d2|i|{"row":12,"portal":"a","code":"c","status":"dead","class":"validation","error":{"code":"E","description":"d"},"bot":{"CODE":"c"}}`,
		`f0||{"status":"refused","errors":[{"field":"CODE"}]}`, `u0|i|{"status":"duplicate","of":{"run":"r","row":1}}`,
		``, `w`, `w0|`, `w0||`, `d0|i|null`, `x0|i|{}`, `w2147483648|i|{}`, `w00|i|{"bot":{"bot":{}}}`,
	} {
		f.Add(12, v)
	}
	f.Fuzz(func(t *testing.T, number int, v string) {
		st, err := parseState(number, v)
		if err != nil && !errors.Is(err, ErrBroken) {
			t.Fatalf("%q: %v", v, err)
		}
		switch {
		case st.Gen < 0:
			t.Fatalf("%q: generation %d", v, st.Gen)
		case st.Outcome == nil && (st.Row.Number != number || st.Row.Gen != st.Gen):
			t.Fatalf("%q: %+v", v, st.Row)
		case st.Outcome == nil && v[0] != 'w':
			t.Fatalf("%q waits", v)
		case st.Outcome != nil && st.Outcome.Row != number:
			t.Fatalf("%q: %+v", v, st.Outcome)
		}
		if err != nil {
			return
		}
		// What was read can be written again.
		if _, err := json.Marshal(st.Outcome); err != nil {
			t.Fatalf("%q: %v", v, err)
		}
		if _, err := json.Marshal(st.Row); err != nil && st.Outcome == nil {
			t.Fatalf("%q: %v", v, err)
		}
	})
}
