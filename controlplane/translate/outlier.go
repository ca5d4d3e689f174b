package translate

import (
	"cmp"
	"strconv"
	"time"

	"weir.dev/weir/controlplane/resource/v1alpha1"
	"weir.dev/weir/model"
)

// outlierSide is the backend side's part on outlier detection.
type outlierSide struct {
	consecutive5xx, consecutiveLocal                     *setting[int]
	failureShare, successRateDeviation, slowerThanMedian *setting[float64]
	interval, baseEjection, maxEjection                  *setting[time.Duration]
	minRequests, maxEjectedHosts                         *setting[int]
	maxEjected                                           *setting[float64]
	mode                                                 *setting[model.Mode]
}

// readOutlier reads by what a policy has hosts ejected.
func (r *policyReader) readOutlier(d *v1alpha1.OutlierDetection) {
	const path = "outlierDetection."
	v := &r.into.backend.outlier
	v.consecutive5xx = r.number(path+"consecutive5xx", sideBackend, d.Consecutive5xx)
	v.consecutiveLocal = r.number(path+"consecutiveLocal", sideBackend, d.ConsecutiveLocal)
	v.failureShare = r.share(path+"failureShare", sideBackend, d.FailureShare)
	if d.SuccessRateDeviation != nil {
		text := string(*d.SuccessRateDeviation)
		value, err := strconv.ParseFloat(text, 64)
		if err != nil || value < 0 || value >= 100 {
			r.error(RuleInvalidValue, path+"successRateDeviation", "%q is not a decimal such as 1.9, or 0 for no bound", text)
		}
		v.successRateDeviation = set(r, path+"successRateDeviation", sideBackend, value)
	}
	if d.SlowerThanMedian != nil {
		v.slowerThanMedian = set(r, path+"slowerThanMedian", sideBackend, r.loadFactor(path+"slowerThanMedian", *d.SlowerThanMedian))
	}
	v.interval = r.duration(path+"interval", sideBackend, d.Interval)
	v.minRequests = r.number(path+"minRequests", sideBackend, d.MinRequests)
	v.baseEjection = r.duration(path+"baseEjectionTime", sideBackend, d.BaseEjectionTime)
	v.maxEjection = r.duration(path+"maxEjectionTime", sideBackend, d.MaxEjectionTime)
	v.maxEjected = r.share(path+"maxEjected", sideBackend, d.MaxEjected)
	v.maxEjectedHosts = r.number(path+"maxEjectedHosts", sideBackend, d.MaxEjectedHosts)
	v.mode = r.mode(path+"mode", sideBackend, d.Mode)
}

func (s outlierSide) under(above outlierSide) outlierSide {
	return outlierSide{
		consecutive5xx:       cmp.Or(s.consecutive5xx, above.consecutive5xx),
		consecutiveLocal:     cmp.Or(s.consecutiveLocal, above.consecutiveLocal),
		failureShare:         cmp.Or(s.failureShare, above.failureShare),
		successRateDeviation: cmp.Or(s.successRateDeviation, above.successRateDeviation),
		slowerThanMedian:     cmp.Or(s.slowerThanMedian, above.slowerThanMedian),
		interval:             cmp.Or(s.interval, above.interval),
		baseEjection:         cmp.Or(s.baseEjection, above.baseEjection),
		maxEjection:          cmp.Or(s.maxEjection, above.maxEjection),
		minRequests:          cmp.Or(s.minRequests, above.minRequests),
		maxEjectedHosts:      cmp.Or(s.maxEjectedHosts, above.maxEjectedHosts),
		maxEjected:           cmp.Or(s.maxEjected, above.maxEjected),
		mode:                 cmp.Or(s.mode, above.mode),
	}
}

// fillOutlier says by what a cluster's hosts are ejected, and who said so.
func fillOutlier(c *model.Cluster, s outlierSide) {
	const path = "outlierDetection."
	o := &c.Origins
	base := effective(s.baseEjection, defaultBaseEjection, path+"baseEjectionTime", o)
	c.Outlier = model.Outlier{
		Consecutive5xx:       effective(s.consecutive5xx, 0, path+"consecutive5xx", o),
		ConsecutiveLocal:     effective(s.consecutiveLocal, defaultConsecutiveLocal, path+"consecutiveLocal", o),
		FailureShare:         effective(s.failureShare, 0, path+"failureShare", o),
		SuccessRateDeviation: effective(s.successRateDeviation, 0, path+"successRateDeviation", o),
		SlowerThanMedian:     effective(s.slowerThanMedian, 0, path+"slowerThanMedian", o),
		Interval:             effective(s.interval, defaultOutlierInterval, path+"interval", o),
		MinRequests:          effective(s.minRequests, defaultOutlierMinRequests, path+"minRequests", o),
		BaseEjection:         base,
		MaxEjection:          max(base, effective(s.maxEjection, defaultMaxEjection, path+"maxEjectionTime", o)),
		MaxEjected:           effective(s.maxEjected, defaultMaxEjected, path+"maxEjected", o),
		MaxEjectedHosts:      effective(s.maxEjectedHosts, 0, path+"maxEjectedHosts", o),
		Mode:                 effective(s.mode, model.ModeEnforce, path+"mode", o),
	}
}
