"""A small stand-in for the two AWS services that moto does not have: HealthOmics batches and CloudTrail Lake.

It answers what the published servers send through botocore (REST-JSON for HealthOmics, JSON 1.1 for CloudTrail),
keeps its state in memory for the checks, and keeps every request, so that "once" is a count and not a belief.
"""

import itertools
import json
import re
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

ACCOUNT = "123456789012"
OMICS_ARN = f"arn:aws:omics:us-east-1:{ACCOUNT}"


class NotFound(Exception):
    """The request names something that the stand-in does not have."""


class Omics:
    """HealthOmics' batch API: batches of runs that can be listed, started, cancelled and deleted."""

    def __init__(self):
        self.batches, self.runs, self.requests = {}, {}, []
        self._ids = itertools.count(1000001)
        self._routes = [
            ("POST", r"/runBatch/cancel", self._cancel),
            ("POST", r"/runBatch/delete", self._delete_runs),
            ("POST", r"/runBatch", self._start),
            ("GET", r"/runBatch", lambda body: (200, {"items": list(self.batches.values())})),
            ("GET", r"/runBatch/(\d+)", self._show),
            ("GET", r"/runBatch/(\d+)/run", self._runs_in),
            ("DELETE", r"/runBatch/(\d+)", self._delete),
            ("GET", r"/run/(\d+)", lambda body, run: (200, self._known(self.runs, run))),
            ("GET", r"/run", lambda body: (200, {"items": list(self.runs.values())})),
        ]

    def add_batch(self, name="cohort", runs=2):
        """Starts a batch of running runs and returns its id."""
        batch = str(next(self._ids))
        self.batches[batch] = _omics_record("runBatch", batch, name, "PROCESSED") | {"totalRuns": runs}
        for number in range(runs):
            run = str(next(self._ids))
            self.runs[run] = _omics_record("run", run, f"{name}-{number}", "RUNNING") | {
                "batchId": batch, "runSettingId": f"s{number}", "workflowId": "2000001",
            }
        return batch

    def statuses(self, batch):
        """The set of states that the batch's runs are in."""
        return {run["status"] for run in self._of(batch)}

    def count(self, path, **fields):
        """How many requests reached this path with these body fields."""
        return sum(1 for seen in self.requests if seen["path"] == path and fields.items() <= seen["body"].items())

    def answer(self, method, path, body):
        """Status and JSON body for one request; raises NotFound."""
        self.requests.append({"method": method, "path": path, "body": body})
        for verb, pattern, handler in self._routes:
            if verb == method and (match := re.fullmatch(pattern, path)):
                return handler(body, *match.groups())
        raise NotFound(f"no such call: {method} {path}")

    def _of(self, batch):
        return [run for run in self.runs.values() if run["batchId"] == batch]

    def _known(self, kind, key):
        if key not in kind:
            raise NotFound(f"there is no {key}")
        return kind[key]

    def _cancel(self, body):
        self._known(self.batches, body["batchId"])
        for run in self._of(body["batchId"]):
            run["status"] = "CANCELLED"
        return 202, {}

    def _delete_runs(self, body):
        self._known(self.batches, body["batchId"])
        for run in self._of(body["batchId"]):
            del self.runs[run["id"]]
        return 202, {}

    def _start(self, body):
        settings = body["batchRunSettings"].get("inlineSettings", [{}])
        batch = self.add_batch(body.get("batchName", "batch"), len(settings))
        return 201, self.batches[batch]

    def _show(self, _body, batch):
        states = [run["status"] for run in self._of(batch)]
        summary = {"runningRunCount": states.count("RUNNING"), "cancelledRunCount": states.count("CANCELLED")}
        return 200, self._known(self.batches, batch) | {"runSummary": summary}

    def _runs_in(self, _body, batch):
        self._known(self.batches, batch)
        return 200, {"runs": [
            {"runId": run["id"], "runArn": run["arn"], "runSettingId": run["runSettingId"], "submissionStatus": "SUCCESS"}
            for run in self._of(batch)
        ]}

    def _delete(self, _body, batch):
        self._known(self.batches, batch)
        del self.batches[batch]
        return 202, {}


class CloudTrail:
    """CloudTrail: one event to find, and Lake queries, which AWS bills by what they scan."""

    EVENT = {"EventId": "e-1", "EventName": "DeleteBucket", "Username": "ann", "EventTime": 1790000000}

    def __init__(self):
        self.queries, self.requests = {}, []

    def count(self, sql):
        """How many queries with exactly this text were started."""
        return sum(1 for text in self.queries.values() if text == sql)

    def answer(self, operation, body):
        """Status and JSON body for one operation; raises NotFound."""
        self.requests.append({"operation": operation, "body": body})
        match operation:
            case "LookupEvents":
                return 200, {"Events": [self.EVENT]}
            case "ListEventDataStores":
                return 200, {"EventDataStores": []}
            case "StartQuery":
                query = str(uuid.UUID(int=len(self.queries) + 1))
                self.queries[query] = body["QueryStatement"]
                return 200, {"QueryId": query}
            case "DescribeQuery":
                return 200, {"QueryId": body["QueryId"], "QueryStatus": "FINISHED"}
            case "GetQueryResults":
                return 200, {"QueryStatus": "FINISHED", "QueryResultRows": [[{"n": "1"}]]}
        raise NotFound(f"no such call: {operation}")


class StandIn:
    """Both services on one loopback port; `url` is what AWS_ENDPOINT_URL_OMICS and _CLOUDTRAIL take."""

    def __init__(self):
        self.omics, self.cloudtrail = Omics(), CloudTrail()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def _handler(standin):
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self):
                raw = self.rfile.read(int(self.headers.get("content-length") or 0))
                body = json.loads(raw) if raw else {}
                target = self.headers.get("x-amz-target")
                try:
                    with lock:
                        if target:
                            status, answer = standin.cloudtrail.answer(target.rsplit(".", 1)[1], body)
                        else:
                            status, answer = standin.omics.answer(self.command, urlsplit(self.path).path, body)
                except NotFound as why:
                    status, answer = 404, {"message": str(why)}
                except KeyError as missing:
                    status, answer = 400, {"message": f"{missing} is missing"}
                self._send(status, answer)

            do_GET = do_POST = do_DELETE = _serve

            def _send(self, status, answer):
                data = json.dumps(answer).encode()
                self.send_response(status)
                if status >= 400:
                    self.send_header("x-amzn-errortype", "ResourceNotFoundException" if status == 404 else "ValidationException")
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                """Quiet: the requests are kept as data."""

        return Handler


def _omics_record(kind, key, name, status):
    return {
        "id": key, "arn": f"{OMICS_ARN}:{kind}/{key}", "uuid": str(uuid.UUID(int=int(key))),
        "name": name, "status": status, "creationTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "tags": {},
    }
