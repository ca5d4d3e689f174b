package slo

// counter adds up what the objects of an objective have counted, so that the sum only grows: objects
// come and go, and some begin anew.
type counter struct {
	seen      map[string]reading
	good, bad float64
}

// reading is what an object has counted so far.
type reading struct{ total, bad float64 }

// begin has a new object counted from where it stands.
func (c *counter) begin(object string, at reading) {
	if c.seen == nil {
		c.seen = map[string]reading{}
	}
	if _, known := c.seen[object]; !known {
		c.seen[object] = at
	}
}

// forget stops to count the objects that keep does not name.
func (c *counter) forget(keep func(object string) bool) {
	for object := range c.seen {
		if !keep(object) {
			delete(c.seen, object)
		}
	}
}

// add takes what an object stands at now.
func (c *counter) add(object string, now reading) {
	before := c.seen[object]
	if now.total < before.total { // it has begun anew
		before = reading{}
	}
	total := now.total - before.total
	bad := min(max(now.bad-before.bad, 0), total) // of requests that end meanwhile, some figures come late
	c.bad += bad
	c.good += total - bad
	c.seen[object] = reading{now.total, before.bad + bad}
}
