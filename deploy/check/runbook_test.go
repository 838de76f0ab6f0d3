// The runbook: what it quotes stands in the sources, and its commands do what it says.

package check

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The runbook names every wait that ends, with what brings its rows back.
func TestRunbookNamesTheWaitsThatEnd(t *testing.T) {
	_, judge, _ := strings.Cut(read(t, top, "tasks/verdict.go"), "\nfunc (p Policy) judgeDeferral(")
	judge, _, _ = strings.Cut(judge, "\n}\n")
	_, table, _ := strings.Cut(read(t, deploy, "RUNBOOK.md"), "\n| rows wait for | dead after |")
	table, _, _ = strings.Cut(table, "\n\n")
	ends, rows := strings.Count(judge, "return dead("), strings.Count(table, "`enqueue dead retry RUN --")
	if ends == 0 || ends != rows {
		t.Errorf("%d waits end, and the runbook has %d", ends, rows)
	}
}

// An upgrade of Compose's workers lasts: the next plain call has it too, and so have commands.
func TestUpgradeOfComposeLasts(t *testing.T) {
	runbook := read(t, deploy, "RUNBOOK.md")
	if m := regexp.MustCompile(`(?m)^[A-Z_]+=\S+ docker compose .*`).FindString(runbook); m != "" {
		t.Errorf("lasts for one call: %s", m)
	}
	line := regexp.MustCompile(`(?m)^sed -i .* \.env$`).FindString(runbook)
	dir := t.TempDir()
	var text strings.Builder
	for name, value := range written(t) {
		text.WriteString(name + "=" + value + "\n")
	}
	write(t, dir, ".env", text.String())
	cmd := exec.Command("sh", "-c", "git() { echo "+revision+"; }\n"+line)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil || line == "" {
		t.Fatalf("%q: %v: %s", line, err, out)
	}
	p, err := load(t, envFile(t, false, dir, ".env"), "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"worker", "enqueue"} {
		s := p.Services[name]
		if s.Image != "botfleet:v1.2.3" || *s.Build.Args["VERSION"] != "v1.2.3" || *s.Build.Args["REVISION"] != revision {
			t.Errorf("%s runs %s, of %v", name, s.Image, s.Build.Args)
		}
	}
}

// TestRunbookQuotes finds what the runbook quotes in the strings of the sources. Whatever
// may differ (a number, a name, what … leaves out) ends a piece; pieces of four words and
// more are looked for.
func TestRunbookQuotes(t *testing.T) {
	said := strings.Join(literals(t), "\n")
	runbook := regexp.MustCompile("(?s)```sh\n.*?```").ReplaceAllString(read(t, deploy, "RUNBOOK.md"), "")
	runbook = strings.ReplaceAll(runbook, "```", "`")
	command := regexp.MustCompile(`^(enqueue|redis-cli|docker|kubectl|systemctl|curl|git) `)
	looked := 0
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(runbook, -1) {
		if command.MatchString(m[1]) {
			continue
		}
		for _, piece := range pieces(m[1]) {
			looked++
			if !strings.Contains(said, piece) {
				t.Errorf("no source says %q, of\n%s", piece, m[1])
			}
		}
	}
	if looked < 25 {
		t.Errorf("only %d pieces of messages were found", looked)
	}
}

// variable is what a message says differently each time: numbers with what they count and
// what that does, names in capitals, quotes; and what lies between two messages.
var variable = regexp.MustCompile(`…|\S*\d\S*( of these)?( (dead )?(row|task|queue|portal)s?)?|\b(waits?( for)?|since)\b|[:;] |  +|[()"]|\[\S+ \w|\S+=|\b[A-Z]{3,}\b`)

// pieces are the parts of a message that are always the same, if they are long enough to tell.
func pieces(message string) (all []string) {
	message = strings.ReplaceAll(message, "\n", " ") // which is a line's end, or between two messages
	for _, piece := range variable.Split(message, -1) {
		if words := strings.Fields(piece); len(words) >= 4 && regexp.MustCompile(`[a-z] [a-z]`).MatchString(piece) {
			all = append(all, strings.Join(words, " "))
		}
	}
	return all
}

// literals are the strings of the sources, those put together of several as one.
func literals(t *testing.T) (all []string) {
	t.Helper()
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, filepath.Join(top, "deploy")) {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok {
				if text := literal(e); text != "" {
					all = append(all, text)
					return false
				}
			}
			return true
		})
		return nil
	})
	if err != nil || len(all) < 1000 {
		t.Fatalf("%d strings in the sources, %v", len(all), err)
	}
	return all
}

// literal is the text of a string, or of a sum of strings; nothing for other expressions.
func literal(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			text, _ := strconv.Unquote(e.Value)
			return text
		}
	case *ast.BinaryExpr:
		if left, right := literal(e.X), literal(e.Y); e.Op == token.ADD && left != "" && right != "" {
			return left + right
		}
	}
	return ""
}
