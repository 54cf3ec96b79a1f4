"""The settings of every process, from the environment (`PRUNERY_…`). Secrets have no default."""

from functools import cache
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal, Self

from cryptography.fernet import Fernet
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PLACEHOLDER = "changeme"


class S3Settings(BaseSettings):
    """Where files are kept; all that an engine process is told."""

    # A refusal would otherwise quote what it was given, and with it the secrets, into the log.
    model_config = SettingsConfigDict(env_prefix="PRUNERY_", frozen=True, hide_input_in_errors=True)

    s3_endpoint: str = Field(description="URL of the S3 API as the services reach it.")
    s3_access_key: SecretStr
    s3_secret_key: SecretStr
    s3_bucket: str = "prunery"
    s3_region: str = "us-east-1"


class Settings(S3Settings):
    """One class for all services, so that one environment file configures a deployment."""

    environment: Literal["development", "production"] = "production"
    log_format: Literal["json", "text"] = Field("json", description="How processes log: for machines or for people.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    database_url: SecretStr = Field(description="postgresql+psycopg://user:password@host:port/database")
    broker_url: SecretStr = Field(description="redis://:password@host:port/0")
    api_key: SecretStr = Field(
        description="The bearer token of the first administrator, who makes projects and further keys."
    )
    metrics_token: SecretStr | None = Field(
        None, description="A bearer token that may read /metrics and nothing else, also while the database is away."
    )

    s3_public_endpoint: str | None = Field(
        None, description="URL of the S3 API as clients reach it; if set, downloads are redirected there."
    )

    max_body_bytes: int = Field(1_048_576, ge=1, description="Largest JSON body, in bytes.")
    max_upload_bytes: int = Field(10 * 2**30, ge=1, description="Largest uploaded file, in bytes.")
    rate_limit_requests: int = Field(
        6000, ge=0, description="Requests that one API key may make in a window, a number; 0 lets all through."
    )
    rate_limit_seconds: int = Field(60, ge=1, description="Length of that window, in seconds.")
    project_max_running: int | None = Field(
        None, ge=0, description="Jobs of one project that run at once, unless the project has a limit of its own."
    )
    project_max_queued: int | None = Field(None, ge=0, description="Jobs of one project that wait; likewise.")
    project_max_storage_bytes: int | None = Field(
        None, ge=0, description="Published models and uploaded files of one project, in bytes; likewise."
    )
    project_max_uploaded_bytes: int | None = Field(
        None, ge=0, description="Uploaded files of one project, in bytes; likewise."
    )
    local_roots: tuple[Path, ...] = Field(
        (), description="Folders from which jobs may name local models and data; none by default."
    )

    work_dir: Path = Field(Path("work"), description="Where workers keep the files of running jobs.")
    lease_seconds: float = Field(
        30.0, gt=0, description="A job whose worker is silent for so long is given to another."
    )
    heartbeat_seconds: float = Field(2.0, gt=0, description="How often a worker renews its lease and reads its orders.")
    cancel_grace_seconds: float = Field(3.0, ge=0, description="Time between TERM and KILL for a running engine.")
    checkpoint_grace_seconds: float = Field(
        60.0,
        ge=0,
        description="For how long an engine that is to pause, or whose worker is to end, may go on to its next "
        "checkpoint; as long again may pass until that is in object storage.",
    )
    retry_seconds: float = Field(
        5.0, ge=0, description="Pause before a job is tried again; it doubles with each further failure."
    )
    longest_retry_seconds: float = Field(600.0, ge=0, description="The longest of these pauses.")
    storage_patience_seconds: float = Field(
        600.0, ge=0, description="For how long a worker asks again when object storage refuses a finished model."
    )
    max_attempts: int = Field(3, ge=1, description="How often a job is started before it counts as failed.")
    relay_seconds: float = Field(0.5, gt=0, description="How often the relay looks for messages to send.")
    reap_seconds: float = Field(5.0, gt=0, description="How often the reaper looks for lost jobs.")
    pull_seconds: float = Field(
        10.0, gt=0, description="How often an idle worker looks for a job by itself; the doorbell wakes it sooner."
    )
    worker_memory_bytes: int | None = Field(
        None, ge=1, description="What a job may take of this worker; its GPU's memory, else the machine's, if not set."
    )
    gpu_class: str | None = Field(None, description="Jobs may ask for a worker of a class; this worker's.")
    stall_seconds: float = Field(
        1800.0, gt=0, description="A running job that says nothing for so long is given to another worker."
    )
    cancel_patience_seconds: float = Field(
        120.0, gt=0, description="A job that was cancelled counts as cancelled after so long, whatever its worker does."
    )
    pause_patience_seconds: float = Field(
        900.0, gt=0, description="A job that was paused rests after so long, with the last checkpoint that it has."
    )
    max_free_attempts: int = Field(
        10, ge=0, description="Attempts that do not count, as they ended with their worker and not by the job's fault."
    )
    pulse_file: Path | None = Field(
        None, description="Touched by a relay or a worker again and again; `python -m worker.pulse` reads it."
    )

    webhook_http: bool = Field(False, description="Whether webhooks may go to http:// addresses too.")
    webhook_ports: tuple[int, ...] = Field(
        (443, 8443), description="TCP ports that webhooks may go to; an empty list allows all."
    )
    webhook_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description="Networks that webhooks may go to although they are not public, in CIDR notation."
    )
    webhook_timeout_seconds: float = Field(15.0, gt=0, le=60, description="A receiver has so long to answer.")
    webhook_seconds: float = Field(1.0, gt=0, description="How often the sender looks for webhooks to send.")
    webhook_senders: int = Field(8, ge=1, le=64, description="How many webhooks are sent at once.")
    encryption_keys: tuple[SecretStr, ...] = Field(
        (), description="Fernet keys for the secrets of webhooks: the first encrypts, each can decrypt."
    )

    collect_seconds: float = Field(3600.0, gt=0, description="How often what nobody needs any more is deleted.")
    orphan_grace_seconds: float = Field(
        86_400.0, ge=0, description="An object that no row tells of is deleted once it is so old."
    )
    checkpoint_days: float | None = Field(
        7.0, gt=0, description="Jobs that ended so long ago cannot be resumed any more: their checkpoints are deleted."
    )
    upload_days: float | None = Field(
        7.0,
        gt=0,
        description="Uploads of models that nobody has gone on with for so long are deleted; never if not set.",
    )
    hub_copy_days: float | None = Field(
        30.0, gt=0, description="Copies of hub models that no job has used for so long are deleted; never if not set."
    )
    history_days: float | None = Field(
        None, gt=0, description="Events and metrics of jobs that ended so long ago are deleted; never if not set."
    )
    model_days: float = Field(
        7.0, ge=0, description="A deleted model can be restored for so long; then its files are deleted."
    )
    delivery_days: float | None = Field(
        30.0, gt=0, description="What webhooks have told is kept for so long after it was settled."
    )
    file_days: float | None = Field(
        None, gt=0, description="Uploaded files that no job has used for so long are deleted; never if not set."
    )

    @field_validator("encryption_keys")
    @classmethod
    def _fernet_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in keys:
            Fernet(key.get_secret_value())  # raises ValueError, without quoting the key
        return keys

    @model_validator(mode="after")
    def _no_placeholder_in_production(self) -> Self:
        if self.environment != "production":
            return self
        for name in ("database_url", "broker_url", "api_key", "s3_access_key", "s3_secret_key", "metrics_token"):
            secret: SecretStr | None = getattr(self, name)
            if secret is None:
                continue
            if not secret.get_secret_value() or PLACEHOLDER in secret.get_secret_value():
                raise ValueError(f"PRUNERY_{name.upper()} still holds a placeholder; set a secret of your own")
        return self


@cache
def load() -> Settings:
    """The settings of this process, read once."""
    return Settings()
