"""A real S3 server (SeaweedFS) on this machine, for tests and benches."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

_SECONDS_TO_START = 240


def _free_port() -> int:
    """Below 20000, since the server also takes each port + 10000."""
    while True:
        port = 11000 + secrets.randbelow(9000)
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + 10000))
            except OSError:
                continue
            return port


@dataclass
class Server:
    """``key`` and ``secret`` are made for the test and known to nobody else."""

    folder: Path
    key: str = field(default_factory=lambda: "KEY" + secrets.token_hex(8))
    secret: str = field(default_factory=lambda: secrets.token_hex(20))
    ports: list[int] = field(default_factory=lambda: [_free_port() for _ in range(4)])
    process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }

    def client(self):
        import botocore.session

        session = botocore.session.Session()
        session.set_credentials(self.key, self.secret)
        return session.create_client("s3", region_name="us-east-1", endpoint_url=self.url)

    def start(self) -> None:
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        keys = self.folder / "keys.json"
        keys.write_text(
            json.dumps(
                {
                    "identities": [
                        {
                            "name": "test",
                            "credentials": [{"accessKey": self.key, "secretKey": self.secret}],
                            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                        }
                    ]
                }
            )
        )
        s3, master, volume, filer = self.ports
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    Path(sys.executable).parent / "weed",
                    "server",
                    f"-dir={self.folder / 'data'}",
                    "-ip=127.0.0.1",
                    "-ip.bind=127.0.0.1",
                    f"-master.port={master}",
                    f"-volume.port={volume}",
                    f"-filer.port={filer}",
                    "-volume.max=100",
                    "-s3",
                    f"-s3.port={s3}",
                    f"-s3.config={keys}",
                    "-s3.port.iceberg=0",
                    "-s3.port.lance=0",
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,
            )
        from botocore.exceptions import BotoCoreError, ClientError

        deadline = time.monotonic() + _SECONDS_TO_START
        while True:
            try:
                self._write_and_read()
                return
            except (BotoCoreError, ClientError):
                assert self.process.poll() is None and time.monotonic() < deadline, (
                    self.folder / "log"
                ).read_text()[-3000:]

    def _write_and_read(self) -> None:
        """It answers some time before it can keep anything: until its volumes have reported to its master."""
        client = self.client()
        with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket="ready")
        client.put_object(Bucket="ready", Key="a", Body=b"written")
        assert client.get_object(Bucket="ready", Key="a")["Body"].read() == b"written"

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def serve(self, repo: Path, bucket: str) -> None:
        """Make the bucket the remote 's3' of the clone ``repo``; the credentials stay in the environment."""
        for arguments in (
            ("add", "--local", "s3", f"s3://{bucket}/luna"),
            ("modify", "--local", "s3", "endpointurl", self.url),
        ):
            subprocess.run(
                [sys.executable, "-m", "dvc", "remote", *arguments],
                cwd=repo,
                check=True,
                capture_output=True,
            )
