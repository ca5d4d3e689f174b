package app

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strconv"
	"strings"
	"syscall"

	"weir.dev/weir/traffic/pressure"
)

// usage takes readings of this process. It is used by one goroutine.
type usage struct {
	memory      uint64 // limit in bytes; 0: none
	connections func() (open, most int64)
	samples     []metrics.Sample
}

// The samples of usage, in its order.
const (
	sampleTotal    = iota // mapped from the system
	sampleReleased        // and given back
	sampleFree            // to be given back when the system wants it
	sampleObjects         // garbage included
	sampleLive            // what was not garbage at the last collection
	sampleCount
)

func newUsage(memory int64, connections func() (open, most int64)) *usage {
	u := &usage{memory: uint64(max(memory, 0)), connections: connections, samples: make([]metrics.Sample, sampleCount)}
	u.samples[sampleTotal].Name = "/memory/classes/total:bytes"
	u.samples[sampleReleased].Name = "/memory/classes/heap/released:bytes"
	u.samples[sampleFree].Name = "/memory/classes/heap/free:bytes"
	u.samples[sampleObjects].Name = "/memory/classes/heap/objects:bytes"
	u.samples[sampleLive].Name = "/gc/heap/live:bytes"
	return u
}

// read takes a reading of everything: some microseconds.
func (u *usage) read() pressure.Readings {
	open, most := u.connections()
	files, limit := openFiles()
	return pressure.Readings{
		pressure.Memory:      {Used: u.memoryInUse(), Limit: u.memory},
		pressure.Connections: {Used: uint64(max(open, 0)), Limit: uint64(max(most, 0))},
		pressure.Files:       {Used: files, Limit: limit},
	}
}

// memoryInUse is what a collection would leave, as far as the last one tells: garbage comes and
// goes, and Go keeps it within its own limit. It is counted as Go counts it, not as the kernel does,
// to whom what has not been touched yet is no memory: so that layers begin before Go, near its limit,
// does little but collect garbage.
func (u *usage) memoryInUse() uint64 {
	metrics.Read(u.samples)
	value := func(i int) uint64 {
		if u.samples[i].Value.Kind() != metrics.KindUint64 {
			return 0
		}
		return u.samples[i].Value.Uint64()
	}
	garbage := value(sampleObjects) - min(value(sampleLive), value(sampleObjects))
	spare := value(sampleReleased) + value(sampleFree) + garbage
	return value(sampleTotal) - min(spare, value(sampleTotal))
}

// openFiles returns how many files the process has open and may have; a limit of 0 where the system
// does not say (Linux does since 6.2, at the cost of one call).
func openFiles() (open, limit uint64) {
	info, err := os.Stat("/proc/self/fd")
	if err != nil || info.Size() <= 0 {
		return 0, 0
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur > math.MaxInt64 {
		return 0, 0
	}
	return uint64(info.Size()), files.Cur
}

// machineMemory returns the machine's memory in bytes; 0: unknown.
func machineMemory() int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(text) {
		if fields := bytes.Fields(line); len(fields) == 3 && string(fields[0]) == "MemTotal:" {
			kilobytes, _ := strconv.ParseInt(string(fields[1]), 10, 54)
			return kilobytes << 10
		}
	}
	return 0
}

// groupMemory returns what the process's control group may have, in bytes; 0: there is no limit.
func groupMemory() int64 {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	return groupLimit(string(text), func(path string) string {
		limit, _ := os.ReadFile(filepath.Join("/sys/fs/cgroup", path)) // there is none at the root
		return string(limit)
	})
}

// groupLimit finds the lowest limit of memory of the groups in the text of /proc/self/cgroup, and of
// those that these are in. In a container the path may lead nowhere: then what is mounted is the
// group itself.
func groupLimit(groups string, read func(path string) string) int64 {
	const huge = 1 << 60 // the first version's word for no limit is near the end of integers
	lowest := int64(huge)
	for line := range strings.Lines(groups) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3) // hierarchy, controllers, path
		if len(parts) != 3 {
			continue
		}
		root, file := "", "memory.max"
		switch {
		case parts[1] == "memory":
			root, file = "memory", "memory.limit_in_bytes"
		case parts[1] != "":
			continue
		}
		for path := filepath.Clean("/" + parts[2]); ; path = filepath.Dir(path) {
			limit, err := strconv.ParseInt(strings.TrimSpace(read(filepath.Join(root, path, file))), 10, 64)
			if err == nil && limit > 0 {
				lowest = min(lowest, limit)
			}
			if path == "/" {
				break
			}
		}
	}
	if lowest >= huge {
		return 0
	}
	return lowest
}
