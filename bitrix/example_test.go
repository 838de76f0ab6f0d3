package bitrix_test

import (
	"context"
	"errors"
	"fmt"

	"botfleet/bitrix"
	"botfleet/bitrix/sandbox"
)

// A bot is checked, registered, and found to be there: what a portal has it returns
// as it is. A program leaves Transport out, and has the webhook's URL from the portal.
func Example() {
	ctx := context.Background()
	box := sandbox.New(sandbox.WithPortals(sandbox.Cloud("acme.bitrix24.ru")))
	defer box.Close()
	client := bitrix.NewClient(bitrix.Config{UserAgent: "example/1.0", Transport: box.Transport()})
	defer client.Close()

	access, err := bitrix.ParseWebhook("https://acme.bitrix24.ru/rest/1/your-webhook-secret/")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(access) // as a log would show it

	bot := &bitrix.Bot{Code: "helper", ClientID: "my-app", EventHandler: "https://bots.example.com/events"}
	for _, p := range bot.Validate(bitrix.Rules{}) {
		fmt.Println(p.Field, p.Code)
	}
	bot.Properties.Name = "Helper"
	for range 2 {
		registered, err := client.Register(ctx, access, bot)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("BOT_ID", registered.BotID)
	}
	// Output:
	// webhook https://acme.bitrix24.ru/rest/[hidden]
	// PROPERTIES.NAME NAME_ERROR
	// BOT_ID 39
	// BOT_ID 39
}

// Every failure has a class, which says what may be done about it.
func ExampleClassOf() {
	box := sandbox.New(sandbox.WithPortals(sandbox.Cloud("acme.bitrix24.ru")))
	defer box.Close()
	client := bitrix.NewClient(bitrix.Config{Transport: box.Transport()})
	defer client.Close()
	access, err := bitrix.ParseWebhook("https://acme.bitrix24.ru/rest/1/your-webhook-secret/")
	if err != nil {
		fmt.Println(err)
		return
	}

	_, err = client.Register(context.Background(), access, &bitrix.Bot{Code: "helper"}) // without CLIENT_ID
	fmt.Println(bitrix.ClassOf(err))
	if failed, ok := errors.AsType[*bitrix.Error](err); ok {
		fmt.Println(failed.Code, failed.Status)
	}
	// Output:
	// validation
	// ACCESS_DENIED 403
}
