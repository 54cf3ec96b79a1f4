"""SeaweedFS, the object store: an S3 server from its own binary."""

import contextlib
import json
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cli.stack import environment, programs
from cli.stack.credentials import Credentials, write_private
from cli.stack.folder import DataFolder
from cli.stack.ports import LOOPBACK
from cli.stack.process import Process

BUCKET = "prunery"
REGION = "us-east-1"

_PORTS = ("master.port", "volume.port", "filer.port", "s3.port", "admin.port")
_MEMORY_LIMIT = "300MiB"


class Seaweed:
    """One process that is master, volume server, filer and S3 gateway at once."""

    part = "seaweed"
    num_ports = 2 * len(_PORTS)

    def __init__(self, data: DataFolder, credentials: Credentials) -> None:
        self._data = data
        self._folder = data.seaweed
        self._credentials = credentials
        self._log = data.logs / "seaweed.log"
        self._ports: tuple[int, ...] = ()

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self._ports[2 * _PORTS.index('s3.port')]}"

    def prepare(self) -> None:
        """Write who may use it. Without the signing keys the filer would serve every object to anyone."""
        credentials = self._credentials
        identity = {
            "name": "prunery",
            "credentials": [{"accessKey": credentials.s3_access_key, "secretKey": credentials.s3_secret_key}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }
        sections = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
        (self._folder / "config").mkdir(mode=0o700, exist_ok=True)
        (self._folder / "data").mkdir(mode=0o700, exist_ok=True)
        write_private(
            self._folder / "config" / "security.toml",
            "".join(f'[{section}]\nkey = "{credentials.seaweed_signing_key}"\n' for section in sections),
        )
        write_private(self._folder / "config" / "s3.json", json.dumps({"identities": [identity]}))

    def start(self, ports: tuple[int, ...]) -> Process:
        self._ports = ports
        self.clear_sockets()
        return Process(
            self.part,
            [
                str(programs.weed_program()),
                *("-config_dir=config", "-logtostderr=true", "-v=-1", "mini"),
                *(f"-{option}={value}" for option, value in self._options().items()),
            ],
            # All paths are relative to it: a comma in one would make two of it.
            directory=self._folder,
            # Its cache of what passed through would otherwise grow towards a gigabyte.
            environment=environment.for_server() | {"GOMEMLIMIT": _MEMORY_LIMIT},
            log=self._log,
            inherit=[self._data.parts_lock],
        )

    def ready(self) -> bool:
        """Whether an object can be written and read; the bucket is created on the way."""
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self._credentials.s3_access_key,
            aws_secret_access_key=self._credentials.s3_secret_key,
            config=Config(
                retries={"total_max_attempts": 1},
                connect_timeout=1,
                read_timeout=5,
                proxies={},
                s3={"addressing_style": "path"},
            ),
        )
        try:
            client.put_object(Bucket=BUCKET, Key=".ready", Body=b"ready")
            return client.get_object(Bucket=BUCKET, Key=".ready")["Body"].read() == b"ready"
        except (BotoCoreError, ClientError):
            return False
        finally:
            client.close()

    def clear_sockets(self) -> None:
        """Remove the sockets that it puts into /tmp, whatever its folder is, and leaves there when it is killed."""
        for port in self._ports:
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    path.unlink()

    def _options(self) -> dict[str, str]:
        options = {
            "dir": "data",
            "ip": LOOPBACK,
            "ip.bind": LOOPBACK,
            "s3.config": "config/s3.json",
            "bucket": BUCKET,
            # On unless told otherwise: it would report to its vendor.
            "master.telemetry": "false",
            "master.electionTimeout": "1s",
            "master.heartbeatInterval": "100ms",
            "volume.preStopSeconds": "0",
            "webdav": "false",
            "admin.ui": "false",
            "s3.port.iceberg": "0",
            "s3.port.lance": "0",
        }
        for position, option in enumerate(_PORTS):
            options[option] = str(self._ports[2 * position])
            options[f"{option}.grpc"] = str(self._ports[2 * position + 1])
        return options
