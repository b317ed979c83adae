"""What both peers share: cases come as JSON lines on standard input, and each is answered with a line."""

import json
import sys
import time


def tokens(row, length, vocabulary):
    """Tokens without meaning, other ones in each row; those of the worker's own benchmark."""
    return [(row * 7919 + place * 104729 + 11) % vocabulary for place in range(length)]


def serve(load):
    start = time.perf_counter()
    run = load(sys.argv[1], int(sys.argv[2]))
    print(json.dumps({"ready": time.perf_counter() - start}), flush=True)
    for line in sys.stdin:
        count, work = run(json.loads(line))
        start = time.perf_counter()
        work()
        print(json.dumps({"tokens": count, "seconds": time.perf_counter() - start}), flush=True)
