// What must be so in Redis after every change, whoever made it.

package portals_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"botfleet/bitrix/portals"
)

const keys = "botfleet:{portals}:"

// raw is the part of a record that invariants are about.
type raw struct {
	Name     string          `json:"name"`
	Origin   string          `json:"origin"`
	MemberID string          `json:"member_id"`
	Queue    string          `json:"queue"`
	Gone     json.RawMessage `json:"gone"`
}

// broken lists what is wrong with everything that the registry keeps. Nothing
// else may write meanwhile.
func broken(ctx context.Context, client redis.UniversalClient, r *portals.Registry) (all []string) {
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	records := make(map[string]raw)
	for id, text := range client.HGetAll(ctx, keys+"records").Val() {
		var rec raw
		if err := json.Unmarshal([]byte(text), &rec); err != nil {
			add("record %s: %v", id, err)
		}
		records[id] = rec
	}
	names, members := client.HGetAll(ctx, keys+"names").Val(), client.HGetAll(ctx, keys+"members").Val()
	for host, id := range names {
		if rec, ok := records[id]; !ok || rec.Name != host && rec.Origin != host {
			add("host %s leads to %s, which is %+v", host, id, rec)
		}
	}
	for member, id := range members {
		if rec, ok := records[id]; !ok || rec.MemberID != member {
			add("member_id %s leads to %s, which is %+v", member, id, rec)
		}
	}
	queues := client.SMembers(ctx, keys+"queues").Val()
	for id, rec := range records {
		if rec.Gone == nil && names[rec.Name] != id {
			add("nothing leads to %s of %s", rec.Name, id)
		}
		if rec.MemberID != "" && members[rec.MemberID] != id {
			add("member_id %s of %s leads to %q", rec.MemberID, id, members[rec.MemberID])
		}
		if !slices.Contains(queues, rec.Queue) {
			add("queue %q of %s is not served", rec.Queue, id)
		}
		if rec.Origin == rec.Name {
			add("origin of %s is its name", id)
		}
		p, err := r.Get(ctx, id)
		if err != nil {
			add("%s does not open: %v", id, err)
		} else if p.Credential != p.Access.Fingerprint() || p.Account != p.Access.Account() || p.Generation < 1 ||
			(p.Kind == portals.Webhook) != p.Access.Webhook() || p.Kind == portals.Webhook && p.Installed {
			add("%s does not agree with its credentials: %+v", id, p)
		}
	}
	for _, key := range []string{"holds", "renewals"} {
		for id := range client.HGetAll(ctx, keys+key).Val() {
			if _, ok := records[id]; !ok {
				add("%s of %s, which is no portal", key, id)
			}
		}
	}
	return append(all, brokenChanges(ctx, client, len(records))...)
}

// brokenChanges looks at the list of changes.
func brokenChanges(ctx context.Context, client redis.UniversalClient, portals int) (all []string) {
	version := client.Get(ctx, keys+"version").Val()
	newest := client.ZRevRangeWithScores(ctx, keys+"changes", 0, 0).Val()
	if version == "" {
		if portals > 0 || len(newest) > 0 {
			all = append(all, "there is no version")
		}
		return all
	}
	if len(newest) != 1 || strconv.FormatInt(int64(newest[0].Score), 10) != version {
		all = append(all, fmt.Sprintf("version %s, last change %v", version, newest))
	}
	return all
}
