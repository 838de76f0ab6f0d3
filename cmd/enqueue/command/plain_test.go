// What a person is told of an error.

package command

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestErrorsInPlainWords(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("read run r: %w", context.Canceled), "read run r: interrupted"},
		{fmt.Errorf("read run r: %w", redis.ErrClosed), "read run r: interrupted, and Redis does not answer"},
		{errors.Join(errInterrupted, errors.New("1 row got in")), "interrupted\n1 row got in"},
		{errors.New("closed"), "closed"},
	} {
		if got := plain(c.err); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
