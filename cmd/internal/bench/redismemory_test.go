package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

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
