"""The search page in the browser: `python -m lib search [--corpus openmoji] [--port 8866] [--no-browser]`.

The first start learns a joint space (about half a minute, without a network) and keeps it in data/cache/search. The
page is for this machine; with `--host 0.0.0.0` all in the room can open it under this machine's address.
"""

import argparse
import sys
import webbrowser

from lib.data import CORPORA, load
from lib.search.engine import Engine
from lib.search.server import make_server


def main(arguments: list[str] | None = None) -> int:
    """Prepare the collection and serve the page until Control-C; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lib search", description=__doc__.partition(":")[0] + ".")
    parser.add_argument("--corpus", default="openmoji", choices=sorted(CORPORA), help="as lib.data.load knows it")
    parser.add_argument("--root", help="folder of the corpus, for example of your own pictures with --corpus folder")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0: the whole room can search")
    parser.add_argument("--port", type=int, default=8866, help="0 takes a free one")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    options = parser.parse_args(arguments)

    try:
        corpus = load(options.corpus, options.root)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    engine = Engine.of(corpus, say=lambda text: print(text, flush=True))
    engine.encode(["warm up"])  # reads the sentence encoder now, not for the first visitor
    with make_server(engine, options.host, options.port) as server:
        address = f"http://{options.host}:{server.server_port}"
        print(f"the search page: {address}   (Control-C ends it)", flush=True)
        if not options.no_browser:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("ended")
    return 0


if __name__ == "__main__":
    sys.exit(main())
