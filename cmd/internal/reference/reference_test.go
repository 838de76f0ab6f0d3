package reference

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// sample is a command with all that a reference has to show.
func sample() *cobra.Command {
	nothing := func(*cobra.Command, []string) error { return nil }
	root := &cobra.Command{Use: "fleet", Long: "Steer <ships> with REDIS_URL\nand *stars*, [so] to say.\n\nEnvironment (a flag beats it):\n  A  b  c\n"}
	root.PersistentFlags().Bool("quiet", false, "say nothing")
	root.PersistentFlags().String("secret-flag", "", "hidden")
	root.PersistentFlags().Lookup("secret-flag").Hidden = true
	sail := &cobra.Command{
		Use: "sail SHIP", Short: "Sail a ship", RunE: nothing, Example: "  fleet sail Argo\n    on",
		Long: "Sail with --speed N:\n\n  fleet sail\n\nExit status:\n  0    there\n  130  sunk | interrupted",
	}
	sail.Flags().Int("speed", 12, "as `KNOTS`, a|b")
	sail.Flags().StringSlice("port", nil, "where to")
	hidden := &cobra.Command{Use: "mutiny", Hidden: true, RunE: nothing}
	root.AddCommand(sail, hidden)
	return root
}

func TestMarkdown(t *testing.T) {
	text := string(Markdown(sample(), "make reference"))
	for _, want := range []string{
		"# fleet\n\n<!-- Written from the code by `make reference`; edits here are lost. -->\n\n| command | |\n|---|---|\n| [`fleet sail`](#fleet-sail) | Sail a ship |\n",
		"Steer &lt;ships> with `REDIS_URL`\nand \\*stars\\*, \\[so] to say.\n",
		"Environment (a flag beats it):\n\n| variable | option | default | |\n|---|---|---|---|\n| `REDIS_URL` | `--redis-url` | `redis://127.0.0.1:6379/0` |",
		"| `SECRETS_KEY` |  |  |",
		"| option of all commands | default | |\n|---|---|---|\n| `--quiet` |  | say nothing |\n\n## fleet sail\n\nSail a ship.\n\n```\nfleet sail SHIP [flags]\n```\n",
		"Sail with `--speed` N:\n\n```\nfleet sail\n```\n\n| exit status | |\n|---|---|\n| 0 | there |\n| 130 | sunk \\| interrupted |\n\n```sh\nfleet sail Argo\n  on\n```\n",
		"| `--port strings` |  | where to |\n| `--speed KNOTS` | `12` | as KNOTS, a\\|b |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no\n%s\nin\n%s", want, text)
		}
	}
	for _, not := range []string{"mutiny", "hidden", "secret-flag", "--help"} {
		if strings.Contains(text, not) {
			t.Errorf("it tells of %s:\n%s", not, text)
		}
	}
	if strings.Count(text, "--quiet") != 1 || !strings.HasSuffix(text, "|\n") {
		t.Error(text)
	}
	if again := string(Markdown(sample(), "make reference")); again != text {
		t.Error("it is another one the second time")
	}
}

func TestCompare(t *testing.T) {
	path := filepath.Join(t.TempDir(), "README.md")
	if err := Compare(path, sample(), "make it", false); err == nil || !strings.Contains(err.Error(), "write it anew with: make it") {
		t.Errorf("without a file: %v", err)
	}
	if err := Compare(path, sample(), "make it", true); err != nil {
		t.Fatal(err)
	}
	if err := Compare(path, sample(), "make it", false); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, changed := range []string{strings.Replace(string(text), "KNOTS", "MILES", 1), string(text) + "more\n", strings.TrimSuffix(string(text), "\n")} {
		if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Compare(path, sample(), "make it", false); err == nil {
			t.Error("a changed file passes")
		}
	}
}
