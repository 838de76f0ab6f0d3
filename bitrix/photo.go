// PERSONAL_PHOTO: a portal silently drops one that it cannot use.

package bitrix

import (
	"encoding/base64"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"strings"
)

const (
	// maxPhotoBytes bounds the decoded image, so that one row stays small.
	maxPhotoBytes = 5 << 20
	// maxPhotoChars is more base64 than maxPhotoBytes can take, line breaks
	// included; longer text is not even decoded.
	maxPhotoChars = maxPhotoBytes * 2
	// maxPhotoSide: the image size limit of the method's public page, in pixels.
	maxPhotoSide = 5000
)

// photoProblem says what is wrong with a photo, or nothing. Like the portal,
// it reads the image's header, not its pixels; and all of its base64.
func photoProblem(s string) string {
	const prefix = "data:"
	if len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
		return `begins with "data:"; give the base64 text alone, without the data: prefix`
	}
	if len(s) > maxPhotoChars {
		return photoTooBig
	}
	size, err := io.Copy(io.Discard, io.LimitReader(decodeBase64(s), maxPhotoBytes+1))
	switch {
	case err != nil:
		return "is not base64"
	case size > maxPhotoBytes:
		return photoTooBig
	case size == 0:
		return "is empty"
	}
	return imageProblem(s)
}

const photoTooBig = "is over 5 MB once decoded"

func decodeBase64(s string) io.Reader {
	return base64.NewDecoder(base64.StdEncoding, strings.NewReader(s))
}

func imageProblem(s string) string {
	decode, kind := imageKind(s)
	if decode == nil {
		return "is not a PNG, JPEG or GIF image"
	}
	config, err := decode(decodeBase64(s))
	switch {
	case err != nil || config.Width < 1 || config.Height < 1:
		return "is a broken " + kind + " image"
	case config.Width > maxPhotoSide || config.Height > maxPhotoSide:
		return fmt.Sprintf("is %d×%d pixels; at most %d×%d are allowed", config.Width, config.Height, maxPhotoSide, maxPhotoSide)
	}
	return ""
}

// imageKind tells an image by its first bytes.
func imageKind(s string) (decode func(io.Reader) (image.Config, error), kind string) {
	var first [8]byte
	n, _ := io.ReadFull(decodeBase64(s), first[:])
	head := string(first[:n])
	switch {
	case strings.HasPrefix(head, "\x89PNG\r\n\x1a\n"):
		return png.DecodeConfig, "PNG"
	case strings.HasPrefix(head, "\xff\xd8\xff"):
		return jpeg.DecodeConfig, "JPEG"
	case strings.HasPrefix(head, "GIF87a"), strings.HasPrefix(head, "GIF89a"):
		return gif.DecodeConfig, "GIF"
	}
	return nil, ""
}
