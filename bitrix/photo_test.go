// Photos: real base64 of a real image of a decent size.

package bitrix

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"strings"
	"testing"
)

func encoded(t testing.TB, kind string) string {
	t.Helper()
	var out bytes.Buffer
	img := image.NewPaletted(image.Rect(0, 0, 3, 2), color.Palette{color.Black, color.White})
	var err error
	switch kind {
	case "png":
		err = png.Encode(&out, img)
	case "jpeg":
		err = jpeg.Encode(&out, img, nil)
	case "gif":
		err = gif.Encode(&out, img, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(out.Bytes())
}

// pngOf is the beginning of a PNG of that size: all that a header check reads.
func pngOf(width, height uint32) string {
	header := []byte("IHDR")
	header = binary.BigEndian.AppendUint32(header, width)
	header = binary.BigEndian.AppendUint32(header, height)
	header = append(header, 8, 0, 0, 0, 0)
	out := binary.BigEndian.AppendUint32([]byte("\x89PNG\r\n\x1a\n"), 13)
	out = append(out, header...)
	out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(header))
	return base64.StdEncoding.EncodeToString(out)
}

func TestPhoto(t *testing.T) {
	good := encoded(t, "png")
	var lines strings.Builder
	for part := range strings.SplitSeq(good, "A") {
		lines.WriteString(part + "A\r\n")
	}
	big := base64.StdEncoding.EncodeToString(make([]byte, maxPhotoBytes+1))
	tests := []struct{ name, photo, want string }{
		{"png", good, ""},
		{"jpeg", encoded(t, "jpeg"), ""},
		{"gif", encoded(t, "gif"), ""},
		{"line breaks", strings.TrimSuffix(lines.String(), "A\r\n") + "\n", ""},
		{"data URL", "Data:image/png;base64," + good, "data:"},
		{"not base64", "@img/photo.png", "not base64"},
		{"cut base64", good[:len(good)-3], "not base64"},
		{"URL alphabet", "_-__", "not base64"},
		{"white space", "\n", "empty"},
		{"text", base64.StdEncoding.EncodeToString([]byte("hello, world")), "not a PNG"},
		{"one byte", "AA==", "not a PNG"},
		{"cut png", good[:16], "broken PNG"},
		{"cut gif", encoded(t, "gif")[:8], "broken GIF"},
		{"cut jpeg", encoded(t, "jpeg")[:16], "broken JPEG"},
		{"5000", pngOf(5000, 5000), ""},
		{"wide", pngOf(5001, 1), "5001×1"},
		{"high", pngOf(1, 5001), "1×5001"},
		{"5 MB and a byte", big, "5 MB"},
		{"endless", strings.Repeat("A", maxPhotoChars+1), "5 MB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := photoProblem(tt.photo)
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzPhoto(f *testing.F) {
	for _, kind := range []string{"png", "jpeg", "gif"} {
		f.Add(encoded(f, kind))
	}
	f.Add("data:image/png;base64,AAAA")
	f.Add(pngOf(0, 7))
	f.Fuzz(func(t *testing.T, s string) {
		if got := photoProblem(s); got == "" {
			if _, err := base64.StdEncoding.DecodeString(s); err != nil {
				t.Errorf("accepted %q, which is not base64: %v", s, err)
			}
		}
	})
}
