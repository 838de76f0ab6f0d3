// A bot's PROPERTIES: what is stored, dropped without a word, or refused.

package sandbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"image"
	_ "image/gif" // the formats a portal recognizes
	_ "image/jpeg"
	_ "image/png"
	"strings"
	"time"
)

// maxPhotoSide is the largest width and height of a photo (public page of imbot.register).
const maxPhotoSide = 5000

var colors = map[string]bool{
	"RED": true, "GREEN": true, "MINT": true, "LIGHT_BLUE": true, "DARK_BLUE": true, "PURPLE": true,
	"AQUA": true, "PINK": true, "LIME": true, "BROWN": true, "AZURE": true, "KHAKI": true,
	"SAND": true, "MARENGO": true, "GRAY": true, "GRAPHITE": true,
}

// fill stores the properties that are given. An unknown color or a broken photo
// is dropped silently; a malformed e-mail or birthday fails the call.
func (b *Bot) fill(d Dialect, p *array) *failure {
	take := func(key string, field *string) {
		if v := p.get(key); v != nil {
			*field = phpString(v)
		}
	}
	take("NAME", &b.Name)
	take("LAST_NAME", &b.LastName)
	take("WORK_POSITION", &b.WorkPosition)
	take("PERSONAL_WWW", &b.WWW)
	if color := p.text("COLOR"); colors[color] {
		b.Color = color
	}
	if gender := p.text("PERSONAL_GENDER"); gender == "M" || gender == "F" {
		b.Gender = gender
	}
	if email := p.text("EMAIL"); email != "" {
		if !emailForm(email) {
			return d.fail("WRONG_REQUEST")
		}
		b.Email = email
	}
	if day := p.text("PERSONAL_BIRTHDAY"); day != "" {
		if _, err := time.Parse(time.DateOnly, day); err != nil {
			return &failure{400, "500", "Incorrect date/time"}
		}
		b.Birthday = day
	}
	b.setPhoto(p.get("PERSONAL_PHOTO"))
	return nil
}

// emailForm is a mail address's outline: one @, something before it, and a
// dotted host after it.
func emailForm(s string) bool {
	local, host, ok := strings.Cut(s, "@")
	if !ok || local == "" || strings.ContainsAny(s, " \t\r\n<>,;") || strings.Contains(host, "@") {
		return false
	}
	dot := strings.LastIndexByte(host, '.')
	return dot > 0 && dot < len(host)-1
}

// setPhoto stores an image's description; what is no image leaves no trace. A
// file may also come as [name, content].
func (b *Bot) setPhoto(v any) {
	if pair, ok := v.(*array); ok {
		v = pair.get("1")
	}
	text := phpString(v)
	if text == "" {
		return
	}
	data := looseBase64(text)
	cfg, format, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil || cfg.Width > maxPhotoSide || cfg.Height > maxPhotoSide {
		return
	}
	sum := sha256.Sum256(data)
	b.PhotoFormat, b.PhotoWidth, b.PhotoHeight = format, cfg.Width, cfg.Height
	b.PhotoSHA256 = hex.EncodeToString(sum[:])
}

// looseBase64 decodes as PHP does: what is not of the alphabet is skipped, so a
// data: prefix turns into garbage instead of an error.
func looseBase64(s string) []byte {
	kept := make([]byte, 0, len(s))
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/' {
			kept = append(kept, c)
		}
	}
	if len(kept)%4 == 1 {
		kept = kept[:len(kept)-1]
	}
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(kept)))
	n, err := base64.RawStdEncoding.Decode(out, kept)
	if err != nil {
		return nil
	}
	return out[:n]
}
