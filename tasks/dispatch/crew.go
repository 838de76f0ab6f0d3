// The goroutines of lanes and requests.

package dispatch

import (
	"sync"
	"time"
)

// crew runs functions side by side, on goroutines that wait for the next one
// for a while. Lanes and requests are short and many, and a new goroutine would
// grow its stack anew for each: an eighth of a busy worker's time.
type crew struct {
	next    chan func()
	stop    chan struct{}
	working sync.WaitGroup // functions
	members sync.WaitGroup // goroutines
}

// memberWait is how long an idle goroutine stays.
const memberWait = 5 * time.Second

func newCrew() *crew {
	return &crew{next: make(chan func()), stop: make(chan struct{})}
}

// run runs f. It must not be called after finish, nor begin the first function
// beside it.
func (c *crew) run(f func()) {
	c.working.Add(1)
	select {
	case c.next <- f:
	default:
		c.members.Go(func() { c.member(f) })
	}
}

func (c *crew) member(f func()) {
	idle := time.NewTimer(memberWait)
	defer idle.Stop()
	for {
		f()
		c.working.Done()
		idle.Reset(memberWait)
		select {
		case f = <-c.next:
		case <-idle.C:
			return
		case <-c.stop:
			return
		}
	}
}

// finish waits for all functions, and then for the goroutines.
func (c *crew) finish() {
	c.working.Wait()
	close(c.stop)
	c.members.Wait()
}
