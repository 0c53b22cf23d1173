"""Whether there is a Ray cluster at an address, and how to talk to it.

Ray itself tries for minutes, and a cluster with token authentication refuses a driver that does not
know of it. So a process of its own tries each way for some seconds:
``python -m dormant.experiments.ray_connection ADDRESS``.
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time

AUTH_MODE = "RAY_AUTH_MODE"
SECONDS = 15.0  # until an address is given up


def connection(address: str, seconds: float = SECONDS) -> dict[str, str]:
    """The environment variables with which Ray connects to the cluster at ``address``.

    Raises:
      ConnectionError: there is none, or it wants a token that is not here.
    """
    check_port(address)
    ways = [{}] if AUTH_MODE in os.environ else [{AUTH_MODE: "disabled"}, {AUTH_MODE: "token"}]
    command = [sys.executable, "-m", "dormant.experiments.ray_connection", address]
    with tempfile.TemporaryFile() as output:
        tries = [
            subprocess.Popen(
                command,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **way},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            for way in ways
        ]
        try:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                codes = [each.poll() for each in tries]
                if 0 in codes:
                    return ways[codes.index(0)]
                if None not in codes:
                    break
                time.sleep(0.05)
        finally:
            for each in tries:
                each.kill()
                each.wait()
        output.seek(0)
        raise ConnectionError(cause(output.read().decode(errors="replace"), seconds))


def check_port(address: str) -> None:
    """Raises a ConnectionError if nobody listens at an address of the form host:port."""
    parts = re.fullmatch(r"([\w.-]+):(\d+)", address)
    if not parts:
        return
    try:
        socket.create_connection((parts[1], int(parts[2])), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(f"nothing answers there ({error})") from error


def cause(output: str, seconds: float) -> str:
    """What the tries said, in one line."""
    if re.search("InvalidAuthToken|Unauthenticated", output):
        return (
            "it wants an authentication token; put the cluster's into ~/.ray/auth_token or "
            "RAY_AUTH_TOKEN"
        )
    errors = re.findall(r"^(?:\w+\.)*\w*(?:Error|Exception): (.+)$", output, re.MULTILINE)
    errors = [error for error in errors if "authentication token was found" not in error]
    return errors[-1] if errors else f"no answer within {seconds:.0f} seconds"


if __name__ == "__main__":
    import ray

    ray.init(sys.argv[1], log_to_driver=False, include_dashboard=False)
    ray.cluster_resources()
    ray.shutdown()
