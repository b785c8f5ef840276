"""A local stand-in of the HTTP API of the Hugging Face hub."""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_made_up"
NAME = "someone/a-model"


class Hub(BaseHTTPRequestHandler):
    """One repository of the hub: `server.commits` has the files of each, by name."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def reply(self, status, content=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def answer(self, values, status=200, **headers):
        self.reply(status, json.dumps(values).encode(), Content_Type="application/json", **headers)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self.answer({"error": "Invalid credentials"}, 401)
        path, commits = urlsplit(self.path).path, self.server.commits
        if path == "/api/repos/create":
            if commits:
                return self.answer({"error": "exists", "url": f"/{NAME}"}, 409)
            assert json.loads(body)["name"] == "a-model"
            commits.append({".gitattributes": b"", "old.bin": b"a pickle"})
            return self.answer({"url": f"{self.server.url}/{NAME}", "id": NAME})
        if path == "/api/validate-yaml":  # of the model card
            assert json.loads(body)["content"].startswith("---\n")
            return self.answer({"errors": [], "warnings": []})
        if path.startswith(f"/api/models/{NAME}/preupload/"):
            files = json.loads(body)["files"]
            modes = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in files
            ]
            return self.answer({"files": modes})
        if path.startswith(f"/api/models/{NAME}/commit/"):
            files = dict(commits[-1])
            for line in body.splitlines():
                part = json.loads(line)
                if part["key"] == "file":
                    value = part["value"]
                    files[value["path"]] = base64.b64decode(value["content"])
                elif part["key"] == "deletedFile":
                    del files[part["value"]["path"]]
            commits.append(files)
            url = f"{self.server.url}/{NAME}/commit/{sha(len(commits))}"
            return self.answer(
                {"commitUrl": url, "commitOid": sha(len(commits)), "pullRequestUrl": None}
            )
        return self.answer({"error": f"unknown {path}"}, 404)

    def do_GET(self):
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        commits = self.server.commits
        if parts[:4] == ["api", "models", *NAME.split("/")] and commits:
            number = number_of(parts[5] if len(parts) > 5 else "main", commits)
            if number is None:
                return self.answer(
                    {"error": "Revision Not Found"}, 404, X_Error_Code="RevisionNotFound"
                )
            files = commits[number - 1]
            if parts[4:5] == ["tree"]:
                tree = [
                    {"type": "file", "path": name, "size": len(data), "oid": digest(data)}
                    for name, data in files.items()
                ]
                return self.answer(tree)
            siblings = [{"rfilename": name} for name in files]
            return self.answer(
                {"id": NAME, "sha": sha(number), "private": False, "siblings": siblings}
            )
        if parts[:2] == NAME.split("/") and parts[2] == "resolve":
            number, name = number_of(parts[3], commits), "/".join(parts[4:])
            data = commits[number - 1][name]
            self.server.fetched.append(name)
            return self.reply(200, data, ETag=f'"{digest(data)}"', X_Repo_Commit=sha(number))
        return self.answer({"error": "Not Found"}, 404, X_Error_Code="RepoNotFound")

    do_HEAD = do_GET


def sha(number):
    return f"{number:040x}"


def number_of(revision, commits):
    known = {sha(number): number for number in range(1, len(commits) + 1)} | {"main": len(commits)}
    return known.get(revision)


def digest(data):
    return hashlib.sha1(data).hexdigest()


@contextmanager
def running_hub():
    """Serve an empty hub; `url` is its address, `commits` and `fetched` what happened to it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.commits, server.fetched = [], []
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
