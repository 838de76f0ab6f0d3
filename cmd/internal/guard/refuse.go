// What those read who are not let in.

package guard

import (
	"fmt"
	"html"
	"net/http"
	"strconv"
)

func refuseUnguarded(w http.ResponseWriter, _ *http.Request) {
	refuse(w, http.StatusForbidden, "These pages need a password",
		"They show the queue and let it be changed. Without a password they are served only on a loopback address, "+
			"to whoever opens them under that address or the name localhost, and not through a proxy.",
		"Set the environment variables DASHBOARD_USER and DASHBOARD_PASSWORD for the worker, and start it again. "+
			"The worker itself runs: /healthz, /readyz and /metrics need no password.")
}

func refuseStranger(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("WWW-Authenticate", `Basic realm="botfleet", charset="UTF-8"`)
	refuse(w, http.StatusUnauthorized, "Who are you?",
		"These pages need the user and the password that the worker has in DASHBOARD_USER and DASHBOARD_PASSWORD.")
}

func refuseGuesser(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Retry-After", strconv.Itoa(int(guessEvery.Seconds())))
	refuse(w, http.StatusTooManyRequests, "Too many wrong passwords",
		fmt.Sprintf("They came from your address or your browser, so none from there is looked at now, the right one neither. Try again in %d seconds.", int(guessEvery.Seconds())),
		"Behind a proxy everybody has one address. A browser that has signed in before is not shut out by what others send; another one gets in from another address, past the proxy.")
}

func refuseOtherSite(w http.ResponseWriter, _ *http.Request) {
	refuse(w, http.StatusForbidden, "This came from another site",
		"Changes are taken from these pages only. If a proxy stands between, it has to pass on the Host header as it is.")
}

// refuse writes a page of paragraphs.
func refuse(w http.ResponseWriter, status int, title string, paragraphs ...string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>%[1]s</title></head><body><main><h1>%[1]s</h1>`, html.EscapeString(title))
	for _, p := range paragraphs {
		_, _ = fmt.Fprintf(w, "\n<p>%s</p>", html.EscapeString(p))
	}
	_, _ = fmt.Fprintln(w, "\n</main></body></html>")
}
