package sandbox

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestParseForm(t *testing.T) {
	for text, want := range map[string]string{
		"a=1&b=2&a=3":                `{"a":"3","b":"2"}`,
		"a[x]=1&a[y][z]=2":           `{"a":{"x":"1","y":{"z":"2"}}}`,
		"a[]=1&a[]=2&a[5]=3&a[]=4":   `{"a":{"0":"1","1":"2","5":"3","6":"4"}}`,
		"a[]=1&a[]=2":                `{"a":["1","2"]}`,
		"a%5Bx%5D=%D0%AF+%2B":        `{"a":{"x":"\u042f +"}}`,
		"a=1&a[b]=2":                 `{"a":{"b":"2"}}`,
		"a.b c=1":                    `{"a_b_c":"1"}`,
		"a[b.c]=1":                   `{"a":{"b.c":"1"}}`,
		"a[b=1":                      `{"a_b":"1"}`,
		"a[b]x[c]=1":                 `{"a":{"b":"1"}}`,
		"[a]=1":                      `{"[a]":"1"}`,
		"a":                          `{"a":""}`,
		"=1&&a=%zz%4":                `{"a":"%zz%4"}`,
		" a=1":                       `{"a":"1"}`,
		"":                           `[]`,
		"a[x][]=1&a[x][]=2&a[][]=3":  `{"a":{"x":["1","2"],"0":["3"]}}`,
		"x" + deep(65) + "=1&y=2":    `{"y":"2"}`,
		"a[0]=x&a[1]=y&a=z&b[c]=d&b": `{"a":"z","b":""}`,
	} {
		into := &array{}
		parseForm(text, into)
		if got := string(appendArray(nil, into)); got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
}

func deep(n int) string { return strings.Repeat("[a]", n) }

func TestPHPEmpty(t *testing.T) {
	a, ok := parseJSON([]byte(`[null,false,0,0.0,"","0",[],{}, true,1,"00","a",[0]," "]`))
	if !ok {
		t.Fatal("not decoded")
	}
	for i, v := range a.values {
		if got, want := phpEmpty(v), i < 8; got != want {
			t.Errorf("empty of %v is %v", v, got)
		}
	}
}

func TestSurrogates(t *testing.T) {
	for text, want := range map[string]bool{
		`"\ud83d\ude00"`: true, `"\uD83D\uDE00x"`: true, `"\\ud83d"`: true, `"\u00e9"`: true,
		`"\ud83d"`: false, `"\ud83dx"`: false, `"\ud83d\n"`: false, `"\ud83d\u0041"`: false, `"\ude00"`: false,
		`"\\\ud83d"`: false, `"\ud83d\ud83d\ude00"`: false,
	} {
		if _, ok := parseJSON([]byte("[" + text + "]")); ok != want {
			t.Errorf("%s decodes: %v", text, ok)
		}
	}
}

func TestLongArraysKeepTheirOrder(t *testing.T) {
	a := &array{}
	for i := range 500 {
		a.set("k"+itoa(i%100), i)
	}
	for i, k := range a.keys {
		if k != "k"+itoa(i) || a.get(k) != 400+i {
			t.Fatalf("%d: %s is %v", i, k, a.get(k))
		}
	}
	if a.len() != 100 || a.get("k100") != nil {
		t.Error("wrong content")
	}
}

// TestFormRoundTrip writes nested values as PHP's http_build_query does and
// reads them back.
func TestFormRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawArray(t, 3)
		var pairs []string
		build(want, "", &pairs)
		got := &array{}
		parseForm(strings.Join(pairs, "&"), got)
		if g, w := string(appendArray(nil, got)), string(appendArray(nil, want)); g != w {
			t.Fatalf("%s\n got %s\nwant %s", strings.Join(pairs, "&"), g, w)
		}
	})
}

func drawArray(t *rapid.T, depth int) *array {
	a := &array{}
	for _, key := range rapid.SliceOfNDistinct(rapid.StringMatching(`[A-Z_0-9]{1,5}`), 1, 4, rapid.ID).Draw(t, "keys") {
		if depth > 0 && rapid.Bool().Draw(t, "nested") {
			a.set(key, drawArray(t, depth-1))
		} else {
			a.set(key, rapid.String().Draw(t, "value"))
		}
	}
	return a
}

func build(a *array, prefix string, pairs *[]string) {
	for i, key := range a.keys {
		if prefix != "" {
			key = prefix + "[" + key + "]"
		}
		if child, ok := a.values[i].(*array); ok {
			build(child, key, pairs)
			continue
		}
		*pairs = append(*pairs, url.QueryEscape(key)+"="+url.QueryEscape(a.values[i].(string)))
	}
}

func FuzzParseForm(f *testing.F) {
	for _, seed := range []string{"a[b][]=1&a[b][]=2", "a[=1", "%5B%5D=&[]", "a[b]c[d]=e", "CODE=x&PROPERTIES%5BNAME%5D=%D0%AF"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		into := &array{}
		parseForm(text, into)
		if out := appendArray(nil, into); !json.Valid(out) {
			t.Errorf("%q became %s", text, out)
		}
	})
}

func FuzzParseJSON(f *testing.F) {
	for _, seed := range []string{`{"a":[1,{"b":null}],"c":"\ud83d\ude00"}`, `[]`, `{"a":1,"a":2}`, `"x"`, `{"a":"\ud83d"}`, `{"a":1e400}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a, ok := parseJSON(body)
		if !ok {
			return
		}
		out := appendArray(nil, a)
		again, ok := parseJSON(out)
		if !ok || string(appendArray(nil, again)) != string(out) {
			t.Errorf("%q became %s", body, out)
		}
	})
}

func FuzzAppendString(f *testing.F) {
	for _, seed := range []string{"it's", "a/b\\c", "\u2028🤖", "\x00\x1f", "\xff", `<a href="x">&`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		out := appendString(nil, s)
		if err := json.Unmarshal(out, &back); err != nil || back != strings.ToValidUTF8(s, "\ufffd") && utf8.ValidString(s) {
			t.Errorf("%q became %s: %v", s, out, err)
		}
	})
}

func FuzzHandlerProblem(f *testing.F) {
	for _, seed := range []string{"https://a.b/c", "http://", "://", "https://u:p@a.b:1/", "a.b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, u string) {
		if handlerProblem(u) == "" && !strings.HasPrefix(u, "http://") && !strings.HasPrefix(u, "https://") {
			t.Errorf("%q passes", u)
		}
	})
}
