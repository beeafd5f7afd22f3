"""Warns when an S3 bucket does not lock its objects, so that generations could be deleted."""

from __future__ import annotations

from pathlib import Path


def object_lock_warning(root: Path, remote: str | None = None) -> str | None:
    """What may be lost because the remote's bucket does not lock its objects; None when it does, or is no bucket.

    Only COMPLIANCE mode counts: under GOVERNANCE whoever holds the right may still delete.
    See "Using S3 Object Lock" in the Amazon S3 User Guide.

    Raises:
        ColdStorageError: the remote is not set up, or does not answer.
    """
    from luna.storage import cold

    store = cold.open_store(root, remote)
    if store.odb.fs.protocol not in ("s3", "s3a"):
        return None
    bucket = store.odb.path.split("/")[0]
    with store.explained():
        try:
            answer = store.odb.fs.fs.call_s3("get_object_lock_configuration", Bucket=bucket)
        except (
            Exception
        ) as error:  # the library turns 'there is no such configuration' into several kinds
            reason = f"{type(error).__name__} {error} {error.__cause__}"
            if not any(
                word in reason
                for word in (
                    "ObjectLockConfigurationNotFound",
                    "does not exist",
                    "NotImplemented",
                    "FileNotFoundError",
                )
            ):
                raise
            answer = {}
    retention = (
        answer.get("ObjectLockConfiguration", {}).get("Rule", {}).get("DefaultRetention", {})
    )
    if retention.get("Mode") == "COMPLIANCE":
        return None
    return (
        f"The bucket '{bucket}' of remote '{store.name}' does not lock new objects in COMPLIANCE mode: whoever holds the credentials, or a mistaken "
        "'dvc gc -c', can delete generations for good; use a bucket made with object lock and a default retention in COMPLIANCE mode."
    )
