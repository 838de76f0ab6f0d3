// The benchmark works: its own checks find that the work was done.

package main

import (
	"errors"
	"io"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWrongFlagsAreRefused(t *testing.T) {
	for _, args := range [][]string{{"-only", "nothing"}, {"-rows", "1"}, {"-rounds", "0"}, {"-million", "1"}, {"-share", "0"}, {"-share", "2"}, {"more"}} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil || errors.Is(err, errMissed) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestRatioIsTheMedianOfTheRounds(t *testing.T) {
	r := race{n: 10}
	r.add(2, 1)
	r.add(4, 1)
	r.add(1, 3)
	if got := r.ratio(); got != 0.5 {
		t.Errorf("ratio %v", got)
	}
	if f := r.figure("x", "", 0.6); !f.missed() || f.verdict() != "FAIL" {
		t.Errorf("%+v", f)
	}
	if f := r.figure("x", "", 0.5); f.missed() || f.verdict() != "PASS" {
		t.Errorf("%+v", f)
	}
	if f := r.figure("x", "", 0); f.missed() || f.verdict() != "" {
		t.Errorf("%+v", f)
	}
}
