package resource

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// scenarioCheck reports what is wrong with the parts of a Scenario.
type scenarioCheck struct{ report reportFunc }

// span checks a time; an absent one only where it is required.
func (c scenarioCheck) span(path string, s Span, least, most time.Duration, required bool) {
	if s == "" {
		if required {
			c.report(path, "required: a duration such as 60s")
		}
		return
	}
	d, err := time.ParseDuration(string(s))
	if err != nil {
		c.report(path, strconv.Quote(string(s))+": expected a duration such as 250ms or 1m30s")
		return
	}
	if d < least || d > most {
		c.report(path, fmt.Sprintf("%s: expected %s to %s", d, least, most))
	}
}

func (c scenarioCheck) share(path string, s Share) {
	if s != "" && !sharePattern.MatchString(string(s)) {
		c.report(path, strconv.Quote(string(s))+": expected a percentage such as 90% or 0.5%")
	}
}

func (c scenarioCheck) ratio(path string, r Ratio, least, most float64) {
	if r == "" {
		return
	}
	n, err := strconv.ParseFloat(string(r), 64)
	if err != nil || math.IsNaN(n) {
		c.report(path, strconv.Quote(string(r))+`: expected a number such as "1.5"`)
		return
	}
	if n < least || n > most {
		c.report(path, fmt.Sprintf("%s: expected %g to %g", r, least, most))
	}
}

func (c scenarioCheck) list(path string, n int, what string, required bool) {
	if n == 0 && required {
		c.report(path, "required: at least "+what)
	}
	if n > maxScenarioList {
		c.report(path, fmt.Sprintf("%d entries; expected at most %d", n, maxScenarioList))
	}
}

func (c scenarioCheck) number(path string, n int32, least, most int) {
	if int(n) < least || int(n) > most {
		c.report(path, fmt.Sprintf("%d: expected %d to %d", n, least, most))
	}
}

func (c scenarioCheck) caller(path string, s *ScenarioCaller, names map[string]bool) {
	if s.Name == "" {
		c.report(path+".name", "required: a name for the table and for surges")
	} else if names[s.Name] {
		c.report(path+".name", strconv.Quote(s.Name)+" is the name of two callers")
	}
	names[s.Name] = true
	c.request(path+".request", &s.Request)
	switch {
	case s.Rate == "" && s.Count == 0:
		c.report(path, "required: rate (requests per second) or count (callers that wait for their answers)")
	case s.Rate != "" && s.Count != 0:
		c.report(path+".count", "rate and count do not go together: requests come whatever becomes of them, or callers wait for their answers")
	case s.Rate != "" && s.Think != "":
		c.report(path+".think", "only callers that are counted think: rate is requests per second")
	}
	c.ratio(path+".rate", s.Rate, 0, maxScenarioRate)
	c.number(path+".count", s.Count, 0, maxScenarioCallers)
	c.span(path+".think", s.Think, 0, time.Hour, false)
	c.span(path+".timeout", s.Timeout, time.Millisecond, time.Hour, false)
	c.span(path+".backoff", s.Backoff, 0, time.Hour, false)
	c.number(path+".retries", s.Retries, 0, 100)
}

func (c scenarioCheck) request(path string, r *TestRequest) {
	if r.URL == "" {
		c.report(path+".url", "required: http://HOST[:PORT]/PATH")
	}
	for i, h := range r.Headers {
		if h.Name == "" {
			c.report(path+".headers["+strconv.Itoa(i)+"].name", "required: the name of a header")
		}
	}
}

func (c scenarioCheck) service(path string, s *ScenarioService) {
	if s.Backend == "" {
		c.report(path+".backend", "required: the backend's name, such as checkout or shop/checkout")
	}
	c.number(path+".hosts", s.Hosts, 0, maxScenarioHosts)
	c.number(path+".concurrency", s.Concurrency, 1, 100_000)
	if s.Queue != nil {
		c.number(path+".queue", *s.Queue, 0, maxScenarioQueue)
	}
	t := &s.ServiceTime
	at := path + ".serviceTime"
	switch {
	case t.Fixed == "" && t.Mean == "":
		c.report(at, "required: fixed, or mean (exponential), or mean and p99 (log-normal)")
	case t.Fixed != "" && (t.Mean != "" || t.P99 != ""):
		c.report(at, "fixed leaves nothing to mean and p99")
	}
	c.span(at+".fixed", t.Fixed, time.Microsecond, time.Hour, false)
	c.span(at+".mean", t.Mean, time.Microsecond, time.Hour, false)
	c.span(at+".p99", t.P99, time.Microsecond, time.Hour, false)
	if ratio := float64(t.P99.Duration()) / float64(max(1, t.Mean.Duration())); t.P99 != "" && (ratio < 1.01 || ratio > maxLogNormal) {
		c.report(at+".p99", fmt.Sprintf("%s: expected 1.01 to %g times the mean, which a log-normal distribution can have", t.P99, maxLogNormal))
	}
	c.list(path+".calls", len(s.Calls), "", false)
	for i := range s.Calls {
		call, at := &s.Calls[i], path+".calls["+strconv.Itoa(i)+"]"
		c.request(at+".request", &call.Request)
		c.share(at+".share", call.Share)
		c.span(at+".timeout", call.Timeout, time.Millisecond, time.Hour, false)
	}
}

// maxLogNormal is how many times the mean the 99th percentile of a log-normal distribution can
// be: exp(z²/2) = 14.97 with z = 2.326, at σ = z.
const maxLogNormal = 14.9

func (c scenarioCheck) event(path string, e *ScenarioEvent, callers map[string]bool) {
	c.span(path+".at", e.At, 0, maxScenarioDuration, true)
	c.span(path+".for", e.For, time.Millisecond, maxScenarioDuration, false)
	c.ratio(path+".slowDown", e.SlowDown, 0.01, 10_000)
	c.share(path+".errors", e.Errors)
	c.ratio(path+".surge", e.Surge, 0, 1000)
	kinds := 0
	for _, has := range []bool{e.Outage, e.Hang, e.SlowDown != "", e.Errors != "", e.Surge != ""} {
		if has {
			kinds++
		}
	}
	if kinds != 1 {
		c.report(path, "expected one of outage, hang, slowDown, errors and surge; write an event for each")
	}
	if e.Fast && e.Errors == "" {
		c.report(path+".fast", "is of errors")
	}
	if e.Surge != "" {
		if e.Backend != "" || e.Hosts != "" {
			c.report(path+".surge", "is of callers, not of a backend")
		}
		if e.Caller != "" && !callers[e.Caller] {
			c.report(path+".caller", strconv.Quote(e.Caller)+" is none of the callers")
		}
		return
	}
	if e.Caller != "" {
		c.report(path+".caller", "is of a surge")
	}
	if e.Backend == "" {
		c.report(path+".backend", "required: to which backend it happens")
	}
	if e.Hosts == "" {
		return
	}
	n, err := strconv.Atoi(e.Hosts)
	if strings.HasSuffix(e.Hosts, "%") {
		c.share(path+".hosts", Share(e.Hosts))
	} else if err != nil || n < 1 || n > maxScenarioHosts {
		c.report(path+".hosts", fmt.Sprintf("%q: expected a number in quotes, such as \"1\" (up to %d), or a percentage", e.Hosts, maxScenarioHosts))
	}
}

func (c scenarioCheck) limit(path string, l *ScenarioLimit) {
	c.span(path+".from", l.From, 0, maxScenarioDuration, false)
	c.span(path+".until", l.Until, time.Millisecond, maxScenarioDuration, false)
	if l.Until != "" && l.Until.Duration() <= l.From.Duration() {
		c.report(path+".until", "expected a moment after from")
	}
	c.share(path+".minSuccess", l.MinSuccess)
	c.share(path+".minGoodput", l.MinGoodput)
	c.span(path+".maxP99", l.MaxP99, time.Microsecond, time.Hour, false)
	c.span(path+".recoveryWithin", l.RecoveryWithin, 0, maxScenarioDuration, false)
	c.ratio(path+".maxAmplification", l.MaxAmplification, 1, 1_000_000)
	if l.Backend != "" && l.MaxAmplification == "" {
		c.report(path+".backend", "is of maxAmplification")
	}
	if l.MinSuccess == "" && l.MinGoodput == "" && l.MaxP99 == "" && l.RecoveryWithin == "" && l.MaxAmplification == "" {
		c.report(path, "required: something that must hold; a limit of nothing cannot be exceeded")
	}
	if l.RecoveryWithin != "" && (l.From != "" || l.Until != "") {
		c.report(path+".recoveryWithin", "is of the whole run; write it into a limit without from and until")
	}
}
