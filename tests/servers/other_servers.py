"""Servers of others on loopback: a LiteLLM proxy, aimock, nanio and an OpenID provider.

`make` installs them where it can.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import obstore
from obstore.store import S3Store
from sandbox_client import Clock

INSTALLED = Path(__file__).parents[2] / ".servers"
LITELLM = INSTALLED / "litellm" / "bin" / "litellm"
AIMOCK = INSTALLED / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
NANIO = INSTALLED / "nanio" / "bin" / "nanio"
OIDC = INSTALLED / "oidc" / "provider.mjs"
OIDC_INSTALLED = (INSTALLED / ".oidc").exists()
LITELLM_KEY = "sk-a-proxy-key-0001"
START_SECONDS = 240.0


class RealClock(Clock):
    """Unix seconds that run."""

    def __call__(self) -> float:
        return time.time()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _running(command: list[str], directory: Path, environ: dict[str, str], ready: str) -> Iterator[None]:
    """The program until the block ends, once it answers at `ready`."""
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=directory, env=environ, stdout=output, stderr=subprocess.STDOUT)
    try:
        started = time.monotonic()
        while not _answers(ready):
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            assert time.monotonic() - started < START_SECONDS, log.read_text(errors="replace")[-3000:]
            time.sleep(0.25)
        yield
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError as error:
        return error.code == 403  # it only wants to know who asks
    except OSError:
        return False


@contextmanager
def litellm(directory: Path, upstream: str, *, retries: int | None) -> Iterator[str]:
    """A proxy before the sandbox at `upstream`; its base URL. Without `retries` it repeats as it comes: twice.

    `sora-2` is a server of OpenAI's wire behind it, `my-wan` a vLLM-Omni.
    """
    directory.mkdir()
    repeats = "" if retries is None else f"num_retries: {retries}"
    config = f"""
model_list:
  - model_name: sora-2
    litellm_params: {{model: openai/sora-2, api_base: {upstream}/endpoints/openai/v1, api_key: sk-upstream}}
  - model_name: my-wan
    litellm_params:
      model: hosted_vllm/Wan-AI/Wan2.2-T2V-A14B-Diffusers
      api_base: {upstream}/endpoints/vllm-omni/v1
      api_key: sk-upstream
general_settings: {{master_key: os.environ/LITELLM_MASTER_KEY}}
litellm_settings: {{telemetry: false}}
router_settings: {{{repeats}}}
"""
    (directory / "config.yaml").write_text(config)
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "LITELLM_MASTER_KEY": LITELLM_KEY,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
        "DISABLE_ADMIN_UI": "True",
    }
    port = _free_port()
    command = [
        str(LITELLM),
        "--config",
        "config.yaml",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--num_workers",
        "1",
    ]
    with _running(command, directory, environ, f"http://127.0.0.1:{port}/health/liveliness"):
        yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def aimock(directory: Path, fixtures: str) -> Iterator[str]:
    """aimock with these fixtures, a JSON text; its base URL."""
    directory.mkdir()
    (directory / "fixtures.json").write_text(fixtures)
    port = _free_port()
    command = ["node", str(AIMOCK), "-f", "fixtures.json", "-p", str(port), "--log-level", "warn"]
    environ = {"PATH": os.environ["PATH"], "HOME": str(directory)}
    with _running(command, directory, environ, f"http://127.0.0.1:{port}/v1/models"):
        yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def nanio(directory: Path, *, key: str, secret: str) -> Iterator[str]:
    """An S3 server with the bucket `clips`; its base URL. Its log, which names every request, is in the directory."""
    directory.mkdir()
    port = _free_port()
    command = [str(NANIO), "serve", "--host", "127.0.0.1", "--port", str(port), "--data-dir", "data"]
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "NANIO_ACCESS_KEY": key,
        "NANIO_SECRET_KEY": secret,
    }
    base = f"http://127.0.0.1:{port}"
    with _running(command, directory, environ, f"{base}/"):
        options = {"endpoint": base, "region": "us-east-1", "access_key_id": key, "secret_access_key": secret}
        bucket = S3Store("clips", **options, client_options={"allow_http": True})
        link = obstore.sign(bucket, "PUT", "", timedelta(minutes=1))
        with urllib.request.urlopen(urllib.request.Request(link, method="PUT"), timeout=START_SECONDS):
            yield base


def storage_environ(base: str, *, key: str, secret: str) -> dict[str, str]:
    """What a process with that S3 server as its storage finds in its environment."""
    found = {"ENDPOINT_URL": base, "REGION": "us-east-1", "ALLOW_HTTP": "true"}
    return {
        f"AWS_{name}": value for name, value in (found | {"ACCESS_KEY_ID": key, "SECRET_ACCESS_KEY": secret}).items()
    }


@contextmanager
def oidc(directory: Path) -> Iterator[str]:
    """The OpenID provider of oidc/provider.mjs; its issuer."""
    directory.mkdir()
    port = _free_port()
    environ = {"PATH": os.environ["PATH"], "HOME": str(directory)}
    issuer = f"http://127.0.0.1:{port}"
    with _running(["node", str(OIDC), str(port)], directory, environ, f"{issuer}/.well-known/openid-configuration"):
        yield issuer
