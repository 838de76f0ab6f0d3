// Reading a request: its body, its path, its parameters.

package sandbox

import (
	"io"
	"net/http"
	"strings"
)

// maxBody is how much of a request is taken; more gets nginx's 413.
const maxBody = 32 << 20

func readBody(r *http.Request) ([]byte, error) {
	if r.ContentLength > maxBody {
		return nil, &http.MaxBytesError{Limit: maxBody}
	}
	if n := r.ContentLength; n >= 0 {
		b := make([]byte, n)
		_, err := io.ReadFull(r.Body, b)
		return b, err
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err == nil && len(b) > maxBody {
		err = &http.MaxBytesError{Limit: maxBody}
	}
	return b, err
}

// parse takes the path and the parameters apart. It refuses paths that do not
// lead to the REST server.
func (x *exchange) parse(body []byte) bool {
	parts := strings.Split(strings.Trim(x.r.URL.Path, "/"), "/")
	if parts[0] != "rest" {
		return false
	}
	switch len(parts) {
	case 1: // no method
	case 2:
		x.method = methodName(parts[1])
	case 3, 4:
		x.signIn = signIn{webhook: true, user: parts[1], secret: parts[2]}
		x.method = methodName(strings.Join(parts[3:], ""))
	default:
		return false
	}
	x.params = &array{}
	parseForm(x.r.URL.RawQuery, x.params)
	x.readParams(body)
	if !x.signIn.webhook {
		bearer, _ := strings.CutPrefix(x.r.Header.Get("Authorization"), "Bearer ")
		x.signIn.token = x.params.text("auth")
		if x.signIn.token == "" {
			x.signIn.token = bearer
		}
		x.signIn.sessid = x.params.text("sessid")
	}
	return true
}

// readParams adds the body's parameters. What cannot be decoded adds none, and
// nobody is told.
func (x *exchange) readParams(body []byte) {
	if strings.HasPrefix(x.r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		parseForm(string(body), x.params)
		return
	}
	given, ok := parseJSON(body)
	if !ok {
		return
	}
	if x.params.len() == 0 {
		x.params = given
		return
	}
	for i, k := range given.keys {
		x.params.set(k, given.values[i])
	}
}
