// The prom-client of the interop tests; .ci/peers installs it into .peers/node.
//
//     node push.cjs METHOD URL JOB GROUPINGS ENCODING
//
// METHOD is push, pushAdd or delete; GROUPINGS is a JSON object; ENCODING is gzip or identity.
"use strict";

const client = require("prom-client");

const [method, url, jobName, groupings, encoding] = process.argv.slice(2);

const registry = new client.Registry();
const rows = new client.Counter({
  name: "node_rows_total", help: "Rows.", labelNames: ["table"], registers: [registry],
});
rows.inc({ table: 'a"b\\c\nd' }, 42);
const seconds = new client.Histogram({
  name: "node_seconds", help: "Seconds.", buckets: [1, 10], registers: [registry],
});
[0.5, 2, 20].forEach((value) => seconds.observe(value));

const headers = encoding === "gzip" ? { "Content-Encoding": "gzip" } : {};
const gateway = new client.Pushgateway(url, { timeout: 10000, headers }, registry);
gateway[method]({ jobName, groupings: JSON.parse(groupings) })
  .then(({ resp }) => console.log(resp.statusCode))
  .catch((error) => { console.error(error); process.exitCode = 1; });
