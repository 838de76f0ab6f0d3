// The built commands, a portal in a box, a real Redis and a collector.

package export

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/cmd/internal/built"
	"botfleet/ratelimit/redistest"
)

// program is a built command with its environment.
type program struct {
	*built.Process

	path    string
	environ []string
	says    built.Output
}

func (p *program) start(t *testing.T, args ...string) {
	t.Helper()
	cmd := built.Command(t.Context(), p.path, p.environ, args...)
	cmd.Stdout, cmd.Stderr = &p.says, &p.says
	var err error
	if p.Process, err = built.Start(cmd); err != nil {
		t.Fatal(err)
	}
}

// stop is SIGTERM, and what comes of it within SHUTDOWN_TIMEOUT.
func (p *program) stop(t *testing.T) {
	t.Helper()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := p.Wait(ctx); err != nil {
		p.Quit()
		t.Fatalf("%v: %s", err, built.Tail(p.says.String()))
	}
	if err := p.Err(); err != nil {
		t.Fatalf("%v: %s", err, p.says.String())
	}
}

const portalSecret = "w3bh00k-s3cr3t"

// world is where the built commands work: files of portals and rows included.
func world(t *testing.T, collector string) (worker, enqueue *program, portalsFile, rowsFile string) {
	t.Helper()
	dir := t.TempDir()
	if err := built.Build(t.Context(), dir, false, "traced/worker", "traced/enqueue"); err != nil {
		t.Fatal(err)
	}
	box := sandbox.Start(t, sandbox.WithUnknownHosts(sandbox.Cloud("")))
	addr := box.Addr()
	portalsFile, rowsFile = filepath.Join(dir, "portals.csv"), filepath.Join(dir, "bots.jsonl")
	var rows strings.Builder
	for i := range 60 {
		fmt.Fprintf(&rows, `{"portal":%q,"CODE":"bot%d","EVENT_HANDLER":"https://bots.example.com/events","PROPERTIES":{"NAME":"Helper"}}`+"\n", addr, i)
	}
	for path, text := range map[string]string{
		portalsFile: "portal,webhook,client_id\n" + addr + ",http://" + addr + "/rest/1/" + portalSecret + "/,my-app\n",
		rowsFile:    rows.String(),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	environ := []string{
		"REDIS_URL=" + redistest.Start(t).URL, "SECRETS_KEY=" + portals.NewKey(), "ALLOW_INSECURE_PORTALS=127.0.0.0/8",
		"HTTP_ADDR=127.0.0.1:0", "SHUTDOWN_TIMEOUT=20s",
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector, "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20" + credential,
		"OTEL_RESOURCE_ATTRIBUTES=team=crm",
	}
	return &program{path: filepath.Join(dir, "worker"), environ: environ}, &program{path: filepath.Join(dir, "enqueue"), environ: environ}, portalsFile, rowsFile
}

func TestTheCommandsTellACollector(t *testing.T) {
	c := newCollector(t)
	worker, enqueue, list, rows := world(t, c.URL)
	worker.start(t)
	enqueue.start(t, "submit", "--portals", list, "--wait", "--output", filepath.Join(t.TempDir(), "out.jsonl"), rows)
	if err := enqueue.Err(); err != nil {
		t.Fatalf("%v: %s\n%s", err, enqueue.says.String(), worker.says.String())
	}
	if c.named()["queue row"] != 60 { // its own are told before it ends
		t.Errorf("%v", c.named())
	}
	worker.stop(t)
	if n := c.named(); n["submit"] != 1 || n["register bot"] < 60 || n["imbot.register"]+n["batch"] == 0 {
		t.Errorf("%v", n)
	}
	queued := map[string]bool{}
	for _, s := range c.spans {
		if s.GetName() == "queue row" {
			queued[string(s.GetTraceId())+string(s.GetSpanId())] = true
		}
	}
	for _, s := range c.spans {
		if s.GetName() == "register bot" && !queued[string(s.GetTraceId())+string(s.GetParentSpanId())] {
			t.Error("a turn does not follow its row's queueing")
		}
	}
	all := fmt.Sprint(c.spans) + worker.says.String() + enqueue.says.String()
	for _, hidden := range []string{portalSecret, credential, "/rest/"} {
		if strings.Contains(all, hidden) {
			t.Errorf("%q is in what is exported or said", hidden)
		}
	}
	if c.header.Get("Authorization") != "Bearer "+credential || c.service != "botfleet-worker" {
		t.Errorf("%q says who it is with %v", c.service, c.header)
	}
}

// The collector is away: rows are registered all the same, one line says that
// traces are lost, and the worker stops in time.
func TestTheCommandsWorkWithoutTheirCollector(t *testing.T) {
	c := newCollector(t)
	c.Close()
	worker, enqueue, list, rows := world(t, c.URL)
	worker.environ = append(worker.environ, "OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_BSP_EXPORT_TIMEOUT=200")
	worker.start(t)
	enqueue.start(t, "submit", "--portals", list, "--wait", "--output", filepath.Join(t.TempDir(), "out.jsonl"), rows)
	if err := enqueue.Err(); err != nil {
		t.Fatalf("%v: %s\n%s", err, enqueue.says.String(), worker.says.String())
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := worker.Await(ctx, func() bool { return strings.Contains(worker.says.String(), "traces are lost") }); err != nil {
		t.Fatalf("nothing is said of lost traces: %v", err)
	}
	worker.stop(t)
	said := worker.says.String()
	if strings.Count(said, "traces are lost, until") != 1 || strings.Count(said, "the last traces are lost") != 1 {
		t.Error(said)
	}
	if strings.Contains(said+enqueue.says.String(), credential) {
		t.Errorf("a credential is said: %s", said)
	}
}
