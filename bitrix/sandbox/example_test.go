package sandbox_test

import (
	"fmt"
	"io"
	"net/http"
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
