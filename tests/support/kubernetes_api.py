"""As much of Kubernetes' API as kubectl needs for Jobs: they are checked against the published schema and kept.

Each has one pod, and nothing ever runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate

VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]
RESOURCES = {
    "/api/v1": {"pods": "Pod", "pods/log": "Pod"},
    "/apis/batch/v1": {"jobs": "Job"},
}
FIELD_VALIDATION = {
    "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}],
    "x-kubernetes-group-version-kind": {"group": "batch", "version": "v1", "kind": "Job"},
    "responses": {},
}
"""Tells kubectl to leave the check of a Job to the server."""
DISCOVERY = {
    "/openapi/v3": {"paths": {"apis/batch/v1": {"serverRelativeURL": "/openapi/v3/apis/batch/v1"}}},
    "/openapi/v3/apis/batch/v1": {
        "openapi": "3.0.0",
        "info": {"title": "Jobs", "version": "1"},
        "paths": {"/apis/batch/v1/namespaces/{namespace}/jobs/{name}": {"patch": FIELD_VALIDATION}},
    },
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [
            {
                "name": "batch",
                "versions": [{"groupVersion": "batch/v1", "version": "v1"}],
                "preferredVersion": {"groupVersion": "batch/v1", "version": "v1"},
            }
        ],
    },
}


class Api(ThreadingHTTPServer):
    """The API server, with the Jobs that it was given by name; ``requests`` are those that changed something."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.jobs: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str, Any]] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def pods(self) -> list[dict[str, Any]]:
        """A pod of each Job."""
        return [
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"{name}-x",
                    "labels": {**_labels(job), "job-name": name},
                },
                "spec": job["spec"]["template"]["spec"],
                "status": {"phase": job["status"].get("phase", "Pending")},
            }
            for name, job in self.jobs.items()
        ]


def _labels(made: dict[str, Any]) -> dict[str, str]:
    labels: dict[str, str] = made["metadata"].get("labels", {})
    return labels


class _Handler(BaseHTTPRequestHandler):
    server: Api

    def log_message(self, format: str, *args: Any) -> None:
        """Be silent."""

    def answer(self, body: Any, status: int = 200) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, code: int, reason: str, message: str = "") -> None:
        failure = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
        self.answer({**failure, "reason": reason, "code": code, "message": message}, code)

    def body(self) -> Any:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return json.loads(data) if data else None

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        path, name = address.path, address.path.rpartition("/")[2]
        if path in DISCOVERY:
            self.answer(DISCOVERY[path])
        elif path in RESOURCES:
            found = RESOURCES[path].items()
            resources = [{"name": n, "kind": kind, "namespaced": True, "verbs": VERBS} for n, kind in found]
            version = path.removeprefix("/apis/").removeprefix("/api/")
            self.answer({"kind": "APIResourceList", "groupVersion": version, "resources": resources})
        elif name == "log":
            self.answer("what the pod printed\n")
        elif name in ("jobs", "pods"):
            selector = parse_qs(address.query).get("labelSelector", [""])[0]
            wanted = set(filter(None, selector.split(",")))
            everything = self.server.pods() if name == "pods" else list(self.server.jobs.values())
            items = [it for it in everything if wanted <= {f"{key}={value}" for key, value in _labels(it).items()}]
            version = "v1" if name == "pods" else "batch/v1"
            self.answer({"kind": f"{name[:-1].title()}List", "apiVersion": version, "metadata": {}, "items": items})
        elif name in self.server.jobs:
            self.answer(self.server.jobs[name])
        else:
            pod = next((pod for pod in self.server.pods() if pod["metadata"]["name"] == name), None)
            self.answer(pod) if pod else self.refuse(404, "NotFound")

    def do_POST(self) -> None:
        made, query = self.body(), parse_qs(urlsplit(self.path).query)
        name = made["metadata"]["name"]
        try:
            kubernetes_validate.validate(made, "1.32", strict=query.get("fieldValidation") == ["Strict"])
        except kubernetes_validate.ValidationError as error:
            self.refuse(400, "BadRequest", error.message)
            return
        if "dryRun" in query:
            self.answer(made, 201)
            return
        made["metadata"].update(namespace="default", uid=f"uid-{name}", resourceVersion="1")
        made["spec"]["selector"] = {"matchLabels": {"job-name": name}}  # as the server sets it
        self.server.jobs[name] = {**made, "status": {}}
        self.server.requests.append(("POST", name, made))
        self.answer(self.server.jobs[name], 201)

    def do_DELETE(self) -> None:
        name, options = urlsplit(self.path).path.rpartition("/")[2], self.body()
        if name not in self.server.jobs:
            self.refuse(404, "NotFound")
            return
        self.server.requests.append(("DELETE", name, options))
        self.answer(self.server.jobs.pop(name))


@contextmanager
def kubernetes_api() -> Iterator[Api]:
    """A server that runs meanwhile."""
    with Api() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
