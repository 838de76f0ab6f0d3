package onboard

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"

	"botfleet/bitrix"
	"botfleet/bitrix/portals"
	"botfleet/bitrix/sandbox"
	"botfleet/ratelimit/redistest"
	"botfleet/tasks"
)

func TestNewWantsWhatItNeeds(t *testing.T) {
	if _, err := New(Config{}); !errors.Is(err, portals.ErrNoKey) {
		t.Errorf("without a key: %v", err)
	}
	if _, err := New(Config{Keys: testKeys}); err == nil {
		t.Error("without anything else it is made")
	}
	d := newDoor(t, accepts(new(int)))
	cfg := d.cfg
	cfg.Bots = &botList{}
	if _, err := New(cfg); err == nil {
		t.Error("bots without a client are taken")
	}
	if err := d.Start(); err == nil {
		t.Error("it starts without Redis")
	}
	if d.cfg.KeepWithin != 1500*time.Millisecond || d.cfg.Concurrency != 32 || d.cfg.ProofRate != 20 {
		t.Errorf("defaults: %+v", d.cfg.KeepWithin)
	}
}

func TestStartOnceAndStopOften(t *testing.T) {
	s := newStand(t, realRedis(t), inBox(), nil).started()
	if err := s.Start(); err == nil {
		t.Error("it starts twice")
	}
	s.Stop()
	s.Stop()
	if err := s.Start(); err != nil {
		t.Errorf("after Stop: %v", err)
	}
	if got := whole(t, s.post(installForm().Encode())); got != answerLater {
		t.Errorf("after Stop: %s", got)
	}
}

// Stop breaks a proof off; the next worker goes on with the event.
func TestStopDuringAProof(t *testing.T) {
	client := realRedis(t)
	s := newStand(t, client, inBox(), nil)
	hangs := make(chan struct{})
	s.prover.hangs = hangs
	s.started().deliver(s.box.Install(acme))
	<-hangs
	begin := time.Now()
	s.Stop()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("Stop took %v", took)
	}
	next := newStand(t, client, s.box, nil).started()
	next.becomes("install", "installed", 1)
	next.hasBots(next.portal(acme), 1, 2)
}

// What is no event ends at once, without going into the archive.
func TestForeignTasksAreDropped(t *testing.T) {
	s := newStand(t, realRedis(t), inBox(), nil).started()
	queue := asynq.NewClientFromRedisClient(s.redis)
	foreign := map[string][]byte{
		"nonsense":       []byte("nonsense"),
		"nothing":        nil,
		"a registration": []byte(`{"v":1,"run":"r","row":1,"pid":"x","portal":"p","code":"c"}`),
		"broken seal":    []byte(`{"v":1,"event":"ONAPPINSTALL","domain":"acme.bitrix24.ru","at":"` + time.Now().UTC().Format(time.RFC3339) + `","sealed":"x.y"}`),
	}
	for name, body := range foreign {
		if _, err := queue.Enqueue(asynq.NewTask("whatever:"+name, body), asynq.Queue(Queue)); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "them to be dropped", func() bool {
		all := s.meter.all()
		return all["other unreadable"]+all["install unreadable"] == len(foreign)
	})
	info, err := s.inspector.GetQueueInfo(Queue)
	if err != nil || info.Archived != 0 || info.Retry != 0 {
		t.Errorf("%+v, %v", info, err)
	}
	s.logged("level=ERROR", "dropped", "acme.bitrix24.ru")
}

// payloadAt is an install that was kept at a time.
func payloadAt(t *testing.T, keys portals.Keyring, at time.Time) *asynq.Task {
	t.Helper()
	e := parsed(t, installForm().Encode())
	raw, err := e.seal(keys, at)
	if err != nil {
		t.Fatal(err)
	}
	return asynq.NewTask(TypeInstall, raw)
}

func TestGivenUpAfterADay(t *testing.T) {
	s := newStand(t, realRedis(t), inBox(), nil)
	for _, c := range []struct {
		age  time.Duration
		want string
	}{{giveUpAfter + time.Second, "install given up"}, {giveUpAfter - time.Minute, "install refused"}} {
		if err := (worker{s.Service}).ProcessTask(t.Context(), payloadAt(t, testKeys, time.Now().Add(-c.age))); err != nil {
			t.Errorf("%v: %v", c.age, err)
		}
		if s.meter.all()[c.want] != 1 {
			t.Errorf("%v: %v", c.age, s.meter.all())
		}
	}
	s.logged("level=WARN", "given up", "host="+acme)
	noSecret(t, "the log", s.log.String())
}

// Under a key that the worker does not have: it waits for the operator.
func TestMissingKeyIsWaitedFor(t *testing.T) {
	s := newStand(t, realRedis(t), inBox(), nil)
	err := (worker{s.Service}).ProcessTask(t.Context(), payloadAt(t, mustKeys(portals.NewKey()), time.Now()))
	if _, ok := errors.AsType[*tasks.Later](err); !ok {
		t.Errorf("%v", err)
	}
	s.logged("level=WARN", "put off", "SECRETS_KEY does not hold")
}

// Redis away while an event is worked on: it is put off, and nothing is refused.
func TestRedisAwayIsNoRefusal(t *testing.T) {
	server := redistest.Start(t)
	s := newStand(t, redistest.Client(t, server.URL), inBox(), nil)
	server.Stop()
	for _, form := range []string{s.box.Install(acme).Encode(), s.uninstallOf(acme).Encode()} {
		e := parsed(t, form)
		raw, err := e.seal(testKeys, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		err = (worker{s.Service}).ProcessTask(t.Context(), asynq.NewTask(e.taskType(), raw))
		later, ok := errors.AsType[*tasks.Later](err)
		if !ok || later.Attempt || time.Until(later.Until) > 10*time.Second {
			t.Errorf("%s: %v", e.label(), err)
		}
	}
}

func TestPauses(t *testing.T) {
	for _, c := range []struct{ age, least, most time.Duration }{
		{0, 5 * time.Second, 6 * time.Second},
		{-time.Hour, 5 * time.Second, 6 * time.Second},
		{time.Minute, 30 * time.Second, 36 * time.Second},
		{20 * time.Hour, 30 * time.Minute, 36 * time.Minute},
	} {
		for _, draw := range []float64{0, 0.5, 0.999} {
			if d := pause(c.age, draw); d < c.least || d > c.most {
				t.Errorf("pause(%v, %v) = %v", c.age, draw, d)
			}
		}
	}
	// A portal that never answers costs a few dozen requests in all.
	tries := 0
	for age := time.Duration(0); age < giveUpAfter; age += pause(age, 0.5) {
		tries++
	}
	if tries < 20 || tries > 70 {
		t.Errorf("%d tries in a day", tries)
	}
}

// When very many events wait for portals that do not answer, later ones are
// given up after a minute; what fails for another reason is not.
func TestCrowdedQueueGivesUpEarly(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		age    time.Duration
		crowd  int64
		givesU bool
	}{
		"silent, crowded":   {&silence{errors.New("timeout")}, 2 * time.Minute, 1, true},
		"too early":         {&delay{time.Now(), "rate"}, 2 * time.Minute, 1, true},
		"silent, young":     {&silence{errors.New("timeout")}, time.Second, 1, false},
		"silent, not many":  {&silence{errors.New("timeout")}, 2 * time.Minute, 2, false},
		"Redis, crowded":    {errors.New("no Redis"), 2 * time.Minute, 1, false},
		"too early, young":  {&delay{time.Now(), "rate"}, time.Second, 1, false},
		"last of a day":     {errors.New("no Redis"), giveUpAfter - time.Minute, 2, true},
		"wrapped, crowded":  {fmt.Errorf("x: %w", &silence{errors.New("timeout")}), 2 * time.Minute, 1, true},
		"silent, last hour": {&silence{errors.New("timeout")}, giveUpAfter - time.Hour, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t, realRedis(t), inBox(), nil)
			s.mostPutOff = c.crowd
			queue := asynq.NewClientFromRedisClient(s.redis)
			if _, err := queue.Enqueue(asynq.NewTask("x", nil), asynq.Queue(Queue)); err != nil {
				t.Fatal(err)
			}
			// One event waits, as asynq keeps it.
			id := s.redis.RPop(t.Context(), queueKey("pending")).Val()
			if err := s.redis.ZAdd(t.Context(), queueKey("retry"), zOf(id)).Err(); err != nil {
				t.Fatal(err)
			}
			p := &payload{Event: eventInstall, Domain: acme, At: time.Now().Add(-c.age)}
			if err := s.putOff(t.Context(), p, c.err); (err == nil) != c.givesU {
				t.Errorf("%v, counted %v", err, s.meter.all())
			}
		})
	}
}

// Of many events for one host each asks less and less often.
func TestDelaysGrow(t *testing.T) {
	s := newStand(t, realRedis(t), inBox(), nil)
	for _, c := range []struct{ age, least time.Duration }{
		{0, time.Second}, {time.Minute, 15 * time.Second}, {time.Hour, 5 * time.Minute},
	} {
		p := &payload{Event: eventInstall, Domain: acme, At: time.Now().Add(-c.age)}
		err := s.putOff(t.Context(), p, &delay{time.Now().Add(time.Second), "rate"})
		later, ok := errors.AsType[*tasks.Later](err)
		if !ok || later.Attempt || time.Until(later.Until) < c.least-time.Second/2 || time.Until(later.Until) > c.least+time.Second {
			t.Errorf("after %v: %+v, %v", c.age, later, err)
		}
	}
}

func TestQueueIsWatched(t *testing.T) {
	s := newStand(t, realRedis(t), inBox(), nil)
	s.mostKept = 2
	for i := range 2 {
		s.deliver(with(installForm(), "auth[access_token]", fmt.Sprint("1nv3nt3d", i)))
	}
	if size, err := s.look(t.Context()); size != 2 || err != nil {
		t.Fatalf("%d, %v", size, err)
	}
	s.redis.Del(t.Context(), queueNames)
	s.care.Go(s.watch)
	await(t, "the queue to be full", s.full.Load)
	s.logged("level=WARN", "full")
	if got := whole(t, s.post(installForm().Encode())); got != answerLater {
		t.Error(got)
	}
	if !s.redis.SIsMember(t.Context(), queueNames, Queue).Val() {
		t.Error("the queue is not announced")
	}
}

// What a portal may say, and what follows.
func TestJudgement(t *testing.T) {
	refused, silent, held, proved := "refused", "silent", "held", "proved"
	for _, c := range []struct {
		e    *bitrix.Error
		want string
	}{
		{&bitrix.Error{Class: bitrix.Token, Code: "expired_token"}, refused},
		{&bitrix.Error{Class: bitrix.Token, Code: "INVALID_TOKEN"}, refused},
		{&bitrix.Error{Class: bitrix.Blocked, Code: "NO_AUTH_FOUND"}, refused},
		{&bitrix.Error{Class: bitrix.Blocked, Code: "APPLICATION_NOT_FOUND"}, refused},
		{&bitrix.Error{Class: bitrix.Blocked, Code: bitrix.CodePortalMoved}, refused},
		{&bitrix.Error{Class: bitrix.Blocked, Code: bitrix.CodeForbiddenEndpoint}, refused},
		{&bitrix.Error{Class: bitrix.Blocked, Code: bitrix.CodeNotJSON, Status: 404}, refused},
		{&bitrix.Error{Class: bitrix.Validation, Code: "ERROR_METHOD_NOT_FOUND"}, refused},
		{&bitrix.Error{Class: bitrix.Ambiguous, Code: bitrix.CodeUnexpectedResult}, refused},
		{&bitrix.Error{Class: bitrix.Ambiguous, Code: bitrix.CodeTimeout}, silent},
		{&bitrix.Error{Class: bitrix.Ambiguous, Code: bitrix.CodeNotJSON, Status: 502}, silent},
		{&bitrix.Error{Class: bitrix.Transient, Code: bitrix.CodeDNS}, silent},
		{&bitrix.Error{Class: bitrix.Limit, Code: "QUERY_LIMIT_EXCEEDED"}, silent},
		{&bitrix.Error{Class: bitrix.Blocked, Code: "OVERLOAD_LIMIT"}, silent},
		{&bitrix.Error{Class: bitrix.Blocked, Code: "insufficient_scope"}, held},
		{&bitrix.Error{Class: bitrix.Blocked, Code: "ACCESS_DENIED"}, held},
	} {
		p, err := judge(c.e)
		got := proved
		if _, ok := errors.AsType[*refusal](err); ok {
			got = refused
		} else if _, ok := errors.AsType[*silence](err); ok {
			got = silent
		} else if p.useless != "" {
			got = held
		}
		if got != c.want {
			t.Errorf("%s %s: %s, want %s", c.e.Class, c.e.Code, got, c.want)
		}
	}
	if p, err := judge(nil); err != nil || p.useless != "" {
		t.Errorf("an answer: %+v, %v", p, err)
	}
}

// Wrong tokens, and answers that would hold a registration's portal, must not
// close the gate of a host to the install that is right.
func TestRefusalsDoNotCloseTheGate(t *testing.T) {
	s := newStand(t, realRedis(t), inBox(func(p *sandbox.Portal) {
		p.Faults = []sandbox.Fault{{Kind: sandbox.Refuse, Code: "OVERLOAD_LIMIT", Count: 2}}
	}), nil).started()
	s.deliver(with(s.box.Install(acme), "auth[access_token]", "1nv3nt3d"))
	s.deliver(s.box.Install(acme))
	await(t, "the install", func() bool {
		_, _ = s.inspector.RunAllRetryTasks(Queue)
		return s.meter.all()["install installed"] == 1
	})
	if s.portal(acme).Held != nil {
		t.Error("it is held")
	}
}

// A process calls no more portals a second than it was told to: what would wait
// for long is put off.
func TestProofsWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, accepts(new(int)))
		prover := &countingProver{next: silentProver{}}
		d.cfg.Prover = prover
		begin := time.Now()
		early := 0
		for i := range 70 {
			a, err := bitrix.NewOAuth(fmt.Sprintf("acme%d.bitrix24.ru", i), "1nv3nt3d")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.prove(t.Context(), a); errors.As(err, new(*delay)) {
				early++
			}
		}
		if took := time.Since(begin); took != 2500*time.Millisecond || early > 0 || prover.all() != 70 {
			t.Errorf("70 proofs at 20 a second took %v, %d put off", took, early)
		}
		d.proofs.SetLimit(0.1)
		a, err := bitrix.NewOAuth(acme, "1nv3nt3d")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.prove(t.Context(), a); !errors.As(err, new(*delay)) || prover.all() != 70 {
			t.Errorf("%v", err)
		}
	})
}
