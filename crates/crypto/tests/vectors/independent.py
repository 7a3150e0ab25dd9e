"""Computes the pinned vectors with another implementation (Python's `cryptography`, which is OpenSSL's).

Run by hand: `pip install cryptography && python independent.py` writes the JSON files beside it. The Rust tests
read the files and never this program, so a vector changes only when somebody means it to.
"""

import hashlib
import hmac
import json
import pathlib
import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

HERE = pathlib.Path(__file__).parent


def parts(label, *rest):
    return b"".join(struct.pack(">I", len(part)) + part for part in (label.encode(), *rest))


def seal(key, epoch, nonce, aad, plain):
    return bytes([1]) + struct.pack(">I", epoch) + nonce + AESGCMSIV(key).encrypt(nonce, plain, aad)


def expand(key, context):
    return HKDFExpand(algorithm=hashes.SHA256(), length=32, info=context).derive(key)


def write(name, cases):
    text = json.dumps(cases, indent=2, default=lambda value: value.hex())
    (HERE / name).write_text(text + "\n")


def place(tenant, record_type, field):
    return [tenant, struct.pack(">H", record_type), bytes([field])]


TENANT = bytes.fromhex("0198f0a2b6c87d4e8f1a2b3c4d5e6f70")
OTHER = bytes.fromhex("0198f0a2b6c87d4e8f1a2b3c4d5e6f71")
RECORD = bytes.fromhex("0198f0a2c0007000800000000000002a")
KEY = bytes(range(32))
NONCE = bytes(range(0xA0, 0xAC))

cells = []
for tenant, record_type, field, epoch, plain in [
    (TENANT, 0, 0, 1, b""),
    (TENANT, 3, 7, 1, b"472.38"),
    (OTHER, 0x1234, 255, 0xFFFFFFFF, "Luís Gonçalves".encode()),
    (TENANT, 3, 7, 2, bytes(range(100))),
]:
    aad = parts("cell.1", *place(tenant, record_type, field), RECORD)
    cells.append({
        "key": KEY, "epoch": epoch, "tenant": tenant, "type": record_type, "field": field, "record": RECORD,
        "nonce": NONCE, "plain": plain, "aad": aad, "sealed": seal(KEY, epoch, NONCE, aad, plain),
    })
write("cell.json", cells)

write("tag.json", [
    {"key": KEY, "value": value, "tag": hmac.new(KEY, value, hashlib.sha256).digest()[:16]}
    for value in (b"", b"ALFKI", "Gonçalves".encode(), bytes(200))
])

derivations = []
for tenant, record_type, field, epoch in [(TENANT, 0, 0, 1), (TENANT, 3, 7, 1), (OTHER, 0x1234, 255, 0xFFFFFFFF)]:
    context = [*place(tenant, record_type, field), struct.pack(">I", epoch)]
    cell, tag = expand(KEY, parts("cell-key.1", *context)), expand(KEY, parts("tag-key.1", *context))
    aad = parts("vector.1")
    derivations.append({
        "tenant_key": KEY, "tenant": tenant, "type": record_type, "field": field, "epoch": epoch,
        "cell_key": cell, "tag_key": tag,
        "sealed_by_cell_key": seal(cell, epoch, NONCE, aad, b"value"),
        "tag_of_value": hmac.new(tag, b"value", hashlib.sha256).digest()[:16],
    })
labels = []
for label, epoch in [("audit", 1), ("cursor", 1), ("audit", 2)]:
    key = expand(KEY, parts("seal-key.1", label.encode(), struct.pack(">I", epoch)))
    labels.append({
        "tenant_key": KEY, "label": label, "epoch": epoch, "seal_key": key,
        "sealed_by_seal_key": seal(key, epoch, NONCE, parts("vector.1"), b"value"),
    })
write("derivation.json", {"nonce": NONCE, "fields": derivations, "labels": labels})

wrapping = expand(KEY, parts("wrap-key.1"))
aad = parts("tenant-key.1", TENANT)
wrapped = bytes(range(0x80, 0xA0))
write("wrapped-key.json", [{
    "key_encryption_key": KEY, "wrapping_key": wrapping, "tenant": TENANT, "aad": aad, "nonce": NONCE,
    "key": wrapped, "wrapped": seal(wrapping, 0, NONCE, aad, wrapped),
}])
