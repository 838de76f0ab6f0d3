// Portals in a box, each on an address of its own, and the file that names them.

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"botfleet/bitrix/sandbox"
)

// webhookSecret is the secret of all webhooks here: nothing may ever print it.
const webhookSecret = "s3cr3tw3bh00kp4th"

// fleet is a sandbox whose portals other processes can call.
type fleet struct {
	t       *testing.T
	box     *sandbox.Sandbox
	names   []string
	entries []map[string]any // of the portals file
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	return &fleet{t: t, box: sandbox.Start(t, sandbox.WithLogSize(2000))}
}

// add adds a portal like the one given, and returns its name. set changes its
// line in the portals file.
func (f *fleet) add(like sandbox.Portal, set map[string]any) string {
	f.t.Helper()
	n := len(f.names)
	name, err := f.box.Listen(fmt.Sprintf("127.%d.%d.%d:0", 20+n/60000, n/250%240, 1+n%250))
	if err != nil {
		f.t.Fatal(err)
	}
	like.Name = name
	like.AnyWebhook = false
	like.Webhooks = []sandbox.Webhook{{User: "1", Secret: webhookSecret}}
	if _, err := f.box.Add(like); err != nil {
		f.t.Fatal(err)
	}
	entry := map[string]any{
		"portal": name, "webhook": "http://" + name + "/rest/1/" + webhookSecret + "/", "client_id": "fleet",
	}
	for k, v := range set {
		if entry[k] = v; v == nil {
			delete(entry, k)
		}
	}
	f.names = append(f.names, name)
	f.entries = append(f.entries, entry)
	return name
}

// addMany adds n portals of one kind.
func (f *fleet) addMany(n int, like sandbox.Portal, set map[string]any) {
	f.t.Helper()
	for range n {
		f.add(like, set)
	}
}

func (f *fleet) portal(name string) *sandbox.PortalState {
	f.t.Helper()
	st := f.box.Portal(name)
	if st == nil {
		f.t.Fatalf("no portal %s", name)
	}
	return st
}

// file writes the portals file.
func (f *fleet) file() string {
	f.t.Helper()
	return writeLines(f.t, "portals.jsonl", f.entries)
}

// writeLines writes values as JSON Lines into a folder of the test's own.
func writeLines[T any](t *testing.T, name string, values []T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	enc := json.NewEncoder(file)
	for _, v := range values {
		if err := enc.Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// bots counts the portals' bots, and fails the test when a CODE has two.
func (f *fleet) bots() int {
	f.t.Helper()
	total := 0
	for _, st := range f.box.Portals() {
		for code, n := range st.BotsByCode() {
			total += n
			if n != 1 {
				f.t.Errorf("portal %s has %d bots with the CODE %s", st.Name(), n, code)
			}
		}
	}
	return total
}
