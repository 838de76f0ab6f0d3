// The benchmark works: its own checks find that the work was done.

package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSmallRunMeasuresEverything(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), []string{"-only", "pipeline,enqueue", "-rows", "400", "-rounds", "1"}, &out, io.Discard)
	// Ratios of so few rows mean nothing; that they exist does.
	if err != nil && !errors.Is(err, errMissed) {
		t.Fatal(err)
	}
	for _, want := range []string{"CASE", "portals over HTTP", "without connections", "BATCH=always", "enqueue", "of bare asynq"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table has no %q:\n%s", want, &out)
		}
	}
}

func TestSmallMillion(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-only", "million", "-million", "20000"}, &out, io.Discard); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if n := strings.Count(out.String(), "PASS"); n != 3 {
		t.Errorf("%d targets are met, not 3:\n%s", n, &out)
	}
}

func TestSmallLimitCases(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), []string{"-only", "batching,budget,shuffled,fair,shared-ip", "-share", "0.01"}, &out, io.Discard)
	// So few rows reach no ideal: what counts is that each is registered once.
	if err != nil && !errors.Is(err, errMissed) {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{"the rate binds", "pace binds", "operating budget", "shuffled", "behind 1000 rows", "silent", "refusals", "what the other left"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table has no %q:\n%s", want, &out)
		}
	}
}

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
