package e2e
import ("os";"testing")
func dumpLog(t *testing.T, name string, w *process) { _ = os.WriteFile("/tmp/h-faults/"+name+".log", []byte(w.stderr.String()), 0o600) }
