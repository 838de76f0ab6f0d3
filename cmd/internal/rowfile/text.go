// What is to be known of a source's bytes before they are rows: encoding,
// byte order mark, and what the user is told when they are not UTF-8 text.

package rowfile

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"unicode"
)

// maxRow bounds one row, and with it the memory that reading takes. A photo of
// 5 MB is 7 MB as base64; this leaves room for one and for its neighbours.
const maxRow = 16 << 20

const readBuffer = 64 << 10

const (
	tooLong = "is longer than 16 MB; give photos as @file"
	notUTF8 = "is not UTF-8 text (Windows-1251 or Latin-1?); save the file as UTF-8 (in Excel: Save as, CSV UTF-8)"
	utf16   = "is UTF-16 or not text at all; save the file as UTF-8 (in Excel: Save as, CSV UTF-8)"
)

var errUTF16 = errors.New(utf16)

var bom = []byte("\xef\xbb\xbf")

// textOf returns r behind a buffer, past its byte order mark.
func textOf(r io.Reader) (*bufio.Reader, error) {
	b := bufio.NewReaderSize(r, readBuffer)
	head, err := b.Peek(512)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if bytes.HasPrefix(head, []byte("\xff\xfe")) || bytes.HasPrefix(head, []byte("\xfe\xff")) || bytes.IndexByte(head, 0) >= 0 {
		return nil, errUTF16
	}
	if bytes.HasPrefix(head, bom) {
		_, err = b.Discard(len(bom))
		return b, err
	}
	return b, nil
}

// foreignLetter accepts the letters, marks and digits of other scripts.
func foreignLetter(r rune) bool {
	return r > unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r))
}
