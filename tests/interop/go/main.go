// The client_golang client of the interop tests; .ci/peers builds it into .peers/push-go.
//
//	push-go METHOD ADDRESS FORMAT JOB [NAME=VALUE ...]
//
// METHOD is push, add or delete; FORMAT is text or protobuf. The environment variable
// PUSH_USER, if set, is user:password.
package main

import (
	"log"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"
	"github.com/prometheus/common/expfmt"
)

var formats = map[string]expfmt.Format{
	"text":     expfmt.NewFormat(expfmt.TypeTextPlain),
	"protobuf": expfmt.NewFormat(expfmt.TypeProtoDelim),
}

func collectors() []prometheus.Collector {
	rows := prometheus.NewCounterVec(
		prometheus.CounterOpts{Name: "go_client_rows_total", Help: "Rows."}, []string{"table"})
	rows.WithLabelValues("a\"b\\c\nd").Add(42)
	seconds := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "go_client_seconds", Help: "Seconds.",
		Buckets: []float64{1, 10}, NativeHistogramBucketFactor: 1.1,
	})
	for _, value := range []float64{0.5, 2, 20} {
		seconds.Observe(value)
	}
	sizes := prometheus.NewSummary(prometheus.SummaryOpts{
		Name: "go_client_sizes", Help: "Sizes.", Objectives: map[float64]float64{0.5: 0.05},
	})
	sizes.Observe(7)
	return []prometheus.Collector{rows, seconds, sizes}
}

func main() {
	log.SetFlags(0)
	method, address, format, job := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	pusher := push.New(address, job).Format(formats[format])
	for _, label := range os.Args[5:] {
		name, value, _ := strings.Cut(label, "=")
		pusher.Grouping(name, value)
	}
	if user, password, given := strings.Cut(os.Getenv("PUSH_USER"), ":"); given {
		pusher.BasicAuth(user, password)
	}
	for _, collector := range collectors() {
		pusher.Collector(collector)
	}
	calls := map[string]func() error{
		"push": pusher.Push, "add": pusher.Add, "delete": pusher.Delete,
	}
	if err := calls[method](); err != nil {
		log.Fatal(err)
	}
}
