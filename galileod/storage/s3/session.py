"""Opens clients of botocore for the settings: credentials, region, style, time limits."""

from typing import Any, Final

from attrs import evolve, frozen

from galileod.secretfile import SecretFileError
from galileod.storage.errors import StorageError
from galileod.storage.settings import S3

from .credentials import KeyFile
from .errors import FAILURES, Attempts, translated_setting
from .library import (
    Config,
    RetryQuota,
    RetryQuotaChecker,
    botocore,
    register_retry_handler,
)
from .transport import CONNECT_SECONDS, READ_SECONDS, adapt

ATTEMPTS: Final = 4
"""How often a request is sent if it fails for a reason that may pass."""

CHECK_SECONDS: Final = 4.0
"""Time limit for each wait for a part of the response to a check, which is sent once."""

COMPLETE_SECONDS: Final = 600.0
"""Time limit for the answer to Complete, which copies all parts in some stores."""

REGION: Final = "us-east-1"
"""The region if none is known. AWS tells where else a bucket is; other stores seldom have any."""


@frozen
class Connection:
    """Clients of botocore: for most requests, for those that are sent once, and for checks.

    `keys` is the file with the credentials, if they are in one. `attempts` has what became of those
    of a request.
    """

    endpoint: str
    usual: Any
    patient: Any
    hasty: Any
    keys: KeyFile | None
    attempts: Attempts

    @classmethod
    def open(cls, settings: S3, requests: int) -> "Connection":
        """For that many simultaneous requests. Raises StorageError."""
        session = botocore.session.Session()
        keys = None
        try:
            if settings.credentials_file is not None:
                keys = KeyFile(settings.credentials_file)
                resolver = botocore.credentials.CredentialResolver([_FileProvider(keys)])
                session.register_component("credential_provider", resolver)
            if session.get_credentials() is None:
                raise StorageError(
                    "there are no credentials for the object storage: expected"
                    " storage.s3.credentials_file, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or"
                    " a role of this machine"
                )
            usual = _client(session, settings, requests, READ_SECONDS, ATTEMPTS)
            patient = _client(session, settings, requests, COMPLETE_SECONDS, 1)
            hasty = _client(session, settings, 1, CHECK_SECONDS, 1)
        except SecretFileError as error:
            raise StorageError(f"storage.s3.credentials_file: {error}") from None
        except (*FAILURES, ValueError) as error:  # ValueError: an endpoint that it rejects
            raise translated_setting(error) from error
        attempts = Attempts()
        for client in (usual, patient, hasty):
            client.meta.events.register("response-received.s3", attempts.note)
        return cls(usual.meta.endpoint_url, usual, patient, hasty, keys, attempts)

    @property
    def for_checks(self) -> "Connection":
        """The same with short time limits for all requests, none of which is repeated."""
        return evolve(self, usual=self.hasty, patient=self.hasty)

    def close(self) -> None:
        """Close all connections."""
        self.usual.close()
        self.patient.close()
        self.hasty.close()


def _client(session: Any, settings: S3, requests: int, seconds: float, attempts: int) -> Any:  # noqa: ANN401  botocore has no types
    style = settings.style
    if style == "auto":
        # Other stores than AWS seldom have a name in the DNS for each bucket.
        style = "virtual" if settings.endpoint is None else "path"
    client = session.create_client(
        "s3",
        region_name=settings.region or session.get_config_variable("region") or REGION,
        endpoint_url=settings.endpoint,
        config=Config(
            signature_version="s3v4",
            connect_timeout=CONNECT_SECONDS,
            read_timeout=seconds,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=requests,
            tcp_keepalive=True,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            # Signing a body takes three times as long as sending it. See `Client` for what
            # protects it instead.
            s3={"payload_signing_enabled": False, "addressing_style": style},
        ),
    )
    adapt(client)
    _repeat_always(client, attempts)
    return client


class _Endless(RetryQuota):  # type: ignore[misc]  # no types
    def acquire(self, capacity_amount: int) -> bool:
        del capacity_amount
        return True


def _repeat_always(client: Any, attempts: int) -> None:  # noqa: ANN401  botocore makes its class when it runs
    """Have a client repeat a request however many others have failed.

    Else the requests of an outage would soon use up what botocore grants for all of them, and each
    that fails later, even if for once, fails for good. They are few at the same time already.
    """
    client.meta.events.unregister("needs-retry.s3", unique_id="retry-config-s3")
    handler = register_retry_handler(client, attempts)
    handler._retry_quota = RetryQuotaChecker(_Endless())  # noqa: SLF001  botocore has no option for this


class _FileCredentials(botocore.credentials.Credentials):  # type: ignore[misc]  # no types
    """Asks the file for each request."""

    def __init__(self, keys: KeyFile) -> None:
        now = keys.keys()
        super().__init__(now.access_key, now.secret_key, now.token)
        self._keys = keys

    def get_frozen_credentials(self) -> Any:  # noqa: ANN401  a named tuple of botocore
        now = self._keys.keys()
        return botocore.credentials.ReadOnlyCredentials(now.access_key, now.secret_key, now.token)


class _FileProvider(botocore.credentials.CredentialProvider):  # type: ignore[misc]  # no types
    METHOD = "galileod-credentials-file"

    def __init__(self, keys: KeyFile) -> None:
        super().__init__()
        self._keys = keys

    def load(self) -> _FileCredentials:
        return _FileCredentials(self._keys)
