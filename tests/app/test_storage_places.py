"""What a job may name in object storage."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.storage_places import NotAllowed, allowed
from jobs.files import Files, upload_key
from tests.app.conftest import job, write_model
from tests.app.tenants import make_key, make_project

JOBS = "/v1/compression/jobs"


def test_keys_elsewhere_are_taken_as_they_are() -> None:
    assert allowed("s3://ours/texts/a.txt", "ours") == ("ours", "texts/a.txt")
    assert allowed("s3://theirs/uploads/a.txt", "ours") == ("theirs", "uploads/a.txt")
    assert allowed("s3://ours/uploads.txt", "ours") == ("ours", "uploads.txt")


@pytest.mark.parametrize(
    "uri",
    [
        "s3://ours/uploads/file_1/a.txt",
        "s3://ours/blobs/sha256/ab/abc",
        "s3://ours/jobs/cjob_1/attempts/1",
        "s3://ours//uploads/file_1/a.txt",
        "s3://ours/uploads//file_1",
        "s3://ours/./uploads/file_1",
        "s3://ours/texts/../uploads/file_1",
        "s3://theirs/../ours/uploads/file_1",
        "s3://ours/",
        "s3://ours//",
    ],
)
def test_what_the_service_keeps_cannot_be_named(uri: str) -> None:
    with pytest.raises(NotAllowed):
        allowed(uri, "ours")


def test_a_job_cannot_read_the_upload_of_another_project_by_its_place(
    client: TestClient, files: Files, roots: Path
) -> None:
    uploaded = client.post("/v1/files", params={"name": "a.txt"}, content=b"word " * 200).json()
    place = f"s3://{files.bucket}/{upload_key(uploaded['id'], 'a.txt')}"
    assert files.size(upload_key(uploaded["id"], "a.txt")) == 1000
    theirs = make_key(client, "jobs:write", project_id=make_project(client))
    local = {"source": "local", "path": str(write_model(roots / "model"))}
    uploads = f"s3://{files.bucket}/uploads/{uploaded['id']}"
    for request, code, pointer in (
        (job(local, {"source": "s3", "uri": place}), "dataset_not_found", "/dataset/uri"),
        (job({"source": "s3", "uri": uploads}, {"source": "s3", "uri": place}), "dataset_not_found", "/dataset/uri"),
        (
            job({"source": "s3", "uri": uploads}, {"source": "hub", "id": "a/b"}),
            "base_model_not_found",
            "/base_model/uri",
        ),
        (
            job({"source": "gguf", "path": place}, {"source": "hub", "id": "a/b"}),
            "base_model_not_found",
            "/base_model/path",
        ),
    ):
        refused = client.post(JOBS, json=request, headers=theirs)
        assert (refused.status_code, refused.json()["code"]) == (422, code), refused.text
        assert refused.json()["errors"][0]["pointer"] == pointer
        assert "belongs to projects" in refused.json()["detail"]
