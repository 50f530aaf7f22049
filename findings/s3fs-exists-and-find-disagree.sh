#!/usr/bin/env bash
# s3fs 2026.9.0 (fsspec 2026.9.0, moto 5.2.5 as the server): after a listing, an object that find() shows cannot be read.
#
# Guess: a file system that keeps listings answers all questions about a folder from what it has kept, or none.
# What happens: one client lists a folder, another writes an object into it. To the first, exists() and ls() say that the
# object is not there, and cat_file(), which names it, raises FileNotFoundError; find() shows it.
# Why it matters: a program that waits on an object store for the file that completes something (a manifest, a marker) by
# exists() waits for ever, in the very process that has listed the folder before; use_listings_cache=False is needed.
# Seen: 2026-11-28
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-0}" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 's3fs==2026.9.0' 'fsspec==2026.9.0' 'moto[server]==5.2.5'
port=$("$folder/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$folder/venv/bin/python" -m moto.server -H 127.0.0.1 -p "$port" >"$folder/server.txt" 2>&1 &
server=$!
cat > "$folder/try.py" <<'PY'
import sys
import time
from importlib.metadata import version

import s3fs

options = {
    "key": "k", "secret": "s", "endpoint_url": f"http://127.0.0.1:{sys.argv[1]}", "skip_instance_cache": True,
}
for _ in range(60):
    try:
        writer = s3fs.S3FileSystem(**options)
        writer.mkdir("bucket")
        break
    except Exception:
        time.sleep(0.5)
writer.pipe_file("bucket/run/part", b"1")
reader = s3fs.S3FileSystem(**options)
reader.ls("bucket/run")
writer.pipe_file("bucket/run/manifest", b"2")


def read():
    try:
        return reader.cat_file("bucket/run/manifest")
    except FileNotFoundError:
        return "FileNotFoundError"


seen = {
    "exists": reader.exists("bucket/run/manifest"),
    "ls": "bucket/run/manifest" in reader.ls("bucket/run", detail=False),
    "cat_file": read(),
    "find": "bucket/run/manifest" in reader.find("bucket/run"),
}
fresh = s3fs.S3FileSystem(**options, use_listings_cache=False)
fresh.ls("bucket/run")
print("s3fs", version("s3fs"), seen, "without the cache:", fresh.exists("bucket/run/manifest"))
assert seen == {"exists": False, "ls": False, "cat_file": "FileNotFoundError", "find": True}, seen
assert fresh.exists("bucket/run/manifest")
PY
AWS_DEFAULT_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true "$folder/venv/bin/python" "$folder/try.py" "$port"
