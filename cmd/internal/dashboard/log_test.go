// What the log tells of clicks.

package dashboard

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"botfleet/ratelimit/redistest"
)

// Each change that is asked for is one line, whoever answers it: asynqmon or we.
func TestClicksAreInTheLog(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb redis.UniversalClient, url string) {
		client, inspector := asynq.NewClientFromRedisClient(rdb), asynq.NewInspectorFromRedisClient(rdb)
		for n := range 5 {
			id := fmt.Sprint("t", n)
			if _, err := client.Enqueue(asynq.NewTask("other", nil), asynq.Queue("q"), asynq.TaskID(id)); err != nil {
				t.Fatal(err)
			}
			if err := inspector.ArchiveTask("q", id); err != nil {
				t.Fatal(err)
			}
		}
		s := served(t, url)
		s.must(http.StatusOK, "GET", "/api/queues", "")
		s.must(http.StatusOK, "GET", "/api/queues/q/archived_tasks", "")
		if got := s.log.taken(); got != "" {
			t.Errorf("who only looks is logged: %s", got)
		}
		for _, c := range []struct {
			status                   int
			method, path, body, want string
		}{
			{204, "POST", "queues/q:pause", "", ""},
			{204, "POST", "queues/q:resume", "", ""},
			{204, "DELETE", "queues/q/archived_tasks/t0", "", ""},
			{204, "POST", "queues/q/archived_tasks/t1:run", "", ""},
			{500, "DELETE", "queues/q/archived_tasks/t0", "", ""},
			{200, "POST", "queues/q/archived_tasks:batch_delete", `{"task_ids":["t2","none"]}`, " tasks=1 failed=1"},
			{200, "POST", "queues/q/archived_tasks:run_all", "", " tasks=2 failed=0"},
			{403, "DELETE", "queues/q", "", ""},
		} {
			s.must(c.status, c.method, "/api/"+c.path, c.body)
			want := fmt.Sprintf(`level=INFO msg="clicked on the dashboard" method=%s path=%s status=%d user=ops%s`+"\n", c.method, c.path, c.status, c.want)
			if got := s.log.taken(); !strings.HasSuffix(got, want) || strings.Count(got, "\n") != 1 {
				t.Errorf("%s %s: the log says %q, want %q", c.method, c.path, got, want)
			}
		}
	})
}
