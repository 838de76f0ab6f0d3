// The subcommand health: asks a running worker how it is, where there is no curl,
// as in an image that holds nothing but the commands.

package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"botfleet/cmd/internal/config"
)

// probeWait bounds a question: a worker gives itself 2 s to look whether Redis answers.
const probeWait = 4 * time.Second

// newHealth is the command that asks the worker on HTTP_ADDR. It reads no other
// setting: a bad one is the worker's to complain of.
func newHealth(environ []string) *cobra.Command {
	var live bool
	var flags config.Flags
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the worker on HTTP_ADDR whether it can work",
		Long: `Ask the worker that serves HTTP_ADDR whether it can work (/readyz), or with --live
only whether it lives (/healthz). For health checks where there is no curl.

Exit status:
  0  it says yes
  1  it says no, or nothing within 4 s; one line says why`,
		Example: `  worker health
  HTTP_ADDR=0.0.0.0:8080 worker health --live         # any address is asked on this machine`,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(only(environ, "HTTP_ADDR"), flags)
			if err != nil {
				return err
			}
			path := "/readyz"
			if live {
				path = "/healthz"
			}
			ctx, cancel := context.WithTimeout(context.Background(), probeWait)
			defer cancel()
			said, err := ask(ctx, cfg.HTTPAddr, path)
			if err == nil {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), said)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "ask only whether it lives: Redis does not count")
	flags = config.AddFlags(cmd.Flags())
	config.HideFlags(cmd.Flags())
	cmd.Flags().Lookup("http-addr").Hidden = false
	return cmd
}

// only returns the lines of environ that set name.
func only(environ []string, name string) (lines []string) {
	for _, line := range environ {
		if strings.HasPrefix(line, name+"=") {
			lines = append(lines, line)
		}
	}
	return lines
}

// answerCap is how much of an answer is read; the first line is what counts.
const answerCap = 4 << 10

// ask returns the first line of a page that answers 200; anything else is an error.
func ask(ctx context.Context, addr, path string) (string, error) {
	host, err := askable(addr)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+path, nil)
	if err != nil {
		return "", fmt.Errorf("HTTP_ADDR: %w", err)
	}
	res, err := probeClient().Do(req)
	if err != nil {
		return "", fmt.Errorf("no answer: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, answerCap))
	if err != nil {
		return "", fmt.Errorf("no whole answer from %s: %w", host, err)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("HTTP %d: %s", res.StatusCode, line)
	}
	return line, nil
}

// probeClient takes neither a proxy nor a redirect: it is this worker that is asked.
func probeClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// askable is where a worker that listens on addr is asked: an address that stands
// for all of the machine's is asked on the loopback.
func askable(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("HTTP_ADDR: %w", err)
	}
	if port == "0" || port == "" {
		return "", errors.New("HTTP_ADDR: its port is chosen when the worker starts, so there is nobody to ask: give it one")
	}
	switch ip := net.ParseIP(host); {
	case host == "", ip.Equal(net.IPv4zero):
		host = "127.0.0.1"
	case ip.Equal(net.IPv6unspecified):
		host = "::1"
	}
	return net.JoinHostPort(host, port), nil
}
