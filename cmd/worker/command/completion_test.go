// What shells are told while a command line of worker is typed, and what it says of
// its build.

package command

import (
	"bytes"
	"strings"
	"testing"

	"botfleet/cmd/internal/version"
)

func TestCompletionOfTheWorker(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{""}, "completion\t"},
		{[]string{"--lo"}, "--log-format\ttext or json (LOG_FORMAT; default text)\n--log-level\t"},
		{[]string{"--log-level", ""}, "debug\ninfo\nwarn\nerror\n:36\n"},
		{[]string{"--embedded", "--batch", ""}, "auto\nalways\noff\n:36\n"},
		{[]string{"--bots-file", ""}, "jsonl\nndjson\njson\ncsv\n:8\n"},
		{[]string{"--http-addr", ""}, ":4\n"},
		{[]string{"--secrets"}, ":4\n"},
		{[]string{"completion", "b"}, "bash\n:4\n"},
	} {
		var out, errs bytes.Buffer
		code := Options{}.run(append([]string{"__complete"}, c.args...), nil, nil, &out, &errs)
		if code != 0 || !strings.HasPrefix(out.String(), c.want) || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%q: %d, %q, %q", c.args, code, out.String(), errs.String())
		}
	}
}

func TestVersion(t *testing.T) {
	var out, errs bytes.Buffer
	code := Options{}.run([]string{"--version"}, []string{"REDIS_URL=nonsense"}, nil, &out, &errs)
	if want := "worker version " + version.Long() + "\n"; code != 0 || out.String() != want || errs.Len() > 0 {
		t.Errorf("%d, %q, %q; want %q", code, out.String(), errs.String(), want)
	}
}
