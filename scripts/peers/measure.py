"""Runs a command and prints its seconds, its processor seconds and its peak memory as JSON.

    python scripts/peers/measure.py COMMAND ...

A process of its own, because a child's peak memory begins with that of its parent.
"""
import json
import resource
import subprocess
import sys
import time


def main():
    start = time.perf_counter()
    status = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL).returncode
    wall = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps({"wall": wall, "processor": usage.ru_utime + usage.ru_stime,
                      "memory": usage.ru_maxrss / 1024}))
    return status


if __name__ == "__main__":
    sys.exit(main())
