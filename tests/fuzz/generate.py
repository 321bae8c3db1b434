"""Random pushes: valid, almost valid and hostile; text and protobuf; to several groups.

Names, labels and values come from small pools, so that what one push stores gets in the way of
the next.
"""

import base64
import gzip
import random
from dataclasses import dataclass, field
from urllib.parse import quote

from tests.delimited import PROTOBUF, delimited
from tests.fuzz import schema

TEXT_TYPES = (None, "text/plain; version=0.0.4", "application/json", PROTOBUF + "; encoding=x")
NAMES = ("a", "b", "h", "h_count", "h_bucket", "s", "s_sum", "s_count", "a_total", "m:x", "_Z9")
ODD_NAMES = ("a.b", "a-b", "1a", "é", "", "a b", 'q"q', "push_time_seconds", "U__a_2e_b")
LABELS = ("x", "y", "Z", "_u", "job", "instance", "aa")
ODD_LABELS = ("le", "quantile", "__x", "__name__", "x.y", "1x", "é", "")
VALUES = ("", "1", "v", "w", "a b", "é", "\U0001f600", "0.5", "+Inf", "x\\y", 'q"', "l\nm", "\0")
NUMBERS = ("0", "1", "2", "42", "3.14", "1e6", "1e-5", "123456.7", "1234567", "-1", "NaN", "+Inf")
ODD_NUMBERS = (
    "-Inf",
    "inf",
    "nan",
    "Infinity",
    "-nan",
    "+nan",
    "infinit",
    "0x1p3",
    "1_0",
    "1e400",
    "1e-400",
    "-0",
    "017",
    "5.",
    ".5",
    ".",
    "+1",
    "--1",
    "1e",
    "1e+",
    "1E5",
    "00001.5e+03",
    "0.1e-5",
    "4.9e-324",
    "1.7976931348623157e308",
    "9007199254740993",
    "18446744073709551616",
    "1,5",
    "1f",
    "٣",
    "",
)
TEXT_KINDS = ("", "", "gauge", "counter", "untyped", "summary", "histogram")
ODD_TEXT_KINDS = ("gaugehistogram", "gauge_histogram", "GAUGE", "info", "gauge ", "x")
BOUNDS = ("0.1", "1", "2.5", "1e2", "Inf", "+Inf", "NaN", "x", "", "-1", "1.0", "0x2")
NOISE = (*'{}",=\\ #\n\t\r_:.é0a-+', "\xff", "\0", "# TYPE ", "# HELP ", '{"', "\\n", "  ")
JOBS = ("j", "k", "a b", "é", "x/y", "..", "%", "j+1")
GROUP_LABELS = ("instance", "x", "Z", "y", "aa")
ODD_PATHS = (
    "/metrics/job",
    "/metrics/job/",
    "/metrics/job/j/",
    "/metrics/job/j/x",
    "/metrics/job/j/x/",
    "/metrics/job//x/1",
    "/metrics/job/j//x/1",
    "/metrics/job/%20",
    "/metrics/job/j?x=1",
    "/metrics/job/j/__x/1",
    "/metrics/job/j/1x/1",
    "/metrics/job/j/x-y/1",
    "/metrics/job/j/x.y/1",
    "/metrics/job/j/U__x_2e_y/1",
    "/metrics/job/j/U__/1",
    "/metrics/job/j/x/1/x/2",
    "/metrics/job/j/job/k",
    "/metrics/job/j/../k",
    "/metrics/job/j/x/%2F",
    "/metrics/job/j%2Fx%2F1",
    "/metrics/job/j/x/%0A",
    "/metrics/job/j/x/%00",
    "/metrics/Job/j",
    "/metrics/job@base64/%3D",
    "/metrics/job@base64/Z",
    "/metrics/job@base64/Zm9v",
    "/metrics/job/j/@base64/YQ",
    "/metrics/job/j/x@base64/",
    "/metrics/job/j/x@base64/a+b",
    "/metrics/job/j/x@base64/YQ==",
    "/metrics/job/j/x@base64/YWF",
    "/metrics/job/j/x@base64@base64/YQ",
    "//metrics/job/j",
    "/Metrics/job/j",
)


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def is_protobuf(self) -> bool:
        return self.headers.get("Content-Type") == PROTOBUF


class Generator:
    """Makes one case, a list of requests, from one seed."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.targets = [self.target() for _ in range(self.random.choice((1, 2, 3)))]
        self.oddness = self.random.choice((0.0, 0.02, 0.1, 0.4))

    def odd(self) -> bool:
        return self.random.random() < self.oddness

    def pick(self, ordinary, odd):
        return self.random.choice(odd if self.odd() else ordinary)

    def case(self) -> list[Request]:
        return [self.request() for _ in range(self.random.randint(1, 6))]

    def request(self) -> Request:
        target = self.random.choice(ODD_PATHS if self.odd() else self.targets)
        method = self.random.choices(("PUT", "POST", "DELETE"), (5, 5, 1))[0]
        if method == "DELETE":
            return Request(method, target)
        if self.random.random() < 0.35:
            request = Request(method, target, self.protobuf(), {"Content-Type": PROTOBUF})
        else:
            kind = self.random.choice(TEXT_TYPES)
            headers = {"Content-Type": kind} if kind else {}
            request = Request(method, target, self.text(), headers)
        return self.compressed(request) if self.random.random() < 0.08 else request

    def compressed(self, request: Request) -> Request:
        body = gzip.compress(request.body, mtime=0)
        if self.odd():
            body = self.damaged(body)
        headers = request.headers | {"Content-Encoding": "gzip"}
        return Request(request.method, request.target, body, headers)

    def target(self) -> str:
        parts = ["/metrics", *self.path_pair("job", self.random.choice(JOBS))]
        for name in self.random.sample(GROUP_LABELS, self.random.choice((0, 0, 1, 1, 2))):
            parts += self.path_pair(name, self.random.choice(VALUES))
        return "/".join(parts)

    def path_pair(self, name: str, value: str) -> tuple[str, str]:
        if not value or "/" in value or self.random.random() < 0.2:
            encoded = base64.urlsafe_b64encode(value.encode()).decode().rstrip("=")
            return f"{name}@base64", encoded or "="
        return name, "%2e%2e" if value == ".." else quote(value, safe="")

    # Text

    def text(self) -> bytes:
        if self.odd() and self.odd():
            return "".join(self.random.choices(NOISE + NAMES + NUMBERS, k=12)).encode()
        families = self.random.randint(0, 4)
        text = "".join(self.text_family() for _ in range(families))
        body = text.encode("utf-8")
        for _ in range(self.random.randint(1, 3) if self.odd() else 0):
            body = self.damaged(body)
        return body

    def text_family(self) -> str:
        name = self.pick(NAMES, ODD_NAMES)
        kind = self.pick(TEXT_KINDS, ODD_TEXT_KINDS)
        lines = []
        if self.random.random() < 0.4:
            help_text = self.pick(("", "text", "two  words ", "e\\\\s\\n", '\\"'), ("\\x", "e\\"))
            lines.append(f"# HELP {self.written(name)} {help_text}")
        if kind:
            lines.append(f"# TYPE {self.written(name)} {kind}")
        for _ in range(self.random.randint(0, 3)):
            lines += self.text_metric(name, kind.lower())
        if self.odd():
            self.random.shuffle(lines)
        return "".join(line + "\n" for line in lines)

    def text_metric(self, name: str, kind: str) -> list[str]:
        labels = self.labels()
        if kind == "summary":
            samples = [(name, [*labels, ("quantile", self.pick(("0.5", "0.99"), BOUNDS))])]
            samples += [(name + "_sum", labels), (name + "_count", labels)]
        elif "histogram" in kind:
            samples = [
                (name + "_bucket", [*labels, ("le", bound)])
                for bound in self.random.sample(BOUNDS[:6], 2)
            ]
            samples += [(name + "_sum", labels), (name + "_count", labels)]
        else:
            samples = [(name, labels)]
        if self.odd():
            samples.pop(self.random.randrange(len(samples)))
        return [self.text_sample(*sample) for sample in samples]

    def text_sample(self, name: str, labels: list[tuple[str, str]]) -> str:
        blank = self.pick(("", " ") if self.odd() else ("",), (" ", "\t"))
        pairs = [f'{self.written(label)}{blank}="{escaped(value)}"' for label, value in labels]
        if self.odd():
            pairs.append("")
        if self.odd():
            start = "{" + ",".join(['"' + escaped(name) + '"', *pairs]) + "}"
        else:
            start = self.written(name) + ("{" + f",{blank}".join(pairs) + "}" if pairs else "")
        value = self.pick(NUMBERS, ODD_NUMBERS)
        end = self.pick(("",), (" ", " 1", " 1700000000000", " # x", "\r", " 1.5", '# {x="1"} 1'))
        return f"{start} {value}{end}"

    def written(self, name: str) -> str:
        return f'"{escaped(name)}"' if self.odd() else name

    def labels(self) -> list[tuple[str, str]]:
        names = [self.pick(LABELS, ODD_LABELS) for _ in range(self.random.choice((0, 0, 1, 2, 3)))]
        if not self.odd():
            names = list(dict.fromkeys(names))
        return [(name, self.random.choice(VALUES)) for name in names]

    # Protobuf

    def protobuf(self) -> bytes:
        body = delimited(*(self.family() for _ in range(self.random.randint(0, 4))))
        for _ in range(self.random.randint(1, 2) if self.odd() else 0):
            body = self.damaged(body)
        return body

    def family(self):
        family = schema.MetricFamily(name=self.pick(NAMES, ODD_NAMES).encode())
        if self.random.random() < 0.4:
            family.help = self.random.choice(("", "text", 'a\\b\n"c"')).encode()
        kind = self.random.randrange(6)
        if self.random.random() < 0.9:
            family.type = kind
        if self.odd():
            family.unit = b"bytes"
        for _ in range(self.random.randint(0, 3)):
            self.fill(family.metric.add(), kind if not self.odd() else self.random.randrange(6))
        return family

    def fill(self, metric, kind: int) -> None:
        for name, value in self.labels():
            metric.label.add(name=name.encode(), value=value.encode())
        if self.odd() and metric.label:
            self.random.choice(metric.label).value = b"\xff"
        if self.odd():
            metric.timestamp_ms = self.random.choice((0, 1700000000000))
        self.fill_value(metric, schema.TYPES[kind])
        if self.odd():
            self.fill_value(metric, self.random.choice(schema.TYPES))

    def fill_value(self, metric, kind: str) -> None:
        match kind:
            case "counter" | "gauge" | "untyped":
                message = getattr(metric, kind)
                message.SetInParent()
                if not self.odd():
                    message.value = self.float()
                if kind == "counter" and self.odd():
                    self.exemplar(message.exemplar)
                    message.created_timestamp.seconds = 1_700_000_000
            case "summary":
                metric.summary.sample_count = self.count()
                metric.summary.sample_sum = self.float()
                for _ in range(self.random.randint(0, 2)):
                    metric.summary.quantile.add(quantile=self.float(), value=self.float())
            case _:
                self.fill_histogram(metric.histogram)

    def fill_histogram(self, histogram) -> None:
        histogram.SetInParent()
        if self.random.random() < 0.9:
            histogram.sample_count = self.count()
            histogram.sample_sum = self.float()
        for _ in range(self.random.randint(0, 3)):
            bucket = histogram.bucket.add(cumulative_count=self.count(), upper_bound=self.float())
            if self.odd():
                self.exemplar(bucket.exemplar)
            if self.odd():
                bucket.cumulative_count_float = self.float()
        if self.odd():
            histogram.sample_count_float = self.float()
        if self.random.random() < 0.2:
            histogram.schema = self.random.randint(-4, 8)
            histogram.zero_threshold = 1e-128
            histogram.zero_count = self.random.choice((0, 1, 3, 1_000_000))
            histogram.positive_span.add(offset=self.random.randint(-2, 3), length=2)
            histogram.positive_delta.extend((1, self.random.randint(-1, 3)))
            if not self.odd():
                inside = 2 * histogram.positive_delta[0] + histogram.positive_delta[1]
                histogram.sample_count = histogram.zero_count + inside

    def exemplar(self, exemplar) -> None:
        exemplar.value = self.float()
        exemplar.label.add(name=b"trace_id", value=self.random.choice(VALUES).encode())

    def float(self) -> float:
        number = self.random.choice(NUMBERS) if self.random.random() < 0.8 else "1e300"
        return float(number)

    def count(self) -> int:
        return self.random.choice((0, 1, 3, 1_000_000, 2**53 + 1, 2**64 - 1))

    def damaged(self, body: bytes) -> bytes:
        """*body* with one place cut, doubled, changed or grown."""
        start = self.random.randint(0, len(body))
        end = min(len(body), start + self.random.choice((0, 1, 1, 2, 5, 20)))
        match self.random.randrange(5):
            case 0:
                return body[:start]
            case 1:
                return body[:start] + body[end:]
            case 2:
                return body[:end] + body[start:]
            case 3:
                return body[:start] + self.random.randbytes(end - start) + body[end:]
            case _:
                noise = self.random.choice(NOISE).encode("latin-1", "replace")
                return body[:start] + noise + body[start:]


def escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
