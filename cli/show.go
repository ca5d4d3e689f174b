package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

func word(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

// moment writes a time of the API in the local zone, to the second.
func moment(v any) string {
	at, err := time.Parse(time.RFC3339, word(v))
	if err != nil {
		return word(v)
	}
	return at.Local().Format(time.DateTime)
}

func words(v any) string {
	items, _ := v.([]any)
	all := make([]string, 0, len(items))
	for _, item := range items {
		all = append(all, word(item))
	}
	return strings.Join(all, ", ")
}

func child(m map[string]any, name string) map[string]any {
	c, _ := m[name].(map[string]any)
	return c
}

// ejection says that a host is out as an outlier, or would be.
func ejection(outlier map[string]any) string {
	rule := word(outlier["rule"])
	switch {
	case rule == "":
		return ""
	case outlier["ejected"] == true:
		return "ejected by " + rule + " until " + moment(outlier["until"])
	}
	return "would be ejected by " + rule + " until " + moment(outlier["until"])
}

func decimal(v any) string {
	n, _ := v.(float64)
	return strconv.FormatFloat(n, 'f', 1, 64)
}

// milliseconds shows a duration with two significant digits.
func milliseconds(v any) string {
	n, _ := v.(float64)
	if n <= 0 {
		return "-"
	}
	return significant(n) + "ms"
}

// significant shows a number with two significant digits.
func significant(n float64) string {
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(n, 'g', 2, 64), 64) // what FormatFloat wrote is a number
	return strconv.FormatFloat(rounded, 'f', -1, 64)
}

// estimate shows a duration that is only known to lie in a bucket of a histogram.
func estimate(v any) string {
	text := milliseconds(v)
	if text == "-" {
		return text
	}
	return "~" + text
}

func position(v any) string {
	at, _ := v.(map[string]any)
	where := word(at["file"])
	for _, part := range []string{"line", "column"} {
		if n := word(at[part]); n != "" {
			where += ":" + n
		}
	}
	return where
}

// backends shows the arms: "httpbin-v1 90%, httpbin-v2 10%".
func backends(v any) string {
	items, _ := v.([]any)
	all := make([]string, 0, len(items))
	for _, item := range items {
		b, _ := item.(map[string]any)
		percent, _ := b["percent"].(float64)
		all = append(all, word(b["name"])+" "+strconv.FormatFloat(percent, 'f', -1, 64)+"%")
	}
	return strings.Join(all, ", ")
}

// negative are the conditions that hold when something is wrong.
var negative = map[string]bool{"Conflicted": true, "PartiallyInvalid": true, "OverlappingTLSConfig": true, "Overridden": true}

// conditions shows what holds, and why what should hold does not: of an object itself, and of
// those of its parts that have a problem. Of an object that has no conditions of its own (a
// route has them for each parent) it shows those of the parts, once if they are all the same.
func conditions(v any) string {
	items, _ := v.([]any)
	var parts []string
	texts, faulty := map[string]string{}, map[string]bool{}
	for _, item := range items {
		c, _ := item.(map[string]any)
		of := word(c["of"])
		if _, known := texts[of]; !known {
			parts = append(parts, of)
			texts[of] = ""
		}
		text, wrong := condition(c)
		faulty[of] = faulty[of] || wrong
		if text != "" && texts[of] != "" {
			text = ", " + text
		}
		texts[of] += text
	}
	own, some := texts[""]
	if !some && alike(texts) && len(parts) > 0 {
		return texts[parts[0]]
	}
	var all []string
	if some {
		all = append(all, own)
	}
	for _, of := range parts {
		if of != "" && (faulty[of] || !some) {
			all = append(all, of+": "+texts[of])
		}
	}
	return strings.Join(all, "; ")
}

// condition shows one condition; nothing where all is well without it.
func condition(c map[string]any) (text string, wrong bool) {
	kind, status := word(c["type"]), word(c["status"])
	switch {
	case negative[kind] && status == "False":
		return "", false
	case !negative[kind] && status == "True":
		return kind, false
	}
	return kind + "=" + status + " (" + word(c["reason"]) + ")", true
}

// alike tells whether all texts are the same.
func alike(texts map[string]string) bool {
	different := map[string]bool{}
	for _, text := range texts {
		different[text] = true
	}
	return len(different) <= 1
}
