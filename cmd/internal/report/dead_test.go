package report

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestATableOfDeadRows(t *testing.T) {
	at := time.Date(2026, 11, 22, 7, 0, 2, 0, time.Local)
	results := []Result{
		{Row: 3, ID: "k\n", Portal: "acme.bitrix24.ru", Code: "helper", Status: Dead, Attempts: 8, DoneAt: at, Class: "transient",
			Error: &Failure{Code: "HTTP_502", Description: "bad\ngateway"}, Retried: &Retried{At: at, Times: 1}},
		{Row: 1200, Portal: "acme.bitrix24.ru", Code: "x", Status: Dead, Class: "validation"},
	}
	const want = `ROW   ID  PORTAL            CODE    CLASS       ERROR     TRIES  WHEN                 DESCRIPTION
3     k   acme.bitrix24.ru  helper  transient   HTTP_502  8      2026-11-22 07:00:02  bad gateway (queued again once)
1200      acme.bitrix24.ru  x       validation            0                           
`
	if diff := cmp.Diff(want, written(t, Table, Options{Dead: true, Color: true}, results...)); diff != "" {
		t.Error(diff)
	}
}

// Files of before retries had three columns less.
func TestAnEarlierCSVIsTakenUp(t *testing.T) {
	path := put(t, "out.csv", strings.Join(firstColumns, ",")+"\n"+
		"12,k,acme.bitrix24.ru,helper,registered,39,false,created,1,,,,,,,,\n13,,acme.bitrix24.ru,x,dead,,,,8,,,transient,E,,,,\n")
	o := open(t, path)
	if r, ok := o.Registered("acme.bitrix24.ru", "HELPER"); !ok || r.BotID != 39 || o.Kept() != 1 {
		t.Errorf("%+v, %d kept", r, o.Kept())
	}
	if err := o.Write(samples()[2]); err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	text := content(t, path)
	if !strings.HasPrefix(text, csvHeader) || strings.Count(text, "\n") != 3 || !strings.HasSuffix(text, ",2\n") {
		t.Error(text)
	}
}
