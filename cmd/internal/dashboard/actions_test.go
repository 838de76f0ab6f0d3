// What is clicked, and what becomes of the run.

package dashboard

import (
	"net/http"
	"strings"
	"testing"

	"botfleet/tasks/runs"
)

func pathOf(of shown, state string) string {
	return "/api/queues/" + of.queue + "/" + state + "_tasks/" + of.ID
}

// batchOf is the path and body of an action on selected tasks, all of one queue.
func batchOf(state, verb string, of ...shown) (path, body string) {
	ids := make([]string, len(of))
	for i, t := range of {
		ids[i] = `"` + t.ID + `"`
	}
	return "/api/queues/" + of[0].queue + "/" + state + "_tasks:batch_" + verb, `{"task_ids":[` + strings.Join(ids, ",") + `]}`
}

func TestDeadLettersAreRunAgain(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		well := w.refuse()
		w.submit(acme, "a", "b", "c", "d", "e")
		w.await(0, 5, 0)
		dead := w.list("archived", 5)
		if len(dead) != 5 || dead[0].Payload != `{"portal":"acme.bitrix24.ru","code":"a","name":"Bot a","run":"r1","row":1}` {
			t.Fatalf("%+v", dead)
		}
		if dead[0].Error != "dead (validation): NAME_ERROR: Bot name isn't specified" || dead[0].MaxRetry != 8 {
			t.Errorf("%+v", dead[0])
		}
		queue := "/api/queues/" + dead[0].queue

		// Still refused: dead once more, and counted once.
		w.must(http.StatusNoContent, "POST", pathOf(dead[0], "archived")+":run", "")
		w.until(func() bool {
			return len(w.tasks("archived")) == 5 && len(w.tasks("active"))+len(w.tasks("pending")) == 0
		}, func() any { return w.tasks("archived") })
		w.await(0, 5, 0)

		well()
		w.must(http.StatusNoContent, "POST", pathOf(dead[0], "archived")+":run", "")
		w.await(1, 4, 0)
		p, body := batchOf("archived", "run", dead[1], dead[2])
		if got := w.must(http.StatusOK, "POST", p, body); !strings.Contains(got, dead[1].ID) || !strings.Contains(got, `"error_ids":[]`) {
			t.Error(got)
		}
		w.await(3, 2, 0)
		if got := w.must(http.StatusOK, "POST", queue+"/archived_tasks:run_all", ""); got != "{\"scheduled\":2}\n" {
			t.Error(got)
		}
		w.await(5, 0, 0)
		done := w.list("completed", 5)
		if !strings.HasPrefix(done[0].Result, `{"BOT_ID":`) {
			t.Errorf("%+v", done[0])
		}
		var one shown
		w.read(queue+"/tasks/"+done[0].ID, &one)
		if one.Result != done[0].Result || one.Payload != done[0].Payload || one.State != "completed" {
			t.Errorf("%+v", one)
		}
		if w.box.Stats().BotsCreated != 5 {
			t.Errorf("%d bots", w.box.Stats().BotsCreated)
		}
		// Somebody else was faster: what has ended is run once more, and changes nothing.
		if got := w.must(http.StatusOK, "POST", p, body); !strings.Contains(got, dead[1].ID) || !strings.Contains(got, `"error_ids":[]`) {
			t.Error(got)
		}
		w.idle()
		w.list("completed", 5)
		if c := w.counts(); c.Registered != 5 || c.Dead != 0 || c.Waiting != 0 || w.box.Stats().BotsCreated != 5 {
			t.Errorf("%+v, %d bots", c, w.box.Stats().BotsCreated)
		}
	})
}

func TestDeletingWhatHasEnded(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.submit(acme, "f", "g", "h", "i")
		w.await(4, 0, 0)
		well := w.refuse()
		w.submit(acme, "a", "b", "c", "d")
		w.await(4, 4, 0)
		well()
		for _, state := range []string{"archived", "completed"} {
			all := w.list(state, 4)
			w.must(http.StatusNoContent, "DELETE", pathOf(all[0], state), "")
			p, body := batchOf(state, "delete", all[1])
			if got := w.must(http.StatusOK, "POST", p, body); got != `{"deleted_ids":["`+all[1].ID+`"],"failed_ids":[]}`+"\n" {
				t.Error(got)
			}
			if got := w.must(http.StatusOK, "DELETE", "/api/queues/"+all[0].queue+"/"+state+"_tasks:delete_all", ""); got != "{\"deleted\":2}\n" {
				t.Error(got)
			}
			if left := w.tasks(state); len(left) != 0 {
				t.Errorf("%+v", left)
			}
		}
		w.swept()
		w.await(4, 4, 0)
		// The rows can still be queued again, by their run.
		w.submit(acme, "a", "b", "c", "d")
		w.until(func() bool { return w.counts().Registered == 8 }, func() any { return w.counts() })
	})
}

// Rows wait for a held portal; somebody deletes or archives their tasks.
func TestTasksOfWaitingRows(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.submit(held, "a", "b", "c", "d")
		waiting := func() []shown { return append(w.tasks("retry"), w.tasks("scheduled")...) }
		w.until(func() bool { return len(waiting()) == 4 }, func() any { return waiting() })
		all := waiting()
		if !strings.Contains(all[0].Error, "portal held: a person has said so") && all[0].Error != "" {
			t.Errorf("%q", all[0].Error)
		}
		state := "retry"
		if len(w.tasks("retry")) == 0 {
			state = "scheduled"
		}
		queue := "/api/queues/" + all[0].queue + "/" + state + "_tasks"
		for what, word := range map[string]string{"delete": "DELETE", "archive": "POST", "run": "POST"} {
			text := w.must(http.StatusForbidden, word, queue+":"+what+"_all", "")
			if !strings.HasPrefix(text, "Not done: ") {
				t.Error(text)
			}
		}
		w.must(http.StatusNoContent, "DELETE", pathOf(all[0], state), "")
		p, body := batchOf(state, "archive", all[1])
		w.must(http.StatusOK, "POST", p, body)
		w.must(http.StatusNoContent, "POST", pathOf(all[2], state)+":run", "") // put back
		w.until(func() bool { return len(waiting()) == 2 }, func() any { return waiting() })
		w.swept()
		w.await(0, 1, 3)
		living := func() int { return len(waiting()) + len(w.tasks("pending")) + len(w.tasks("active")) }
		w.until(func() bool { return living() == 3 }, func() any { return living() })
		info, err := w.base.Runs.Load(t.Context(), "r1", 2)
		if err != nil || info.Outcome == nil || info.Outcome.Status != runs.StatusDead || info.Outcome.Error.Code != "TASK_ARCHIVED" {
			t.Errorf("%+v, %v", info.Outcome, err)
		}
		if err := w.base.Registry.Release(t.Context(), w.portal(t, held).ID); err != nil {
			t.Fatal(err)
		}
		w.await(3, 1, 0)
		again := w.tasks("archived")
		w.must(http.StatusNoContent, "POST", pathOf(again[0], "archived")+":run", "")
		w.await(4, 0, 0)
	})
}

func TestRefusals(t *testing.T) {
	both(t, func(t *testing.T, w *world) {
		w.submit(acme, "a")
		w.await(1, 0, 0)
		queue := "/api/queues/" + w.list("completed", 1)[0].queue
		for _, c := range []struct {
			status                   int
			method, path, body, want string
		}{
			{403, "DELETE", queue, "", "Not done: the queue belongs to the portals"},
			{403, "DELETE", "/api/queues/a:b", "", "Not done: the queue belongs to the portals"},
			{403, "POST", queue + "/active_tasks:cancel_all", "", "Pause the queue"},
			{403, "DELETE", queue + "/pending_tasks:delete_all", "", "would be queued again"},
			{403, "DELETE", queue + "/groups/g/aggregating_tasks:delete_all", "", "Not done"},
			{403, "POST", queue + "/groups/g/aggregating_tasks:run_all", "", "Not done"},
			{403, "POST", queue + "/retry_tasks:run_all", "", "wait for their portals"},
			{403, "POST", queue + "/completed_tasks:archive_all", "", "Not done"},
			{404, "GET", "/api/metrics", "", "Prometheus reads /metrics"},
			{404, "GET", queue + "/tasks/none", "", "task not found"},
			{400, "POST", queue + "/archived_tasks:batch_run", "{", "cannot be read"},
			{400, "POST", queue + "/archived_tasks:batch_run", `{"task_ids":[` + strings.Repeat(`"x",`, maxSize) + `"x"]}`, "100 tasks at most"},
			{400, "POST", queue + "/archived_tasks:batch_run", `{"task_ids":["` + strings.Repeat("x", maxBody) + `"]}`, "too large"},
			{204, "POST", queue + ":pause", "", ""},
			{204, "POST", queue + ":resume", "", ""},
			{405, "POST", "/", "", "method not allowed"},
			{405, "DELETE", "/static/js/x.js", "", "method not allowed"},
		} {
			if text := w.must(c.status, c.method, c.path, c.body); !strings.Contains(text, c.want) {
				t.Errorf("%s %s: %s", c.method, c.path, text)
			}
		}
		w.await(1, 0, 0)
	})
}
