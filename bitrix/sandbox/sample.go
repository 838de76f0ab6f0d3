// The sample of the quick start: some rows to register and portals to register
// them on.

package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// sampleHosts are the sample's portals. Every fifth is on an Enterprise plan.
var sampleHosts = [...]string{
	"acme.bitrix24.ru", "romashka.bitrix24.ru", "vector.bitrix24.ru", "northwind.bitrix24.com", "orion.bitrix24.ru",
	"stroymir.bitrix24.ru", "contoso.bitrix24.eu", "lavka.bitrix24.ru", "medcity.bitrix24.ru", "globex.bitrix24.com",
	"avtodom.bitrix24.ru", "initech.bitrix24.com", "kofemolka.bitrix24.ru", "uyut.bitrix24.ru", "umbrella.bitrix24.de",
	"severles.bitrix24.ru", "hooli.bitrix24.com", "pekarnya.bitrix24.ru", "rosinka.bitrix24.by", "zvezda.bitrix24.kz",
}

// sampleBot is one of the bots that are spread over the portals.
type sampleBot struct {
	code, kind, openLine, color, name, lastName, position, gender string
}

var sampleBots = [...]sampleBot{
	{"helper", "B", "N", "AZURE", "Helper", "", "Answers everyday questions", ""},
	{"support", "O", "Y", "GREEN", "Анна", "Поддержкина", "Первая линия поддержки", "F"},
	{"reports", "B", "N", "PURPLE", "Отчёты", "", "Собирает цифры по утрам", ""},
	{"sales", "O", "Y", "RED", "Sales desk", "", "Takes orders in Open Channels", ""},
	{"hr", "B", "N", "MINT", "Кадровик", "", "Отпуска и справки", "F"},
	{"auditor", "S", "N", "GRAPHITE", "Auditor", "", "Keeps minutes of chats", ""},
	{"delivery", "B", "N", "LIME", "Доставка", "", "Где мой заказ?", "M"},
	{"it_desk", "B", "N", "DARK_BLUE", "IT desk", "", "Passwords & printers", ""},
	{"reminder", "B", "N", "SAND", "Напоминалка", "", "Не даст забыть", ""},
	{"greeter", "B", "N", "PINK", "Olga", "Welcome", "Shows newcomers around", "F"},
}

const botsPerSample = 3

// Sample returns the quick start's input: 60 rows for 20 portals, and those
// portals, both as JSON Lines in the project's input formats. All rows are
// valid; those of one portal belong to one application and share its handler.
func Sample() (rows, portals []byte) {
	var r, p bytes.Buffer
	for i, host := range sampleHosts {
		w := sampleWebhook(i)
		writeLine(&p, map[string]any{
			"portal": host, "webhook": fmt.Sprintf("https://%s/rest/%s/%s/", host, w.User, string(w.Secret)),
			"client_id": sampleClient(i), "plan": samplePlan(i),
		})
		for n := range botsPerSample {
			// 3 and 10 share no factor, so portals differ in what they get.
			writeLine(&r, sampleBots[(i*botsPerSample+n)%len(sampleBots)].row(host))
		}
	}
	return r.Bytes(), p.Bytes()
}

// SamplePortals returns the portals of [Sample], with the limits of their plans.
func SamplePortals() []Portal {
	out := make([]Portal, len(sampleHosts))
	for i, host := range sampleHosts {
		out[i] = Cloud(host)
		out[i].Plan = samplePlan(i)
		out[i].AnyWebhook = false
		out[i].Webhooks = []Webhook{sampleWebhook(i)}
	}
	return out
}

func (b sampleBot) row(host string) map[string]any {
	properties := map[string]any{"NAME": b.name, "COLOR": b.color, "WORK_POSITION": b.position}
	if b.lastName != "" {
		properties["LAST_NAME"] = b.lastName
	}
	if b.gender != "" {
		properties["PERSONAL_GENDER"] = b.gender
	}
	return map[string]any{
		"portal": host, "CODE": b.code, "TYPE": b.kind, "OPENLINE": b.openLine,
		"EVENT_HANDLER": "https://bots.example.com/" + host, "PROPERTIES": properties,
	}
}

// sampleWebhook is made up; no portal outside the sandbox knows it.
func sampleWebhook(i int) Webhook {
	return Webhook{User: "1", Secret: Secret(fmt.Sprintf("sandbox%09d", i+1))}
}

func sampleClient(i int) string { return fmt.Sprintf("sample%02d", i+1) }

func samplePlan(i int) string {
	if i%5 == 4 {
		return "enterprise"
	}
	return "standard"
}

func writeLine(b *bytes.Buffer, v map[string]any) {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) //nolint:errchkjson // strings into memory cannot go wrong
}
