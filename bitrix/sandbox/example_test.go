package sandbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"botfleet/bitrix/sandbox"
)

// A portal on a standard plan, called by its name.
func Example() {
	box := sandbox.New(sandbox.WithPortals(sandbox.Cloud("acme.bitrix24.ru")))
	defer box.Close()
	client := &http.Client{Transport: box.Transport()}

	resp, err := client.Post("https://acme.bitrix24.ru/rest/1/anything/imbot.register.json", "application/json", strings.NewReader(`{
		"CODE": "helper", "CLIENT_ID": "demo",
		"EVENT_HANDLER": "https://bots.example.com/events",
		"PROPERTIES": {"NAME": "Helper"}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(resp.Body)

	fmt.Println(resp.Status, strings.HasPrefix(string(body), `{"result":39,"time":{`))
	for _, b := range box.Portal("acme.bitrix24.ru").Bots() {
		fmt.Println(b.ID, b.Code, b.App, b.Type)
	}
	// Output:
	// 200 OK true
	// 39 helper customdemo B
}

// The answer to a call that has done its work is lost, once.
func ExamplePortalState_Inject() {
	box := sandbox.New(sandbox.WithPortals(sandbox.Unlimited("acme.bitrix24.ru")))
	defer box.Close()
	acme := box.Portal("acme.bitrix24.ru")
	err := acme.Inject(sandbox.Fault{Kind: sandbox.Reset, When: sandbox.After, Count: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := &http.Client{Transport: box.Transport()}
	for range 2 {
		resp, err := client.Post("https://acme.bitrix24.ru/rest/1/anything/profile", "application/json", http.NoBody)
		if err != nil {
			fmt.Println("no answer")
			continue
		}
		fmt.Println(resp.Status)
		_ = resp.Body.Close()
	}
	fmt.Println(acme.Stats().Faults[sandbox.Reset])
	// Output:
	// no answer
	// 200 OK
	// 1
}

// customer is what a service keeps of a portal that has installed its
// application.
type customer struct {
	Endpoint string       `json:"client_endpoint"`
	Access   string       `json:"access_token"`
	Refresh  string       `json:"refresh_token"`
	client   *http.Client // of the service
}

// profile asks the portal who it is signed in as. A token that has expired is
// renewed, once.
func (c *customer) profile() (name string, err error) {
	for range 2 {
		var answer struct {
			Result struct {
				Name string `json:"NAME"`
			} `json:"result"`
			Error string `json:"error"`
		}
		resp, err := c.client.PostForm(c.Endpoint+"profile", url.Values{"auth": {c.Access}})
		if err != nil {
			return "", err
		}
		if err := decode(resp, &answer); err != nil {
			return "", err
		}
		switch answer.Error {
		case "":
			return answer.Result.Name, nil
		case "expired_token", "invalid_token":
			if err := c.renew(); err != nil {
				return "", err
			}
		default:
			return "", fmt.Errorf("profile: %s", answer.Error)
		}
	}
	return "", errors.New("profile: a fresh token is refused")
}

// renew trades the refresh token for a new pair. A service stores the pair
// before it uses it.
func (c *customer) renew() error {
	resp, err := c.client.PostForm("https://oauth.bitrix24.tech/oauth/token/", url.Values{
		"grant_type": {"refresh_token"}, "client_id": {"local.demo"}, "client_secret": {"demo-secret"},
		"refresh_token": {c.Refresh},
	})
	if err != nil {
		return err
	}
	return decode(resp, c)
}

func decode(resp *http.Response, into any) error {
	defer func() { _ = resp.Body.Close() }()
	return json.NewDecoder(resp.Body).Decode(into)
}

// A service that signs in by OAuth, tested: a portal installs its application,
// its token expires, is renewed once, and nothing is sent where it should not be.
func ExampleWithApplication() {
	box := sandbox.New(
		sandbox.WithApplication("local.demo", "demo-secret"),
		sandbox.WithPortals(sandbox.Portal{Name: "acme.bitrix24.ru", App: "local.demo"}),
	)
	defer box.Close()
	acme := box.Portal("acme.bitrix24.ru")

	form := acme.Install() // what the portal posts; SendInstall posts it
	service := &customer{
		Endpoint: form.Get("auth[client_endpoint]"), Access: form.Get("auth[access_token]"), Refresh: form.Get("auth[refresh_token]"),
		client: &http.Client{Transport: box.Transport()},
	}
	fmt.Println(service.profile())
	acme.ExpireTokens()
	fmt.Println(service.profile())
	fmt.Println(service.profile())

	stats := acme.AuthStats()
	fmt.Println("renewed", stats.Refreshes, "times,", stats.Reused, "with a dead token")
	fmt.Println("rules broken:", len(box.Violations()))
	// Output:
	// Sandbox <nil>
	// Sandbox <nil>
	// Sandbox <nil>
	// renewed 1 times, 0 with a dead token
	// rules broken: 0
}
