"""`python -m benchmarks [--quick] [NAME [ARGS…]]`: all benchmarks, or one by name."""

from __future__ import annotations

import sys

from benchmarks import command_line, fairness, latency, push, scale

ALL = {
    "commandline": command_line.main,
    "fairness": fairness.main,
    "latency": latency.main,
    "push": push.main,
    "scale": scale.main,
}
QUICK = {
    "commandline": ["--runs", "3"],
    "fairness": ["--broken", "400", "--files", "1000", "--killers", "1"],
    "latency": ["--runs", "60"],
    "push": ["--pushes", "20", "--tenants", "20", "--burst", "200"],
    "scale": ["--manifests", "1000", "--tenants", "10", "--small", "0", "--no-peer"],
}


def main() -> None:
    arguments = sys.argv[1:]
    quick = "--quick" in arguments
    rest = [argument for argument in arguments if argument != "--quick"]
    if rest and rest[0] not in ALL:
        sys.exit(f"there is no benchmark {rest[0]!r}; there are {', '.join(ALL)}")
    for name, run in ALL.items():
        if not rest or rest[0] == name:
            run(rest[1:] or (QUICK[name] if quick else []))


if __name__ == "__main__":
    main()
