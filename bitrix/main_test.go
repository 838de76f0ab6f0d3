// Shared by the tests: the check for leaked goroutines, and a valid bot.

package bitrix

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testSecret = "9q1zSecretPath77"

func goodBot() *Bot {
	return &Bot{
		Code: "helper", Type: "B", OpenLine: "N", ClientID: "app1",
		EventHandler: "https://bots.example.com/events",
		Properties: Properties{
			Name: "Helper", LastName: "Of all", Color: "AZURE", Email: "bot@example.com",
			PersonalBirthday: "2016-03-11", WorkPosition: "Helps", PersonalWWW: "https://example.com",
			PersonalGender: "F",
		},
	}
}

func mustWebhook(t testing.TB, raw string) Access {
	t.Helper()
	a, err := ParseWebhook(raw)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func mustEndpoints(t testing.TB, list string) Endpoints {
	t.Helper()
	e, err := ParseEndpoints(list)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
