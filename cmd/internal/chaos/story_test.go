// The stories that seeds make.

package main

import (
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// usual are the options that make chaos uses.
func usual() options {
	return options{rows: 5000, portals: 200, trouble: 85 * time.Second, limit: 4 * time.Minute}
}

func TestASeedMakesOneStory(t *testing.T) {
	if !reflect.DeepEqual(write(7, usual()), write(7, usual())) {
		t.Error("the same seed makes another story")
	}
	if reflect.DeepEqual(write(7, usual()), write(8, usual())) {
		t.Error("another seed makes the same story")
	}
}

// Whatever the seed: everything happens, nothing too late, and to each worker one
// thing at a time.
func TestStoriesHaveItAll(t *testing.T) {
	small := options{rows: 1500, portals: 60, trouble: 30 * time.Second, limit: 3 * time.Minute}
	long := 0
	for seed := range uint64(40) {
		for _, o := range []options{usual(), small} {
			s := write(seed, o)
			happens := map[what]int{}
			busy := map[int]time.Duration{}
			for _, e := range s.events {
				happens[e.what]++
				if e.at < 0 || e.at > o.trouble {
					t.Errorf("seed %d: %s", seed, e)
				}
				switch e.what {
				case killWorker, freezeWorker, stopWorker:
					if e.at < busy[e.who] {
						t.Errorf("seed %d: worker %d is disturbed twice: %s", seed, e.who, e)
					}
					busy[e.who] = e.end()
					if e.what == freezeWorker && e.lasts <= mark {
						t.Errorf("seed %d: a frozen worker wakes before its marks have ended: %s", seed, e)
					}
					if e.what == freezeWorker && e.lasts > time.Minute {
						long++
					}
				default:
				}
			}
			for _, w := range []what{killWorker, freezeWorker, stopWorker, killRedis, stopRedis, cutNetwork, clicks, rename, expire, revoke, block} {
				if happens[w] == 0 {
					t.Errorf("seed %d: no %s", seed, w)
				}
			}
			rows := 0
			wishes := map[string]bool{}
			for _, r := range s.runs {
				rows += len(r.rows)
				wishes[r.wish] = true
				twice := map[string]bool{}
				for _, row := range r.rows {
					if key := botKey(row.portal, row.code); twice[key] {
						t.Errorf("seed %d: %s comes twice in one file", seed, key)
					} else {
						twice[key] = true
					}
				}
			}
			if rows > o.rows || rows < o.rows-runCount || len(wishes) != 2 {
				t.Errorf("seed %d: %d of %d rows, %v", seed, rows, o.rows, wishes)
			}
		}
	}
	if long == 0 {
		t.Error("no worker is ever frozen until its tasks are at work elsewhere")
	}
}

func TestFaultsStrikeAboutTheirShare(t *testing.T) {
	total := 0.0
	for _, f := range faults(0.1) {
		if f.Kind != "die midway" { // which strikes batches only
			total += f.Probability
		}
	}
	if total < 0.09 || total > 0.12 {
		t.Errorf("faults strike %.3f of the requests", total)
	}
}

// A limit that a seed's own trouble outlasts is refused; the usual ones are not.
func TestALimitThatCannotBeKeptIsRefused(t *testing.T) {
	for words, want := range map[string]string{
		"-trouble 25s -limit 2m 1 3": "-limit 2m0s cannot be kept: the trouble of seed 3 is over after ",
		"-trouble 25s -limit 2m 1":   "",
		"0 1 2 3 4 5 6 7":            "",
		"-trouble 30s -limit 3m 3":   "",
	} {
		_, err := parse(strings.Fields(words), io.Discard)
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%s: %v", words, err)
		}
	}
}
