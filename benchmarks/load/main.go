// Command load pushes to a Pushgateway or scrapes it, and prints what it saw as one JSON line.
//
// It sends prepared bytes in which only the group, the values and (for -cold) one label change,
// so that on a small machine the server is the bottleneck. Its own CPU time is in the result.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math"
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

var (
	address     = flag.String("address", "", "host:port of the server")
	connections = flag.Int("connections", 32, "connections at a time")
	seconds     = flag.Float64("seconds", 5, "how long to push")
	once        = flag.Bool("once", false, "push to every group exactly once, however long it takes")
	groups      = flag.Int("groups", 100, "groups to push to")
	series      = flag.Int("series", 50, "series in each push")
	protobuf    = flag.Bool("protobuf", false, "push delimited protobuf instead of text")
	cold        = flag.Bool("cold", false, "label values that no push had before")
	reconnect   = flag.Bool("reconnect", false, "a new connection for each push")
	scrapes     = flag.Int("scrapes", 0, "scrape this often, one after the other, instead of pushing")
	compressed  = flag.Bool("gzip", false, "scrape with gzip")
)

const (
	seriesPerFamily = 10
	digits          = 6
	runDigits       = 16
	answerWithin    = 120 * time.Second
)

// Result is what one connection, or all of them, saw.
type Result struct {
	Statuses  map[int]int `json:"statuses"`
	Requests  int         `json:"requests"`
	PerSecond float64     `json:"per_second"`
	P50       float64     `json:"p50_ms"`
	P99       float64     `json:"p99_ms"`
	Max       float64     `json:"max_ms"`
	Millis    []float64   `json:"each_ms,omitempty"`
	BodyBytes int         `json:"body_bytes"`
	CPU       float64     `json:"cpu_seconds"`
	took      []time.Duration
}

func main() {
	log.SetFlags(0)
	flag.Parse()
	began := time.Now()
	var result Result
	if *scrapes > 0 {
		result = scrape()
	} else {
		result = pushFromAllConnections()
	}
	result.summarise(time.Since(began))
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		log.Fatal(err)
	}
}

func pushFromAllConnections() Result {
	var all sync.WaitGroup
	var next atomic.Int64
	results := make([]Result, *connections)
	deadline := time.Now().Add(time.Duration(*seconds * float64(time.Second)))
	for number := range results {
		all.Add(1)
		go func() {
			defer all.Done()
			results[number] = push(number, &next, deadline)
		}()
	}
	all.Wait()
	sum := Result{Statuses: map[int]int{}, BodyBytes: results[0].BodyBytes}
	for _, one := range results {
		for status, count := range one.Statuses {
			sum.Statuses[status] += count
		}
		sum.took = append(sum.took, one.took...)
	}
	return sum
}

// push sends one request after the other on one connection, each to the next group.
func push(number int, next *atomic.Int64, deadline time.Time) Result {
	request := newRequest(uint64(number))
	result := Result{Statuses: map[int]int{}, BodyBytes: request.bodyBytes}
	line := newLine(number)
	defer line.close()
	for {
		turn := int(next.Add(1)) - 1
		if *once && turn >= *groups || !*once && !time.Now().Before(deadline) {
			return result
		}
		request.renew(turn % *groups)
		began := time.Now()
		line.send(request.bytes)
		status, _ := line.answer(io.Discard)
		if *reconnect {
			line.close()
		}
		result.took = append(result.took, time.Since(began))
		result.Statuses[status]++
	}
}

func scrape() Result {
	result := Result{Statuses: map[int]int{}}
	line := newLine(0)
	defer line.close()
	encoding := "identity"
	if *compressed {
		encoding = "gzip"
	}
	request := "GET /metrics HTTP/1.1\r\nHost: " + *address + "\r\nAccept-Encoding: " + encoding + "\r\n\r\n"
	for range *scrapes {
		began := time.Now()
		line.send([]byte(request))
		status, bytes := line.answer(io.Discard)
		took := time.Since(began)
		result.BodyBytes = bytes
		result.took = append(result.took, took)
		result.Millis = append(result.Millis, millis(took))
		result.Statuses[status]++
	}
	return result
}

func (r *Result) summarise(took time.Duration) {
	r.Requests = len(r.took)
	r.PerSecond = float64(r.Requests) / took.Seconds()
	sort.Slice(r.took, func(i, j int) bool { return r.took[i] < r.took[j] })
	if r.Requests > 0 {
		r.P50 = millis(r.took[r.Requests/2])
		r.P99 = millis(r.took[r.Requests*99/100])
		r.Max = millis(r.took[r.Requests-1])
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err == nil {
		r.CPU = time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
	}
}

func millis(took time.Duration) float64 {
	return math.Round(took.Seconds()*1e6) / 1e3
}

// line is a connection that is opened when it is needed. Each has a loopback address of its own,
// so that closed connections do not use up the ports.
type line struct {
	dialer net.Dialer
	conn   net.Conn
	reader *bufio.Reader
}

func newLine(number int) *line {
	local := net.IPv4(127, 0, 1, byte(number+1))
	return &line{
		dialer: net.Dialer{LocalAddr: &net.TCPAddr{IP: local}},
		reader: bufio.NewReaderSize(nil, 64<<10),
	}
}

func (l *line) send(request []byte) {
	if l.conn == nil {
		conn, err := l.dialer.Dial("tcp", *address)
		if err != nil {
			log.Fatalf("load: %v", err)
		}
		l.conn = conn
		l.reader.Reset(conn)
		if err := conn.SetDeadline(time.Now().Add(answerWithin + time.Duration(*seconds)*time.Second)); err != nil {
			log.Fatalf("load: %v", err)
		}
	}
	if _, err := l.conn.Write(request); err != nil {
		log.Fatalf("load: %v", err)
	}
}

func (l *line) close() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

// answer reads one response and returns its status and the bytes of its body.
func (l *line) answer(body io.Writer) (status, size int) {
	length, chunked, closes := 0, false, false
	for number := 0; ; number++ {
		header, err := l.reader.ReadSlice('\n')
		if err != nil {
			log.Fatalf("load: no answer: %v", err)
		}
		text := header[:len(header)-2]
		switch {
		case number == 0:
			status, _ = strconv.Atoi(string(text[9:12]))
		case len(text) == 0:
			if chunked {
				size = l.copyChunks(body)
			} else {
				size = l.copy(body, length)
			}
			if closes {
				l.close()
			}
			return status, size
		case hasPrefixFold(text, "content-length: "):
			length, _ = strconv.Atoi(string(text[16:]))
		case hasPrefixFold(text, "transfer-encoding: chunked"):
			chunked = true
		case hasPrefixFold(text, "connection: close"):
			closes = true
		}
	}
}

func hasPrefixFold(text []byte, prefix string) bool {
	return len(text) >= len(prefix) && strings.EqualFold(string(text[:len(prefix)]), prefix)
}

func (l *line) copy(body io.Writer, length int) int {
	copied, err := io.CopyN(body, l.reader, int64(length))
	if err != nil {
		log.Fatalf("load: broken answer: %v", err)
	}
	return int(copied)
}

func (l *line) copyChunks(body io.Writer) (size int) {
	for {
		text, err := l.reader.ReadString('\n')
		if err != nil {
			log.Fatalf("load: broken answer: %v", err)
		}
		length, err := strconv.ParseInt(strings.TrimSpace(text), 16, 64)
		if err != nil {
			log.Fatal(errors.New("load: broken chunk"))
		}
		size += l.copy(body, int(length))
		l.copy(io.Discard, 2)
		if length == 0 {
			return size
		}
	}
}

// request is one push as bytes, and where in them the parts that change are.
type request struct {
	bytes     []byte
	bodyBytes int
	group     int
	values    []int
	runs      []int
	pushes    uint64
	random    uint64
}

func newRequest(number uint64) *request {
	r := &request{random: number*0x9e3779b97f4a7c15 + uint64(time.Now().UnixNano()) | 1}
	r.pushes = number<<56 | uint64(time.Now().UnixNano())<<16>>8
	var body []byte
	contentType := "text/plain; version=0.0.4"
	if *protobuf {
		contentType = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
		body = r.protobufBody()
	} else {
		body = r.textBody()
	}
	path := "PUT /metrics/job/batch/instance/i"
	head := fmt.Sprintf("%s%06d HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
		path, 0, *address, contentType, len(body))
	r.group = len(path)
	r.bodyBytes = len(body)
	r.bytes = append([]byte(head), body...)
	for i := range r.values {
		r.values[i] += len(head)
	}
	for i := range r.runs {
		r.runs[i] += len(head)
	}
	return r
}

func familyName(number int) string { return fmt.Sprintf("batch_stage_%03d_seconds", number) }

const help = "Time the last run of the batch job spent in this stage, by step."

func (r *request) textBody() []byte {
	var body []byte
	for i := range *series {
		name := familyName(i / seriesPerFamily)
		if i%seriesPerFamily == 0 {
			body = fmt.Appendf(body, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name)
		}
		body = fmt.Appendf(body, "%s{step=\"s%02d\"", name, i%seriesPerFamily)
		if *cold {
			body = append(body, ",run=\""...)
			r.runs = append(r.runs, len(body))
			body = fmt.Appendf(body, "%0*d\"", runDigits, 0)
		}
		body = append(body, "} 0."...)
		r.values = append(r.values, len(body))
		body = fmt.Appendf(body, "%0*d\n", digits, 0)
	}
	return body
}

func (r *request) protobufBody() []byte {
	var body []byte
	for first := 0; first < *series; first += seriesPerFamily {
		family := field(nil, 1, []byte(familyName(first/seriesPerFamily)))
		family = field(family, 2, []byte(help))
		family = append(family, 3<<3, 1) // type: gauge
		var values []int
		for i := first; i < min(first+seriesPerFamily, *series); i++ {
			label := field(field(nil, 1, []byte("step")), 2, fmt.Appendf(nil, "s%02d", i%seriesPerFamily))
			gauge := append([]byte{1<<3 | 1}, make([]byte, 8)...)
			family = field(family, 4, field(field(nil, 1, label), 2, gauge))
			values = append(values, len(family)-8)
		}
		body = binary.AppendUvarint(body, uint64(len(family)))
		for _, value := range values {
			r.values = append(r.values, len(body)+value)
		}
		body = append(body, family...)
	}
	return body
}

func field(message []byte, number int, content []byte) []byte {
	message = append(message, byte(number<<3|2))
	message = binary.AppendUvarint(message, uint64(len(content)))
	return append(message, content...)
}

// renew turns the bytes into a push of new values to another group.
func (r *request) renew(group int) {
	putDigits(r.bytes[r.group:r.group+digits], uint64(group))
	r.pushes++
	for _, at := range r.runs {
		putHex(r.bytes[at:at+runDigits], r.pushes)
	}
	for _, at := range r.values {
		r.random ^= r.random << 13
		r.random ^= r.random >> 7
		r.random ^= r.random << 17
		if *protobuf {
			binary.LittleEndian.PutUint64(r.bytes[at:], r.random>>12|0x3ff<<52)
		} else {
			putDigits(r.bytes[at:at+digits], r.random>>20)
		}
	}
}

func putDigits(place []byte, number uint64) {
	for i := len(place) - 1; i >= 0; i-- {
		place[i] = byte('0' + number%10)
		number /= 10
	}
}

func putHex(place []byte, number uint64) {
	for i := len(place) - 1; i >= 0; i-- {
		place[i] = "0123456789abcdef"[number&15]
		number >>= 4
	}
}
