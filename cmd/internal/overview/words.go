// Times, sizes and shares, as they are shown.

package overview

import (
	"fmt"
	"regexp"
	"strconv"
	"time"

	"botfleet/cmd/internal/report"
)

// moment is a time as the page shows it: absolute with its zone, and from now.
type moment struct{ ISO, Clock, Ago string }

// momentOf is empty for the zero time. The day is left out where it is today.
func momentOf(t, now time.Time) moment {
	if t.IsZero() {
		return moment{}
	}
	t = t.In(now.Location())
	layout := "2006-01-02 15:04 MST"
	if t.Year() == now.Year() && t.YearDay() == now.YearDay() {
		layout = "15:04:05 MST"
	}
	return moment{ISO: t.Format(time.RFC3339), Clock: t.Format(layout), Ago: fromNow(t.Sub(now))}
}

// fromNow is "3m05s ago" or "in 12s".
func fromNow(d time.Duration) string {
	switch {
	case d > -time.Second && d < time.Second:
		return "now"
	case d < 0:
		return report.Duration(-d) + " ago"
	default:
		return "in " + report.Duration(d)
	}
}

// String is the moment as text.
func (m moment) String() string { return m.Clock + ", " + m.Ago }

// bytesText is a size: 812 KB, 1.5 GB, in powers of 1,024 as redis.conf has them.
func bytesText(n int64) string {
	const unit = 1024
	if n < unit {
		return strconv.FormatInt(n, 10) + " B"
	}
	value, names := float64(n), []string{"KB", "MB", "GB", "TB"}
	at := -1
	for value >= unit && at < len(names)-1 {
		value /= unit
		at++
	}
	if value < 9.95 {
		return strconv.FormatFloat(value, 'f', 1, 64) + " " + names[at]
	}
	return strconv.FormatFloat(value, 'f', 0, 64) + " " + names[at]
}

// percent is a share from 0 to 1. It is 0 or 100 only where that is exact.
func percent(part, whole int) string {
	if whole <= 0 {
		return "0%"
	}
	p := 100 * part / whole
	if p == 0 && part > 0 {
		return "under 1%"
	}
	return strconv.Itoa(p) + "%"
}

// secondsText is a span of operating time: 0.4 s, 120 s.
func secondsText(d time.Duration) string {
	if d > 0 && d < 10*time.Second {
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	}
	return report.Count(int(d/time.Second)) + " s"
}

// are is "1 row is", "3 rows are".
func are(n int, one string) string {
	if n == 1 {
		return report.Counted(n, one) + " is"
	}
	return report.Counted(n, one) + " are"
}

// wait is "no row waits", "1 row waits", "3 rows wait".
func wait(n int) string {
	if n == 0 {
		return "no row waits"
	}
	if n == 1 {
		return "1 row waits"
	}
	return report.Counted(n, "row") + " wait"
}

// plain is what needs no quoting in a shell, and cannot be taken for an option.
var plain = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:-]*$`)

// command is a command line to be copied; empty when a word in it, which others
// wrote, would not mean itself in a shell.
func command(format string, words ...string) string {
	args := make([]any, len(words))
	for i, w := range words {
		if !plain.MatchString(w) {
			return ""
		}
		args[i] = w
	}
	return fmt.Sprintf(format, args...)
}
