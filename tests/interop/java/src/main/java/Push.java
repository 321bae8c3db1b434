import io.prometheus.metrics.config.EscapingScheme;
import io.prometheus.metrics.core.metrics.Counter;
import io.prometheus.metrics.core.metrics.Gauge;
import io.prometheus.metrics.core.metrics.Histogram;
import io.prometheus.metrics.core.metrics.Info;
import io.prometheus.metrics.core.metrics.Summary;
import io.prometheus.metrics.exporter.pushgateway.Format;
import io.prometheus.metrics.exporter.pushgateway.PushGateway;
import io.prometheus.metrics.model.registry.PrometheusRegistry;
import io.prometheus.metrics.model.snapshots.Labels;
import java.util.Arrays;

/**
 * Pushes one metric of each kind with client_java, or deletes the group.
 *
 * <p>Arguments: METHOD ADDRESS FORMAT ESCAPING JOB [NAME=VALUE ...]; METHOD is push, add or delete.
 * The environment variable PUSH_USER, if set, is user:password.
 */
class Push {
  static final double[] SECONDS = {0, 0.5, 2, 2, 20, 300};

  public static void main(String[] arguments) throws Exception {
    PushGateway.Builder builder =
        PushGateway.builder()
            .registry(metrics())
            .address(arguments[1])
            .format(Format.valueOf(arguments[2]))
            .escapingScheme(EscapingScheme.valueOf(arguments[3]))
            .job(arguments[4]);
    for (String label : Arrays.asList(arguments).subList(5, arguments.length)) {
      String[] pair = label.split("=", 2);
      builder.groupingKey(pair[0], pair[1]);
    }
    String user = System.getenv("PUSH_USER");
    if (user != null) {
      builder.basicAuth(user.split(":", 2)[0], user.split(":", 2)[1]);
    }
    PushGateway gateway = builder.build();
    switch (arguments[0]) {
      case "push" -> gateway.push();
      case "add" -> gateway.pushAdd();
      case "delete" -> gateway.delete();
      default -> throw new IllegalArgumentException(arguments[0]);
    }
  }

  static PrometheusRegistry metrics() {
    PrometheusRegistry registry = new PrometheusRegistry();
    Counter rows = Counter.builder().name("java_rows_total").help("Rows.").labelNames("table").register(registry);
    rows.labelValues("a\"b\\c\nd").incWithExemplar(42, Labels.of("trace_id", "4bf92f35"));
    Gauge.builder().name("java.größe").help("A name with a dot and an umlaut.").register(registry).set(1.5);
    Histogram seconds = Histogram.builder().name("java_seconds").help("Seconds.").classicUpperBounds(1, 10).register(registry);
    Summary sizes = Summary.builder().name("java_sizes").help("Sizes.").quantile(0.5, 0.01).register(registry);
    for (double value : SECONDS) {
      seconds.observe(value);
      sizes.observe(value);
    }
    Info.builder().name("java_build_info").labelNames("version").register(registry).setLabelValues("1.2");
    return registry;
  }
}
