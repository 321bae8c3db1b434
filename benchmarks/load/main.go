// Command load pushes to a Pushgateway or scrapes it, and prints what it saw as one JSON line.
//
// It sends prepared bytes in which only the group, the values and (for -cold and -own) one label
// change, so that on a small machine the server is the bottleneck. Its own CPU time is in the
// result. It ends early, with a result, on SIGTERM. With -rate, requests are due at fixed times whatever the server does, and a latency
// counts from the time at which its request was due.
package main

import (
	"bufio"
	"context"
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
	"os/signal"
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
	spread      = flag.Int("spread", 0, "with -once: so many groups, pushed to again and again")
	series      = flag.Int("series", 50, "series in each push")
	protobuf    = flag.Bool("protobuf", false, "push delimited protobuf instead of text")
	cold        = flag.Bool("cold", false, "label values that no push had before")
	own         = flag.Bool("own", false, "label values that no other group has")
	histograms  = flag.Bool("histograms", false, "histograms of ten buckets instead of gauges")
	digitHelp   = flag.Bool("digit-help", false, "help texts that end in a digit")
	rate        = flag.Float64("rate", 0, "requests per second on all connections; 0: as fast as it goes")
	reconnect   = flag.Bool("reconnect", false, "a new connection for each push")
	get         = flag.String("get", "", "get this path instead of pushing, -seconds long or -scrapes times")
	scrapes     = flag.Int("scrapes", 0, "get that often, one after the other")
	compressed  = flag.Bool("gzip", false, "accept gzip")
)

const (
	seriesPerFamily = 10
	digits          = 6
	runDigits       = 16
	answerWithin    = 120 * time.Second
	protobufType    = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)

// Result is what one connection, or all of them, saw.
type Result struct {
	Statuses  map[int]int `json:"statuses"`
	Requests  int         `json:"requests"`
	PerSecond float64     `json:"per_second"`
	P50       float64     `json:"p50_ms"`
	P99       float64     `json:"p99_ms"`
	P999      float64     `json:"p99.9_ms"`
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
		result = fromAllConnections(began)
	}
	result.summarise(time.Since(began))
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		log.Fatal(err)
	}
}

func fromAllConnections(began time.Time) Result {
	stop, release := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer release()
	var all sync.WaitGroup
	var next atomic.Int64
	results := make([]Result, *connections)
	for number := range results {
		all.Add(1)
		go func() {
			defer all.Done()
			results[number] = request(stop, number, &next, began)
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

// request sends one request after the other on one connection, each push to the next group.
func request(stop context.Context, number int, next *atomic.Int64, began time.Time) Result {
	result := Result{Statuses: map[int]int{}}
	push, bytes := (*pushRequest)(nil), getRequest()
	if *get == "" {
		push = newPushRequest(uint64(number))
		bytes, result.BodyBytes = push.bytes, push.bodyBytes
	}
	line := newLine(number)
	defer line.close()
	for {
		turn := int(next.Add(1)) - 1
		due := time.Now()
		if *rate > 0 {
			due = began.Add(time.Duration(float64(turn) / *rate * float64(time.Second)))
			time.Sleep(time.Until(due))
		}
		if stop.Err() != nil || *once && turn >= *groups || !*once && due.Sub(began).Seconds() >= *seconds {
			return result
		}
		if push != nil {
			group := turn % *groups
			if *spread > 0 {
				group %= *spread
			}
			push.renew(group)
		}
		line.send(bytes)
		status, size := line.answer(io.Discard)
		if push == nil {
			result.BodyBytes = size
		}
		if *reconnect {
			line.close()
		}
		result.took = append(result.took, time.Since(due))
		result.Statuses[status]++
	}
}

func scrape() Result {
	result := Result{Statuses: map[int]int{}}
	line := newLine(0)
	defer line.close()
	bytes := getRequest()
	for range *scrapes {
		began := time.Now()
		line.send(bytes)
		status, size := line.answer(io.Discard)
		took := time.Since(began)
		result.BodyBytes = size
		result.took = append(result.took, took)
		result.Millis = append(result.Millis, millis(took))
		result.Statuses[status]++
	}
	return result
}

func getRequest() []byte {
	accept := "text/plain"
	if *protobuf {
		accept = protobufType
	}
	encoding := "identity"
	if *compressed {
		encoding = "gzip"
	}
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\nAccept-Encoding: %s\r\n\r\n",
		*get, *address, accept, encoding)
}

func (r *Result) summarise(took time.Duration) {
	r.Requests = len(r.took)
	r.PerSecond = float64(r.Requests) / took.Seconds()
	sort.Slice(r.took, func(i, j int) bool { return r.took[i] < r.took[j] })
	if r.Requests > 0 {
		r.P50 = millis(r.took[r.Requests/2])
		r.P99 = millis(r.took[r.Requests*99/100])
		r.P999 = millis(r.took[r.Requests*999/1000])
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

// pushRequest is one push as bytes, and where in them the parts that change are.
type pushRequest struct {
	bytes     []byte
	bodyBytes int
	group     int
	values    []int
	runs      []int
	pushes    uint64
	random    uint64
}

func newPushRequest(number uint64) *pushRequest {
	r := &pushRequest{random: number*0x9e3779b97f4a7c15 + uint64(time.Now().UnixNano()) | 1}
	r.pushes = number<<56 | uint64(time.Now().UnixNano())<<16>>8
	var body []byte
	contentType := "text/plain; version=0.0.4"
	if *protobuf {
		contentType = protobufType
		body = r.protobufBody()
	} else if *histograms {
		body = r.histogramBody()
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

func familyName(number int) string {
	if *histograms {
		return fmt.Sprintf("batch_latency_%03d_seconds", number)
	}
	return fmt.Sprintf("batch_stage_%03d_seconds", number)
}

const helpText = "Time the last run of the batch job spent in this stage, by step."

func help() string {
	if *digitHelp {
		return helpText + " Since 2"
	}
	return helpText
}

func (r *pushRequest) textBody() []byte {
	var body []byte
	for i := range *series {
		name := familyName(i / seriesPerFamily)
		if i%seriesPerFamily == 0 {
			body = fmt.Appendf(body, "# HELP %s %s\n# TYPE %s gauge\n", name, help(), name)
		}
		body = fmt.Appendf(body, "%s{step=\"s%02d\"", name, i%seriesPerFamily)
		body = append(r.textRun(body), "} 0."...)
		body = r.textValue(body)
	}
	return body
}

// histogramBody returns families of one histogram: ten buckets, the sum and the count.
func (r *pushRequest) histogramBody() []byte {
	var body []byte
	for i := range max(*series/(seriesPerFamily+2), 1) {
		name := familyName(i)
		body = fmt.Appendf(body, "# HELP %s %s\n# TYPE %s histogram\n", name, help(), name)
		for bucket := range seriesPerFamily {
			bound := strconv.FormatFloat(0.005*math.Pow(2, float64(bucket)), 'g', -1, 64)
			if bucket == seriesPerFamily-1 {
				bound = "+Inf"
			}
			body = r.textRun(fmt.Appendf(body, "%s_bucket{step=\"s00\"", name))
			body = r.textValue(fmt.Appendf(body, ",le=\"%s\"} ", bound))
		}
		body = r.textValue(append(r.textRun(fmt.Appendf(body, "%s_sum{step=\"s00\"", name)), "} 0."...))
		body = r.textValue(append(r.textRun(fmt.Appendf(body, "%s_count{step=\"s00\"", name)), "} "...))
	}
	return body
}

// textRun appends the label whose value is new, if there is to be one.
func (r *pushRequest) textRun(body []byte) []byte {
	if !*cold && !*own {
		return body
	}
	body = append(body, ",run=\""...)
	r.runs = append(r.runs, len(body))
	return fmt.Appendf(body, "%0*d\"", runDigits, 0)
}

// textValue appends the digits of a number, and the end of its line.
func (r *pushRequest) textValue(body []byte) []byte {
	r.values = append(r.values, len(body))
	return fmt.Appendf(body, "%0*d\n", digits, 0)
}

func (r *pushRequest) protobufBody() []byte {
	var body []byte
	for first := 0; first < *series; first += seriesPerFamily {
		family := field(nil, 1, []byte(familyName(first/seriesPerFamily)))
		family = field(family, 2, []byte(help()))
		family = append(family, 3<<3, 1) // type: gauge
		var values, runs []int
		for i := first; i < min(first+seriesPerFamily, *series); i++ {
			label := field(field(nil, 1, []byte("step")), 2, fmt.Appendf(nil, "s%02d", i%seriesPerFamily))
			metric := field(nil, 1, label)
			if *cold || *own {
				run := field(field(nil, 1, []byte("run")), 2, fmt.Appendf(nil, "%0*d", runDigits, 0))
				metric = field(metric, 1, run)
			}
			gauge := append([]byte{1<<3 | 1}, make([]byte, 8)...)
			labels := len(metric)
			metric = field(metric, 2, gauge)
			family = field(family, 4, metric)
			values = append(values, len(family)-8)
			runs = append(runs, len(family)-len(metric)+labels-runDigits)
		}
		body = binary.AppendUvarint(body, uint64(len(family)))
		for i := range values {
			r.values = append(r.values, len(body)+values[i])
			if *cold || *own {
				r.runs = append(r.runs, len(body)+runs[i])
			}
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
func (r *pushRequest) renew(group int) {
	putDigits(r.bytes[r.group:r.group+digits], uint64(group))
	r.pushes++
	run := r.pushes
	if *own {
		run = uint64(group)
	}
	for _, at := range r.runs {
		putHex(r.bytes[at:at+runDigits], run)
	}
	for _, at := range r.values {
		r.random ^= r.random << 13
		r.random ^= r.random >> 7
		r.random ^= r.random << 17
		if *protobuf {
			binary.LittleEndian.PutUint64(r.bytes[at:], r.random>>12|0x3ff<<52)
		} else {
			putDigits(r.bytes[at:at+digits], r.random>>20)
			if *histograms {
				r.bytes[at] |= 1 // a count does not begin with 0
			}
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
