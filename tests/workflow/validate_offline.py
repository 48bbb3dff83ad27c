"""Runs the public RO-Crate validator without network, in the validator's own environment.

It looks up the words of a crate at the addresses that the crate names. What stands there is put into its
cache first, from a JSON file of documents by address.
"""

import json
import sys
from io import BytesIO
from pathlib import Path

from requests.adapters import HTTPAdapter
from requests_cache import CachedSession
from rocrate_validator.cli.main import cli
from urllib3 import HTTPResponse


class Documents(HTTPAdapter):
    def __init__(self, documents):
        super().__init__()
        self.documents = documents

    def send(self, request, **_):
        body = BytesIO(json.dumps(self.documents[request.url]).encode())
        kind = {"Content-Type": "application/ld+json"}
        raw = HTTPResponse(body, kind, status=200, preload_content=False, request_url=request.url)
        return self.build_response(request, raw)


def fill(cache, documents):
    session = CachedSession(cache, backend="sqlite", expire_after=-1)
    session.mount("https://", Documents(documents))
    for address in documents:
        session.get(address)
    session.close()


if __name__ == "__main__":
    cache, contexts, *arguments = sys.argv[1:]
    fill(cache, json.loads(Path(contexts).read_text()))
    cli(["--no-interactive", "validate", "--offline", "--cache-path", cache, *arguments])
