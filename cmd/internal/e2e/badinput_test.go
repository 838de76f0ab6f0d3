// Bad input: one clear line, the right exit status, and nothing half done.

package e2e

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
	"botfleet/ratelimit/redistest"
)

// bad is input, or a setting, that a command must turn down.
type bad struct {
	name  string
	files map[string]string // beside portals.csv, which each case has
	args  []string          // the command runs in the folder of the files
	env   []string          // beats what every case has
	code  int
	// said are texts of standard error (of standard output, for check): each
	// must stand in exactly one line.
	said []string
	// queues: rows may get into Redis.
	queues bool
}

const (
	goodPortals = "portal,webhook,client_id\n" +
		"acme.bitrix24.ru,https://acme.bitrix24.ru/rest/1/" + webhookSecret + "/,app\n" +
		"beta.bitrix24.ru,https://beta.bitrix24.ru/rest/1/" + webhookSecret + "/,app\n"
	header   = "portal,CODE,NAME,EVENT_HANDLER\n"
	handlers = "https://bots.example.com/events"
)

// line is one good row of CSV.
func line(portal, code string) string {
	return fmt.Sprintf("%s,%s,Helper,%s\n", portal, code, handlers)
}

// badRows are inputs that every command which reads rows must refuse.
func badRows() []bad {
	one := func(name, text string) map[string]string { return map[string]string{name: text} }
	deep := strings.Repeat(`{"portal":"acme.bitrix24.ru","CODE":"c","EVENT_HANDLER":"`+handlers+`","PROPERTIES":{"NAME":"n"}}`+"\n", 1)
	var long strings.Builder
	for i := range 3000 {
		long.WriteString(strings.Replace(deep, `"c"`, fmt.Sprintf(`"c%d"`, i), 1))
	}
	return []bad{
		{name: "missing file", args: []string{"rows.csv"}, code: 3, said: []string{"rows.csv: there is no such file"}},
		{name: "empty file", files: one("rows.csv", ""), args: []string{"rows.csv"}, code: 3, said: []string{"rows.csv: "}},
		{name: "only a header", files: one("rows.csv", header), args: []string{"rows.csv"}, code: 3, said: []string{"rows.csv: "}},
		{name: "wrong extension", files: one("rows.xlsx", "PK"), args: []string{"rows.xlsx"}, code: 3, said: []string{"rows.xlsx: files ending in .xlsx"}},
		{name: "no extension", files: one("rows", "{}"), args: []string{"rows"}, code: 3, said: []string{"--input-format"}},
		{name: "directory", files: one("rows.csv/x", ""), args: []string{"rows.csv"}, code: 3, said: []string{"rows.csv: is a folder"}},
		{name: "JSON named CSV", files: one("rows.csv", "{\"portal\":1}\n"), args: []string{"rows.csv"}, code: 3, said: []string{"rows.csv:1: is JSON"}},
		{name: "Latin-1", files: one("rows.csv", header+"acme.bitrix24.ru,c,H\xe9l,"+handlers+"\n"), args: []string{"rows.csv"}, code: 3, said: []string{"not UTF-8"}},
		{name: "broken JSON deep in the file", files: one("rows.jsonl", long.String()+`{"portal":"acme.bitrix24.ru","CODE":`+"\n"+deep),
			args: []string{"rows.jsonl"}, code: 3, said: []string{"rows.jsonl:3001: "}},
		{name: "broken JSON array", files: one("rows.json", "[\n"+strings.TrimSpace(deep)+",\n{\"portal\" \"acme\"}\n]"), args: []string{"rows.json"}, code: 3, said: []string{"rows.json:3: "}},
		{name: "missing column", files: one("rows.csv", "CODE,NAME,EVENT_HANDLER\nc,n,"+handlers+"\n"), args: []string{"rows.csv"}, code: 3, said: []string{"portal"}},
		{name: "unknown column", files: one("rows.csv", "portal,CODE,NAMME,EVENT_HANDLER\n"+line("acme.bitrix24.ru", "c")), args: []string{"rows.csv"}, code: 3,
			said: []string{"rows.csv:1: NAMME: unknown; the nearest known name is NAME"}},
		{name: "short row", files: one("rows.csv", header+line("acme.bitrix24.ru", "c")+"acme.bitrix24.ru,d\n"), args: []string{"rows.csv"}, code: 3, said: []string{"rows.csv:3: PROPERTIES.NAME: "}},
		{name: "stray quote", files: one("rows.csv", header+line("acme.bitrix24.ru", "c")+line("acme.bitrix24.ru", `d"e`)), args: []string{"rows.csv"}, code: 3, said: []string{"rows.csv:3: "}},
		{name: "unknown key", files: one("rows.jsonl", strings.Replace(deep, "CODE", "KODE", 1)), args: []string{"rows.jsonl"}, code: 3,
			said: []string{"rows.jsonl:1: KODE: unknown; the nearest known name is CODE"}},
		{name: "same bot twice", files: one("rows.csv", header+line("acme.bitrix24.ru", "helper")+line("beta.bitrix24.ru", "helper")+line("ACME.bitrix24.ru", "HELPER")), args: []string{"rows.csv"}, code: 3,
			said: []string{"rows.csv:4: CODE: row 1 has the same portal and CODE"}},
		{name: "unknown portal", files: one("rows.csv", header+line("acmee.bitrix24.ru", "c")), args: []string{"rows.csv"}, code: 3,
			said: []string{"rows.csv:2: portal: acmee.bitrix24.ru is not in the portals file"}},
		{name: "invalid field", files: one("rows.csv", header+"acme.bitrix24.ru,c,Helper,https://localhost/\n"), args: []string{"rows.csv"}, code: 3,
			said: []string{"rows.csv:2: EVENT_HANDLER: wrong handler URL"}},
	}
}

// badPortals are portals files that every command must refuse.
func badPortals() []bad {
	rows := header + line("acme.bitrix24.ru", "c")
	file := func(name, text string) map[string]string { return map[string]string{name: text, "rows.csv": rows} }
	at := func(name string) []string { return []string{"--portals", name, "rows.csv"} }
	return []bad{
		{name: "no portals file", files: file("x", ""), args: at("p.csv"), code: 3, said: []string{"p.csv: no such file"}},
		{name: "portals file without extension", files: file("p", goodPortals), args: at("p"), code: 3, said: []string{"portals file p: "}},
		{name: "empty portals file", files: file("p.csv", ""), args: at("p.csv"), code: 3, said: []string{"p.csv"}},
		{name: "typo in a webhook", files: file("p.csv", strings.Replace(goodPortals, "https://beta", "htps://beta", 1)), args: at("p.csv"), code: 3, said: []string{"p.csv:3: webhook: "}},
		{name: "webhook without its secret", files: file("p.csv", strings.Replace(goodPortals, "/1/"+webhookSecret, "/1", 1)), args: at("p.csv"), code: 3, said: []string{"p.csv:2: webhook: "}},
		{name: "webhook of another portal", files: file("p.csv", strings.Replace(goodPortals, "https://beta", "https://gamma", 1)), args: at("p.csv"), code: 3, said: []string{"p.csv:3: webhook: "}},
		{name: "portal twice", files: file("p.csv", goodPortals+strings.SplitAfter(goodPortals, "\n")[1]), args: at("p.csv"), code: 3, said: []string{"p.csv:4: portal: "}},
		{name: "http where it is not allowed", files: file("p.csv", strings.ReplaceAll(goodPortals, "https://", "http://")), args: at("p.csv"), code: 3, said: []string{"p.csv:2: ", "p.csv:3: "}},
		{name: "unknown column of portals", files: file("p.csv", strings.Replace(goodPortals, "client_id", "clientid", 1)), args: at("p.csv"), code: 3, said: []string{"client_id?"}},
		{name: "bad number", files: file("p.jsonl", `{"portal":"acme.bitrix24.ru","webhook":"https://acme.bitrix24.ru/rest/1/`+webhookSecret+`/","rate":"fast"}`), args: at("p.jsonl"), code: 3, said: []string{"p.jsonl:1: rate: "}},
		{name: "nothing but quotes", files: file("p.csv", "portal,webhook\n\"acme.bitrix24.ru,https://acme.bitrix24.ru/rest/1/"+webhookSecret+"/\n"), args: at("p.csv"), code: 3, said: []string{"p.csv:2: "}},
	}
}

// badUse are wrong command lines and settings.
func badUse(t *testing.T) []bad {
	rows := map[string]string{"rows.csv": header + line("acme.bitrix24.ru", "c")}
	submit := []string{"submit", "--portals", "portals.csv", "rows.csv"}
	locked := redistest.Start(t, redistest.Password("r3d1sp4ssw0rd")).Addr
	return []bad{
		{name: "unknown command", args: []string{"sumbit"}, code: 1, said: []string{`unknown command "sumbit"`}},
		{name: "unknown flag", args: []string{"submit", "--portal", "x"}, code: 1, said: []string{"unknown flag: --portal"}},
		{name: "no file", args: []string{"submit", "--portals", "portals.csv"}, code: 1, said: []string{"no FILE of rows given"}},
		{name: "two files", args: []string{"submit", "a.csv", "b.csv"}, code: 1, said: []string{"at most 1 arg"}},
		{name: "unknown run", args: []string{"status", "nonsense"}, code: 1, said: []string{"nonsense"}},
		{name: "results of no run", args: []string{"results", "nonsense"}, code: 1, said: []string{"nonsense"}},
		{name: "unknown status", args: []string{"results", "x", "--only", "deed"}, code: 1, said: []string{`"deed" is none of`}},
		{name: "unknown format", files: rows, args: append(submit, "--wait", "--format", "xml"), code: 1, said: []string{`"xml"`}},
		{name: "unknown input format", files: rows, args: append(submit, "--input-format", "xml"), code: 3, said: []string{`"xml"`}},
		{name: "run to go on with unknown", files: rows, args: append(submit, "--run", "nonsense"), code: 1, said: []string{"nonsense"}},
		{name: "no key", files: rows, args: submit, env: []string{"SECRETS_KEY="}, code: 1, said: []string{"SECRETS_KEY"}},
		{name: "bad settings, all at once", files: rows, args: submit, code: 1,
			env:  []string{"CONCURRENCY=many", "REQUEST_TIMEOUT=65", "SHARDS=x", "MAX_RPS=fast"},
			said: []string{`CONCURRENCY: "many"`, `REQUEST_TIMEOUT: "65"`, `SHARDS: "x"`, `MAX_RPS: "fast"`}},
		{name: "settings out of range, all at once", files: rows, args: submit, code: 1,
			env:  []string{"BATCH_SIZE=51", "LOG_LEVEL=loud", "BATCH=sometimes", "ALLOW_INSECURE_PORTALS=http://x", "SECRETS_KEY=" + webhookSecret},
			said: []string{"BATCH_SIZE: 51", "LOG_LEVEL: loud", "BATCH: sometimes", "ALLOW_INSECURE_PORTALS: ", "SECRETS_KEY: "}},
		{name: "password in a flag", files: rows, args: append(submit, "--redis-url", "redis://:n0t@127.0.0.1:1/0"), code: 1, said: []string{"--redis-url: a password in a flag"}},
		{name: "Redis not there", files: rows, args: submit, env: []string{"REDIS_URL=redis://127.0.0.1:1/0"}, code: 1, said: []string{"redis at 127.0.0.1:1: "}},
		{name: "Redis with an unknown name", files: rows, args: submit, env: []string{"REDIS_URL=redis://no-such-host.invalid:6379/0"}, code: 1, said: []string{"redis at no-such-host.invalid:6379: "}},
		{name: "no Redis URL", files: rows, args: submit, env: []string{"REDIS_URL=localhost:6379"}, code: 1, said: []string{"REDIS_URL: "}},
		{name: "no password", files: rows, args: submit, env: []string{"REDIS_URL=redis://" + locked + "/0"}, code: 1, said: []string{"password"}},
		{name: "wrong password", files: rows, args: submit, env: []string{"REDIS_URL=redis://:" + webhookSecret + "@" + locked + "/0"}, code: 1, said: []string{"password"}},
		{name: "mail server in place of Redis", files: rows, args: submit, env: []string{"REDIS_URL=redis://" + babbler(t) + "/0"}, code: 1, said: []string{"redis at "}},
	}
}

// babbler serves something that is no Redis.
func babbler(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			_, _ = conn.Write([]byte("220 mail.example.com ESMTP\r\n"))
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

// folder lays a case's files out.
func (b *bad) folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{"portals.csv": goodPortals}
	maps.Copy(files, b.files)
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// judge runs a case and wants what it says.
func (b *bad) judge(t *testing.T, client redis.UniversalClient, env []string) {
	t.Helper()
	cmd := command(t, "enqueue", append(env, b.env...), b.args...)
	cmd.Dir = b.folder(t)
	began := time.Now()
	p := launch(t, cmd)
	p.expect(b.code, 20*time.Second)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v to say so", took)
	}
	text := p.stderr.String()
	if b.args[0] == "check" {
		text += p.stdout.String()
	}
	for _, want := range b.said {
		n := 0
		for l := range strings.Lines(text) {
			if strings.Contains(l, want) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d lines say %q:\n%s", n, want, text)
		}
	}
	if n := strings.Count(text, "\n"); n > 8 {
		t.Errorf("it needed %d lines to say it:\n%s", n, text)
	}
	if strings.Contains(text, "goroutine ") || strings.Contains(text, "panic") {
		t.Errorf("a stack trace:\n%s", text)
	}
	noSecrets(t, text+p.stdout.String(), webhookSecret)
	if keys := client.Keys(t.Context(), "*").Val(); len(keys) > 0 && !b.queues {
		t.Errorf("left in Redis: %q", keys)
	}
	client.FlushDB(t.Context())
}

func TestBadInput(t *testing.T) {
	turn(t)
	server := redistest.Start(t)
	client := redistest.Client(t, server.URL)
	env := []string{"REDIS_URL=" + server.URL, "SECRETS_KEY=" + portals.NewKey(), "ALLOW_INSECURE_PORTALS="}
	for _, command := range []string{"check", "run", "submit"} {
		for _, b := range badRows() {
			b.args = append([]string{command, "--portals", "portals.csv"}, b.args...)
			t.Run(command+", "+b.name, func(t *testing.T) { b.judge(t, client, env) })
		}
		for _, b := range badPortals() {
			b.args = append([]string{command}, b.args...)
			t.Run(command+", "+b.name, func(t *testing.T) { b.judge(t, client, env) })
		}
	}
	for _, b := range badUse(t) {
		t.Run(b.name, func(t *testing.T) { b.judge(t, client, env) })
	}
}

// What is allowed but probably not meant is said, and goes on.
func TestWarnings(t *testing.T) {
	turn(t)
	server := redistest.Start(t)
	client := redistest.Client(t, server.URL)
	env := []string{"REDIS_URL=" + server.URL, "SECRETS_KEY=" + portals.NewKey(), "ALLOW_INSECURE_PORTALS="}
	six := header
	for i := range 6 {
		six += line("acme.bitrix24.ru", fmt.Sprintf("bot%d", i))
	}
	other := strings.ReplaceAll(line("acme.bitrix24.ru", "second"), "/events", "/other")
	for _, command := range []string{"check", "submit"} {
		for _, b := range []bad{
			{name: "sixth bot of an application", files: map[string]string{"rows.csv": six},
				said: []string{"warning: rows.csv:7: CODE: this is bot number 6 of one application on acme.bitrix24.ru"}},
			{name: "other handlers in this file", files: map[string]string{"rows.csv": header + line("acme.bitrix24.ru", "first") + other},
				said: []string{"warning: rows.csv:3: EVENT_HANDLER: row 1 registers other handler URLs"}},
			{name: "TYPE O with OPENLINE N", files: map[string]string{"rows.csv": "portal,CODE,NAME,EVENT_HANDLER,TYPE,OPENLINE\n" +
				strings.TrimSpace(line("acme.bitrix24.ru", "a")) + ",O,N\n"}, said: []string{"warning: rows.csv:2: OPENLINE: "}},
		} {
			b.queues, b.args = command == "submit", []string{command, "--portals", "portals.csv", "rows.csv"}
			t.Run(command+", "+b.name, func(t *testing.T) { b.judge(t, client, env) })
		}
	}
	t.Run("other handlers than an earlier run", func(t *testing.T) {
		first := bad{files: map[string]string{"rows.csv": header + line("acme.bitrix24.ru", "first")}}
		second := bad{files: map[string]string{"rows.csv": header + other}}
		const said = "rows.csv:2: EVENT_HANDLER: an earlier run registered other handler URLs"
		for i, b := range []bad{first, second, second} {
			p := start(t, "enqueue", env, "submit", "--portals", filepath.Join(b.folder(t), "portals.csv"), filepath.Join(b.folder(t), "rows.csv"))
			p.expect(0, 20*time.Second)
			if got := strings.Contains(p.stderr.String(), said); got != (i == 1) {
				t.Errorf("submission %d: warned: %v\n%s", i+1, got, p.stderr.String())
			}
		}
		client.FlushDB(t.Context())
	})
}
