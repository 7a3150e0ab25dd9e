"""Checks exported events by the published OCSF schema: `validate.py EVENTS`."""

import json
import sys
from collections import Counter

from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

CLASSES = {
    3002: "authentication",
    3003: "authorize_session",
    6003: "api_activity",
    6005: "datastore_activity",
}

schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(version="1.5.0"))
validators = {uid: Draft202012Validator(schema.get_class_schema(name)) for uid, name in CLASSES.items()}
counts, wrong = Counter(), 0
with open(sys.argv[1], encoding="utf-8") as events:
    for line in events:
        event = json.loads(line)
        uid = event["class_uid"]
        counts[CLASSES[uid]] += 1
        for error in validators[uid].iter_errors(event):
            wrong += 1
            print(event["metadata"]["uid"], list(error.path), error.message[:200])
for name in CLASSES.values():
    print(f"{counts[name]:6} {name}")
    if not counts[name]:
        print("none of this class was exported")
        wrong += 1
sys.exit(1 if wrong else 0)
