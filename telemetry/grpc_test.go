package telemetry

import (
	"strings"
	"testing"

	"weir.dev/weir/model"
)

func TestCallsAreCounted(t *testing.T) {
	m := NewMetrics(2)
	s := m.Route("r")
	ends := []GRPCEnd{EndOfCall(model.GRPCOK), EndOfCall(model.GRPCUnavailable), EndOfCall(model.GRPCUnavailable), EndOfCall(99), EndOfCall(-1), GRPCMissing, 0, 200}
	for i, end := range ends {
		s.Begin(i % 2)
		s.End(i%2, &Outcome{Code: 200, GRPC: end})
	}
	stats := s.Snapshot()
	counted := map[string]uint64{}
	var all uint64
	for end, n := range stats.Calls {
		all += n
		counted[GRPCEnd(end).String()] += n
	}
	if all != 6 || counted["OK"] != 1 || counted["UNAVAILABLE"] != 2 || counted["other"] != 2 || counted["none"] != 1 {
		t.Errorf("counted %v", counted)
	}
	if since := stats.Since(&stats); since.Calls != [grpcEnds]uint64{} {
		t.Errorf("nothing came since, but %v", since.Calls)
	}
	if total := m.Totals(); total.Calls != stats.Calls {
		t.Errorf("in all %v, want %v", total.Calls, stats.Calls)
	}
}

func TestCallsInTheLog(t *testing.T) {
	r := fullRecord()
	r.Status, r.GRPC, r.Attempts[1].GRPC = 200, EndOfCall(model.GRPCUnavailable), EndOfCall(model.GRPCAborted)
	line := string(appendJSON(nil, r))
	if !strings.Contains(line, `"status":200,"grpc_status":"UNAVAILABLE","flag"`) || !strings.Contains(line, `"status":200,"grpc_status":"ABORTED","flag"`) {
		t.Error(line)
	}
	if text := string(appendText(nil, r)); !strings.Contains(text, " 200/UNAVAILABLE UC/upstream ") {
		t.Error(text)
	}
}
