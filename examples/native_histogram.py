"""Push a histogram with classic and native buckets: python native_histogram.py [GATEWAY]."""

import sys

from pushgate import Histogram, PushGateway, Unit

sizes = Histogram(
    "file_sizes", "Sizes of the files.", unit=Unit.BYTES, buckets=[256, 512, 1024, 2048]
)
for size in (513, 814, 1553):
    sizes.observe(size, exemplar={"trace_id": "4bf92f3577b34da6"})
PushGateway(sys.argv[1] if len(sys.argv) > 1 else "localhost:9091", job="files").push()
