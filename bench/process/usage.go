package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of utime and stime in /proc/PID/stat: USER_HZ is 100 on
// every Linux that Go runs on.
const tick = 10 * time.Millisecond

// CPU returns the user and system time that pid and its descendants have used.
// It adds up the nanosecond run time of every thread, which misses threads that
// ended; where the kernel keeps no such figure, or the coarse figure (which
// has those threads) is larger by more than its own resolution, that one counts.
func CPU(pid int) (time.Duration, error) {
	var sum time.Duration
	for _, p := range tree(pid) {
		coarse, err := ticks(p)
		if err != nil {
			if p == pid {
				return 0, err
			}
			continue // a child that ended between the two looks
		}
		fine := threads(p)
		if coarse > fine+2*tick {
			fine = coarse
		}
		sum += fine
	}
	return sum, nil
}

// Busy returns the time that all cores together have spent on anything,
// other machines that steal from this one included.
func Busy() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return parseBusy(string(text))
}

// parseBusy adds up the first line of /proc/stat without idle and iowait, the
// fourth and fifth number, and guest times, which are in user time already.
func parseBusy(text string) (time.Duration, error) {
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("stat of the machine begins with %q", line)
	}
	var sum int64
	for i, field := range fields[1:9] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("stat of the machine: %w", err)
		}
		if i != 3 && i != 4 {
			sum += n
		}
	}
	return time.Duration(sum) * tick, nil
}

// Resident returns the resident memory of pid and its descendants, in bytes.
// Pages that two of them share count twice.
func Resident(pid int) (int64, error) {
	var sum int64
	for _, p := range tree(pid) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p))
		if err != nil {
			if p == pid {
				return 0, err
			}
			continue
		}
		pages, err := parseStatm(string(text))
		if err != nil {
			return 0, err
		}
		sum += pages * int64(os.Getpagesize())
	}
	return sum, nil
}

// Peak returns the most memory that pid ever had resident, in bytes.
func Peak(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return parsePeak(string(text))
}

// parsePeak reads VmHWM from /proc/PID/status: kilobytes, of 1,024 bytes.
func parsePeak(text string) (int64, error) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kilobytes, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, fmt.Errorf("status without VmHWM")
}

// tree returns pid and its descendants.
func tree(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", all[i]))
		for _, list := range lists {
			text, err := os.ReadFile(list)
			if err != nil {
				continue
			}
			for field := range strings.FieldsSeq(string(text)) {
				if child, err := strconv.Atoi(field); err == nil {
					all = append(all, child)
				}
			}
		}
	}
	return all
}

// threads adds up the run time of the living threads of pid.
func threads(pid int) time.Duration {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	var sum time.Duration
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		sum += parseSchedstat(string(text))
	}
	return sum
}

func ticks(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStat(string(text))
}

// parseSchedstat reads the first of three fields: nanoseconds on a core.
func parseSchedstat(text string) time.Duration {
	first, _, _ := strings.Cut(text, " ")
	ns, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(ns)
}

// parseStat adds utime and stime, fields 14 and 15 of /proc/PID/stat. The
// second field, the name, may hold spaces and brackets itself.
func parseStat(text string) (time.Duration, error) {
	end := strings.LastIndexByte(text, ')')
	if end < 0 {
		return 0, fmt.Errorf("stat without a name: %q", text)
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("stat with %d fields after the name", len(fields))
	}
	var sum int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("stat: %w", err)
		}
		sum += n
	}
	return time.Duration(sum) * tick, nil
}

// parseStatm reads the second field of /proc/PID/statm: resident pages.
func parseStatm(text string) (int64, error) {
	fields := strings.Fields(text)
	if len(fields) < 2 {
		return 0, fmt.Errorf("statm with %d fields", len(fields))
	}
	return strconv.ParseInt(fields[1], 10, 64)
}
