package http1

import "strconv"

// The appenders write what they are given: names and values are the caller's to validate.

// AppendRequestLine appends an HTTP/1.1 request line. hasQuery adds "?" even before an empty query.
func AppendRequestLine(dst, method, path, query []byte, hasQuery bool) []byte {
	dst = append(dst, method...)
	dst = append(dst, ' ')
	dst = append(dst, path...)
	if hasQuery {
		dst = append(dst, '?')
		dst = append(dst, query...)
	}
	return append(dst, " HTTP/1.1\r\n"...)
}

// AppendStatusLine appends an HTTP/1.1 status line. A status that is not registered, from
// 100 to 999, gets an empty reason.
func AppendStatusLine(dst []byte, status int) []byte {
	if status >= 0 && status < len(statusLines) && statusLines[status] != "" {
		return append(dst, statusLines[status]...)
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	return append(dst, " \r\n"...)
}

// AppendField appends a field line with a byte slice as its value.
func AppendField(dst []byte, name string, value []byte) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// AppendFieldString appends a field line with a string as its value.
func AppendFieldString(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// AppendChunkSize appends the line in front of a chunk of n bytes. The chunk's data and
// a CRLF follow; for n == 0, trailers and a CRLF.
func AppendChunkSize(dst []byte, n int) []byte {
	dst = strconv.AppendInt(dst, int64(n), 16)
	return append(dst, "\r\n"...)
}
