// What processes print.

package built

import (
	"bytes"
	"strings"
	"sync"
)

// Output gathers what a process prints, while others read it.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write is for the process.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String is what has been printed so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Tail is the end of a long text, with the whole of what a Go program says upon Quit.
func Tail(text string) string {
	const most = 4000
	end := len(text)
	if dump := strings.Index(text, "SIGQUIT: quit"); dump >= 0 {
		end = dump
	}
	if end <= most {
		return text
	}
	return "…" + text[end-most:]
}
