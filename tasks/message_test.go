// Messages as asynq writes them, and as nobody does.

package tasks

import "testing"

func FuzzDecodeMessage(f *testing.F) {
	for _, s := range []string{"\x12\x02{}\x1a\x01i\x30\x02\x3a\x04text", "", "\x12", "\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x", "\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x0d1234"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMessage(b)
		if m.retried < 0 || len(m.payload)+len(m.lastErr)+len(m.id) > len(b) {
			t.Fatalf("%q: %+v, %v", b, m, err)
		}
	})
}

func TestDecodeMessage(t *testing.T) {
	m, err := decodeMessage([]byte("\x0a\x01T\x12\x02{}\x1a\x01i\x28\xff\xff\xff\xff\x07\x30\x02\x3a\x04text\x40\x84\x07"))
	if err != nil || m.id != "i" || string(m.payload) != "{}" || m.retried != 2 || m.lastErr != "text" {
		t.Errorf("%+v, %v", m, err)
	}
}
