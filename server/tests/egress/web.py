"""A web server that behaves as the file in its folder says: web.py FOLDER ADDRESS.

Port 8080 is plain; 8443 and above have the certificates FOLDER/8443.pem, FOLDER/8444.pem, ...
"""

import http.server
import pathlib
import ssl
import sys
import threading
import time

folder, address = pathlib.Path(sys.argv[1]), sys.argv[2]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        behaviour = (folder / "behaviour").read_text().strip()
        status = int(behaviour) if behaviour.isdigit() else 200
        body = b"something else" if behaviour == "body" else b"all is well"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if behaviour == "slow":
            self.wfile.write(body[:3])
            self.wfile.flush()
            time.sleep(20)
        self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass


def serve(port, certificate=None):
    server = Server((address, port), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        # The handshake is the connection's own thread's, not that of all who wait.
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    threading.Thread(target=server.serve_forever, daemon=True).start()


serve(8080)
for certificate in sorted(folder.glob("8*.pem")):
    serve(int(certificate.stem), certificate)
print("ready", flush=True)
# Ends when whoever started it does.
sys.stdin.read()
