"A web server with every bad habit: each path is another one."
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DATA = bytes(range(256))*2000


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *words): pass

    def answer(self, body, status=200, length=None, etag='"1"', **headers):
        self.server.answers.append((self.path, self.headers.get("Range"), status, len(body)))
        self.send_response(status)
        if etag: self.send_header("ETag", etag)
        if length != 0: self.send_header("Content-Length", str(length or len(body)))
        for name, value in headers.items(): self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        habit, count = self.path[1:], sum(a[0] == self.path for a in self.server.answers)
        asked = self.headers.get("Range")
        start = int(asked[6:-1]) if asked else 0
        rest, ranged = DATA[start:], dict(status=206, Content_Range=f"bytes {start}-{len(DATA) - 1}/{len(DATA)}") if asked else {}
        if habit == "drops": self.answer(rest if count >= 3 else rest[:len(DATA)//5], length=len(rest), **ranged)
        elif habit == "no_ranges": self.answer(DATA if count else DATA[:1000], length=len(DATA))
        elif habit == "changed":                  # another version after the first answer; If-Range no longer holds
            if count: self.answer(DATA[::-1], etag='"2"')
            else: self.answer(DATA[:1000], length=len(DATA))
        elif habit == "busy": self.answer(DATA) if count >= 2 else self.answer(b"busy", 503)
        elif habit == "stalls":
            if not count: self.answer(DATA[:1000], length=len(DATA)); self.wfile.flush(); time.sleep(1)
            else: self.answer(rest, **ranged)
        elif habit == "html": self.answer(b"<html>please log in</html>")
        elif habit == "no_length": self.answer(DATA, length=0, etag=None)
        elif habit == "wrong_range": self.answer(DATA[:100], 206, Content_Range=f"bytes 0-99/{len(DATA)}") if asked else self.answer(DATA[:1000], length=len(DATA))
        elif habit == "wrong_bytes": self.answer(DATA[:-1] + b"x")
        elif habit == "zenodo/api/records/1": self.answer(b'{"status": 404, "message": "gone"}')
        else: self.answer(b"", 404)


@contextmanager
def bad_server():
    "Yields (address, list of answers given)."
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answers, server.daemon_threads = [], True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try: yield f"http://127.0.0.1:{server.server_port}", server.answers
    finally: server.shutdown()
