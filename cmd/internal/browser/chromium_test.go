//go:build browser

// The browser: one process for all tests, and a profile of its own for each.

package browser

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// chromium is a running browser.
type chromium struct {
	*pipe

	cmd    *exec.Cmd
	to     *os.File
	from   *os.File
	output bytes.Buffer
	exited chan struct{}
}

// flags of the browser. What it would ask other hosts for by itself is off, and no
// name leads anywhere; pages of this machine alone are shown, so it needs no sandbox,
// which containers often forbid.
func flags(profile string) []string {
	return []string{
		"--headless", "--remote-debugging-pipe", "--no-sandbox", "--user-data-dir=" + profile,
		"--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-default-browser-check", "--hide-scrollbars",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
		"--disable-default-apps", "--disable-features=Translate,OptimizationHints,MediaRouter",
		"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
		"--force-color-profile=srgb", "--font-render-hinting=none", "about:blank",
	}
}

func startChromium(profile string) (*chromium, error) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		return nil, errors.New("these tests need chromium in PATH: install it, for example with make chromium")
	}
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c := &chromium{to: ourOut, from: ourIn, exited: make(chan struct{}), cmd: exec.Command(path, flags(profile)...)}
	c.cmd.ExtraFiles = []*os.File{theirIn, theirOut} // 3 and 4, as --remote-debugging-pipe has them
	c.cmd.Stdout, c.cmd.Stderr = &c.output, &c.output
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	_, _ = theirIn.Close(), theirOut.Close() // the browser has its own
	go func() {                              // ends with the process, which close waits for
		defer close(c.exited)
		_ = c.cmd.Wait()
	}()
	c.pipe = newPipe(ourOut, ourIn)
	if err := c.call("", "Browser.getVersion", nil, nil); err != nil {
		c.close()
		return nil, fmt.Errorf("start chromium: %w\n%s", err, c.output.String())
	}
	return c, nil
}

// close ends the browser; it is killed when it does not go.
func (c *chromium) close() {
	_ = c.call("", "Browser.close", nil, nil) // it may have ended
	deadline := time.NewTimer(5 * time.Second)
	defer deadline.Stop()
	select {
	case <-c.exited:
	case <-deadline.C:
		_ = c.cmd.Process.Kill()
		<-c.exited
	}
	_, _ = c.to.Close(), c.from.Close()
	<-c.ended
}
