// The archive's margin: when dead rows end elsewhere.

package tasks

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestArchiveIsLeftBeforeItsCap(t *testing.T) {
	var a archives
	now := time.Now()
	size, asked := int64(0), 0
	ask := func(context.Context, string) (int64, error) { asked++; return size, nil }
	full := func() bool { return a.full(t.Context(), "q", now, ask) }

	for range archiveMany {
		if full() {
			t.Fatal("full while empty")
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times for %d tasks", asked, archiveMany)
	}
	size = ArchiveFull - 2
	for _, want := range []bool{false, false, true} { // the third is one more than ArchiveFull
		if got := full(); got != want {
			t.Errorf("full: %v", got)
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
	size = 0 // somebody has emptied it
	if !full() {
		t.Error("believed before its time")
	}
	now = now.Add(archiveFor)
	if full() {
		t.Error("still full")
	}
	if a.full(t.Context(), "other", now, func(context.Context, string) (int64, error) { return 0, errors.New("gone") }) {
		t.Error("full because nobody knows")
	}
}
