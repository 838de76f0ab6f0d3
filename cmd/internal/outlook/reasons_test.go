// What put-off tasks say that their rows wait for.

package outlook_test

import (
	"testing"

	"botfleet/cmd/internal/outlook"
)

func TestReasonsAreOneKindEach(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"waits for a new token: invalid_client: the access token could not be renewed: authorization server: invalid_client: the authorization server is left alone for a while; last time: it does not accept the application, until 10:00",
			"waits for a new token: invalid_client: the access token could not be renewed: authorization server: invalid_client: it does not accept the application"},
		{"credentials of portal a.bitrix24.ru do not open: they are sealed, until 10:00", "credentials do not open: they are sealed"},
		{"portal held: x, until 10:00", "portal held: x"},
		{"waits for its turn on the portal, until 2026-11-22T20:00:00Z", "waits for its turn on the portal"},
		{"attempt 2: X: y, until 10:00", "the next attempt after X: y"},
		{"attempt 2: INTERNAL_SERVER_ERROR: it stumbled, until then, until 2026-1", "the next attempt after INTERNAL_SERVER_ERROR: it stumbled, until then"},
		{"", ""},
		{"strange", "strange"},
	} {
		if got := outlook.Reason(c.in); got != c.want {
			t.Errorf("%q\n got %q\nwant %q", c.in, got, c.want)
		}
	}
}
