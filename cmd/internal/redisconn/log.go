// Where go-redis' own log lines go.

package redisconn

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"
)

// LogTo sends what go-redis logs by itself (by default to standard error) to a
// logger, at debug level: every trouble it mentions also reaches a caller as an
// error. [slog.DiscardHandler] silences it. The setting is the process's own;
// only main calls this.
func LogTo(l *slog.Logger) { redis.SetLogger(logger{l}) }

type logger struct{ to *slog.Logger }

// Printf implements go-redis' logging interface.
func (l logger) Printf(ctx context.Context, format string, v ...any) {
	if l.to.Enabled(ctx, slog.LevelDebug) {
		l.to.DebugContext(ctx, "redis client", "message", fmt.Sprintf(format, v...))
	}
}
