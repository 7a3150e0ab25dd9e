"""An SMTP server on loopback, for a test that starts this and stops it by its id.

Reads one line of JSON from its standard input: {"key", "cert"} in PEM, "tls" ("starttls", "implicit" or "none"), "user"
and "password" (or null). Writes {"port"} to its standard output when it listens, and then each message that it takes as
one line {"from", "to", "tls", "user", "content"}. Ends when its standard input does.
"""

import asyncio
import json
import os
import ssl
import sys
import tempfile

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

said = json.loads(sys.stdin.readline())


def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("cert", "key")]
        for path, name in zip(paths, ("cert", "key")):
            with open(path, "w", encoding="ascii") as file:
                file.write(said[name])
        made.load_cert_chain(*paths)
    return made


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 no such mailbox"
        if address.startswith("busy@"):
            return "451 later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        user = session.auth_data.login.decode() if session.auth_data else None
        message = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None or said["tls"] == "implicit",
            "user": user,
            "content": envelope.content.decode("utf-8", "replace"),
        }
        print(json.dumps(message), flush=True)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, auth_data):
    if not isinstance(auth_data, LoginPassword):
        return AuthResult(success=False)
    good = auth_data.login.decode() == said["user"] and auth_data.password.decode() == said["password"]
    return AuthResult(success=good, auth_data=auth_data if good else None)


async def main():
    tls = context() if said["tls"] != "none" else None
    asks = said["user"] is not None

    def protocol():
        return SMTP(
            Handler(),
            hostname="localhost",
            tls_context=tls if said["tls"] == "starttls" else None,
            require_starttls=said["tls"] == "starttls",
            authenticator=authenticate if asks else None,
            auth_required=asks,
            auth_require_tls=said["tls"] == "starttls",
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        protocol, "127.0.0.1", said.get("port", 0), ssl=tls if said["tls"] == "implicit" else None
    )
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


asyncio.run(main())
