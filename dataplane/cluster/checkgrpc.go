package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"weir.dev/weir/dataplane/http1"
	"weir.dev/weir/model"
)

// maxCheckMessage bounds what is kept of the answer to a call, in bytes.
const maxCheckMessage = 4 << 10

// call is the request of a check by gRPC's health protocol
// (https://github.com/grpc/grpc/blob/master/doc/health-checking.md): HealthCheckRequest has the
// service as its field 1.
func (q *question) call() []byte {
	message := []byte{}
	if s := q.spec.Service; s != "" {
		message = append(binary.AppendUvarint(append(message, 1<<3|2), uint64(len(s))), s...)
	}
	out := http1.AppendRequestLine(nil, []byte("POST"), []byte("/grpc.health.v1.Health/Check"), nil, false)
	out = q.appendCommon(out)
	out = http1.AppendFieldString(out, "Content-Type", "application/grpc")
	out = http1.AppendFieldString(out, "Grpc-Timeout", grpcTimeout(q.spec.Timeout))
	out = http1.AppendFieldString(out, "Content-Length", strconv.Itoa(5+len(message)))
	out = append(out, "\r\n"...)
	out = binary.BigEndian.AppendUint32(append(out, 0), uint32(len(message)))
	return append(out, message...)
}

// grpcTimeout writes a timeout as gRPC does: up to eight digits and a unit.
func grpcTimeout(d time.Duration) string {
	const most = 99_999_999
	if ms := (d + time.Millisecond - 1).Milliseconds(); ms <= most {
		return strconv.FormatInt(ms, 10) + "m"
	}
	return strconv.FormatInt(min(int64(d/time.Second), most), 10) + "S"
}

// judgeCall reads the rest of the answer to a call and judges it.
func (q *question) judgeCall() error {
	if q.head.Status != 200 || !q.head.GRPC {
		return fmt.Errorf("answered as HTTP, not as gRPC, with status %d", q.head.Status)
	}
	var ended callEnd
	for i := range q.head.Fields { // of an answer that has nothing but a status
		ended.note(q.head.Fields[i].Known, q.head.Name(i), q.head.Value(i))
	}
	var message []byte
	tooLong := false
	err := q.readBody(maxCheckBody, func(p []byte) {
		if tooLong = tooLong || len(message)+len(p) > maxCheckMessage; !tooLong {
			message = append(message, p...)
		}
	}, func(name http1.Name, value []byte) { ended.note(name, nil, value) })
	switch {
	case err != nil:
		return err
	case ended.status == "":
		return errors.New("the answer ended without a grpc-status")
	case ended.status != "0":
		return ended.failure(q.spec.Service)
	case tooLong:
		return errors.New("the answer is too long")
	}
	status, err := servingStatus(message)
	if err != nil {
		return err
	}
	if status != serving {
		return fmt.Errorf("answered %s", servingName(status))
	}
	return nil
}

// callEnd is how a call ended.
type callEnd struct{ status, message string }

func (e *callEnd) note(name http1.Name, raw, value []byte) {
	switch {
	case name == http1.NameGRPCStatus:
		e.status = string(value)
	case strings.EqualFold(string(raw), "grpc-message"):
		e.message = shown(string(value))
	}
}

// failure says in words that a call has ended with an error.
func (e *callEnd) failure(service string) error {
	code := model.GRPCUnknown
	if n, err := strconv.Atoi(e.status); err == nil {
		code = model.GRPCCode(n)
	}
	switch code {
	case model.GRPCUnimplemented:
		return errors.New("the host does not serve gRPC's health protocol (UNIMPLEMENTED)")
	case model.GRPCNotFound:
		return fmt.Errorf("the host does not know a service %q (NOT_FOUND)", service)
	}
	if e.message != "" {
		return fmt.Errorf("the call ended with %v: %s", code, e.message)
	}
	return fmt.Errorf("the call ended with %v", code)
}

// serving is what a host says that is well; servingStatuses are all statuses.
const serving = 1

var servingStatuses = [...]string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}

func servingName(status uint64) string {
	if status < uint64(len(servingStatuses)) {
		return servingStatuses[status]
	}
	return "a status without a name, " + strconv.FormatUint(status, 10)
}

var errCheckMessage = errors.New("malformed HealthCheckResponse")

// servingStatus returns field 1 of a HealthCheckResponse, in the one message of a body.
func servingStatus(body []byte) (uint64, error) {
	if len(body) < 5 || body[0] != 0 || uint64(binary.BigEndian.Uint32(body[1:])) != uint64(len(body)-5) {
		return 0, errCheckMessage
	}
	status := uint64(0)
	for rest := body[5:]; len(rest) > 0; {
		tag, n := binary.Uvarint(rest)
		if n <= 0 {
			return 0, errCheckMessage
		}
		rest = rest[n:]
		value, n := uint64(0), 0
		switch tag & 7 {
		case 0: // a varint
			value, n = binary.Uvarint(rest)
		case 1: // 64 bits
			n = 8
		case 2: // bytes
			size, m := binary.Uvarint(rest)
			if m <= 0 || size > uint64(len(rest)-m) {
				return 0, errCheckMessage
			}
			n = m + int(size)
		case 5: // 32 bits
			n = 4
		}
		if n <= 0 || n > len(rest) {
			return 0, errCheckMessage
		}
		if tag == 1<<3 {
			status = value
		}
		rest = rest[n:]
	}
	return status, nil
}
