"""``/v1/store``: the files of models, what is wrong with them, and reading them again."""

from __future__ import annotations

from fastapi import APIRouter

from inhouse.api.depends import Operator, Reader, Wired
from inhouse.client.control import Job
from inhouse.client.store import (
    QuarantinedVersion,
    ScrubStart,
    StoredVersion,
    StoreFinding,
    StoreLease,
    StoreReport,
)
from inhouse.registry import upkeep
from inhouse.store.store import Entry

router = APIRouter(tags=["store"])


@router.get("/v1/store")
def report(app: Wired, _: Reader) -> StoreReport:
    """Versions on disk, those in quarantine, registered ones that are missing, and who uses what.
    No weights are read for it; a scrub reads them."""
    store = app.store
    found = upkeep.missing(app.database, store)
    return StoreReport(
        versions=[_stored(entry) for entry in store.list()],
        quarantined=[QuarantinedVersion.model_validate(mark) for mark in store.quarantined()],
        missing=[StoreFinding.model_validate(each) for each in found],
        leases=[StoreLease.model_validate(lease) for lease in store.leases()],
    )


def _stored(entry: Entry) -> StoredVersion:
    manifest = entry.manifest
    return StoredVersion(
        name=entry.name,
        version=entry.version,
        refs=list(entry.refs),
        kind=manifest.kind if manifest else "",
        license=manifest.license if manifest else "",
        bytes=entry.bytes,
        manifest_digest=entry.manifest_digest,
        problem=entry.problem,
        quarantined=entry.quarantined,
        created_at=entry.created_at,
    )


@router.post("/v1/store/scrub")
def scrub(request: ScrubStart, app: Wired, _: Operator) -> Job:
    """Read every file again in a background job, and quarantine what is damaged."""
    with app.database.write() as unit:
        return Job.model_validate(
            upkeep.request_scrub(unit, app.clock, rate_mb_s=request.rate_mb_s)
        )
