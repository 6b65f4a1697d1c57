"""The search page in the browser: `python -m lib search [--corpus openmoji] [--port 8866] [--no-browser]`.

The first start learns a joint space (about half a minute, without a network) and keeps it in data/cache/search. The
page is for this machine; with `--host 0.0.0.0` all in the room can open it under this machine's address.
"""

import argparse
import sys
import webbrowser

from lib.data import CORPORA, load
from lib.search.answers import answer
from lib.search.engine import Engine
from lib.search.server import EVERYWHERE, EXAMPLES, Server, known_hosts, listen

PREFERRED = 8192  # open files, where the system allows so many: each visitor holds up to six


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
        sockets = listen(options.host, options.port)  # before the preparation, which may take minutes
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        print(f"cannot listen at {options.host}, port {options.port}: {reason}; try --port 0", file=sys.stderr)
        return 1
    try:
        _allow_many_files()
        engine = Engine.of(load(options.corpus, options.root), say=lambda text: print(text, flush=True))
        for example in EXAMPLES:  # reads the sentence encoder now, not for the first visitor
            answer(engine, example, 18)
        hosts = known_hosts(options.host)
        server = Server(engine, sockets, hosts)
        here = "localhost" if options.host in EVERYWHERE else options.host
        address = f"http://{f'[{here}]' if ':' in here else here}:{server.port}"
        print(f"the search page: {address}   (Control-C ends it)", flush=True)
        if options.host in EVERYWHERE:
            print(f"for the room, port {server.port} at: {', '.join(sorted(hosts))}", flush=True)
        if not options.no_browser:
            webbrowser.open(address)
        server.serve_forever()
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ended")
    finally:
        for one in sockets:
            one.close()
    return 0


def _allow_many_files() -> None:
    """Raise the number of open files to what a class needs; Windows has no such limit."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = PREFERRED if hard == resource.RLIM_INFINITY else min(PREFERRED, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main())
