// Whole measurements, made small. The race detector would find in them what it finds
// end to end.

//go:build !race

package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

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

func TestSmallRedisMemory(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-only", "redis-memory", "-rows", "400"}, &out, io.Discard); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{"waiting rows", "registered rows", "dead rows", "1 stored", "PASS", "stored portals, webhook", "stored portals, OAuth", "portals at work"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table has no %q:\n%s", want, &out)
		}
	}
}
