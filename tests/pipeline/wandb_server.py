"""As much of a W&B server as a run needs, in good health or ill."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

from pipelines.tracking import PROJECT


class Server(ThreadingHTTPServer):
    """
    Attributes:
        health: "good"; "no stream", which shakes hands and never takes a history; or "empty", which answers ``{}``.
        heard: the bodies of all requests.
        histories: the values that it has taken, in order, by the run's id.
        views: the workspaces and reports that it has saved, by their ids.
    """

    def __init__(self, health: str):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.health, self.heard, self.histories, self.views, self.over = health, [], {}, {}, Event()

    @property
    def environment(self) -> dict[str, str | None]:
        """What a user would set to send runs here."""
        return {"WANDB_MODE": None, "WANDB_BASE_URL": self.address, "WANDB_API_KEY": "0123456789" * 4}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(health: str) -> Iterator[Server]:
    with Server(health) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(errors="replace")
        self.server.heard.append(body)
        if self.server.health == "empty":
            self._answer({})
        elif self.path.endswith("/file_stream"):
            self._take(json.loads(body), self.path.split("/")[-2])
        elif self.path == "/graphql":
            asked = json.loads(body)
            self._answer({"data": self._data(asked["query"], asked.get("variables") or {})})
        else:
            self._answer({})

    do_PUT = do_POST

    def do_GET(self) -> None:
        self._answer({})

    def _take(self, sent: dict, run: str) -> None:
        if self.server.health == "no stream":
            self.server.over.wait()
        lines = sent.get("files", {}).get("wandb-history.jsonl", {}).get("content", [])
        self.server.histories.setdefault(run, []).extend(map(json.loads, lines))
        self._answer({})

    def _data(self, query: str, given: dict) -> dict:
        if "UpsertBucket" in query:
            project = {"id": "p", "name": given.get("project"), "entity": {"id": "e", "name": "somebody"}}
            bucket = {
                "id": given.get("name"),
                "name": given.get("name"),
                "displayName": given.get("displayName"),
                "config": given.get("config") or "{}",
                "historyLineCount": 0,
                "project": project,
            }
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if "CreateRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.server.address}/upload"} for name in given["files"]]
            return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}
        if "viewer {" in query:
            return {"viewer": {"id": "u", "entity": "somebody", "username": "somebody", "flags": "{}"}}
        if "query GetProjects" in query:
            project = {"id": "p", "name": PROJECT, "entityName": "somebody", "createdAt": "", "isBenchmark": False}
            project["user"] = None
            page = {"hasNextPage": False, "endCursor": "c"}
            return {"models": {"edges": [{"node": project, "cursor": "c"}], "pageInfo": page}}
        if "upsertView" in query:
            number = given.get("id") or base64.b64encode(f"view:{len(self.server.views)}".encode()).decode()
            inserted = number not in self.server.views
            self.server.views[number] = given
            view = {"id": number, "name": given["name"], "spec": given["spec"], "displayName": given["displayName"]}
            return {"upsertView": {"view": view, "inserted": inserted}}
        if "ServerFeatures" in query:
            return {"serverInfo": {"features": []}}
        return {}

    def _answer(self, value: dict) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_) -> None:
        pass
