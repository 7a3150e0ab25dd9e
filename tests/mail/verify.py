"""Verifies a signed webhook message by the Standard Webhooks specification, with Python's standard library alone.

Reads {"secret", "id", "timestamp", "signature", "body"} from standard input; ends with 0 if the signature is good.
"""

import base64
import hashlib
import hmac
import json
import sys

said = json.load(sys.stdin)
key = base64.b64decode(said["secret"].removeprefix("whsec_"))
signed = f"{said['id']}.{said['timestamp']}.{said['body']}".encode()
expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
sys.exit(0 if any(hmac.compare_digest(expected, one) for one in said["signature"].split(" ")) else 1)
