package rowfile

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func photoFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"in/img/a.png": "picture", "in/empty.png": "", "out.png": "not yours",
		"in/max.png": strings.Repeat("x", maxPhoto), "in/large.png": strings.Repeat("x", maxPhoto+1),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../out.png", filepath.Join(dir, "in", "link.png")); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "in")
}

func TestPhotos(t *testing.T) {
	folder := photoFolder(t)
	p := newPhotos(folder)
	picture := base64.StdEncoding.EncodeToString([]byte("picture"))
	tests := []struct{ path, content, problem string }{
		{"img/a.png", picture, ""},
		{"img/../img/a.png", picture, ""},
		{filepath.Join(folder, "img/a.png"), picture, ""},
		{"../out.png", "", "photo ../out.png is outside the input's folder; put it there or in a folder below"},
		{"/etc/passwd", "", "is outside the input's folder; put it there or in a folder below"},
		{"link.png", "", "photo link.png cannot be read: path escapes from parent"},
		{"no.png", "", "photo no.png: there is no such file"},
		{"img", "", "photo img is not a file"},
		{"empty.png", "", "photo empty.png is empty"},
		{"large.png", "", "photo large.png is larger than 5 MB"},
		{" ", "", "@ without a file name"},
	}
	for range 2 { // from disk, then as kept
		for _, tt := range tests {
			content, problem := p.load(tt.path)
			if content != tt.content || !strings.HasSuffix(problem, tt.problem) || (tt.problem == "") != (problem == "") {
				t.Errorf("%q: content %q, problem %q", tt.path, content, problem)
			}
		}
	}
	if content, problem := p.load("max.png"); problem != "" || base64.StdEncoding.DecodedLen(len(content)) < maxPhoto {
		t.Errorf("a photo of exactly 5 MB: %q", problem)
	}
}

func TestPhotosKeptAreBounded(t *testing.T) {
	p := newPhotos(t.TempDir())
	content := strings.Repeat("x", 1<<20)
	for i := range 200 {
		p.keep(&photo{path: strconv.Itoa(i), content: content})
	}
	if p.bytes > keptPhotos || len(p.kept) != p.order.Len() || len(p.kept) < 50 {
		t.Errorf("%d photos of %d bytes kept", len(p.kept), p.bytes)
	}
	if _, ok := p.kept["199"]; !ok {
		t.Error("the latest photo is not kept")
	}
}

func TestLoadBot(t *testing.T) {
	folder := photoFolder(t)
	tests := []struct{ content, want string }{
		{"\xef\xbb\xbf\n{\"CODE\":\"x\",\"NAME\":\"n\",\"PERSONAL_PHOTO\":\"@img/a.png\"}\n", ""},
		{"", "bot.json: is empty; it should hold one object {…}"},
		{"[]", "bot.json:1: is a list; a bot is one object {…}"},
		{"\n{\"CODE\":\n\"x\",}", "bot.json:3: not valid JSON: invalid character '}' looking for beginning of object key string"},
		{`{"portal":"a.b","CODE":1}`, "bot.json:1: CODE: is a number; write it in quotes: \"1\"\nbot.json:1: portal: has no place here: the bot is for every portal"},
		{"{\"CODE\":\"\xff\"}", "bot.json: " + notUTF8},
		{"\xff\xfe{", "bot.json: cannot be read: " + utf16},
	}
	for _, tt := range tests {
		path := filepath.Join(folder, "bot.json")
		if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		bot, err := LoadBot(path)
		got := ""
		if err != nil {
			got = strings.ReplaceAll(err.Error(), folder+string(filepath.Separator), "")
		} else if bot.Code != "x" || bot.Properties.Name != "n" || bot.Properties.PersonalPhoto == "" {
			t.Errorf("bot %+v", bot)
		}
		if got != tt.want {
			t.Errorf("got  %q\nwant %q", got, tt.want)
		}
	}
}
