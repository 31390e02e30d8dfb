"""deploy/Dockerfile, as far as it can be checked without a container engine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
STAGES = {
    match["name"]: (match["base"], match["body"])
    for match in re.finditer(r"^FROM (?P<base>\S+) AS (?P<name>\S+)\n(?P<body>(?:(?!^FROM ).*\n?)*)", DOCKERFILE, re.MULTILINE)
}


def lineage(stage: str) -> str:
    """The instructions of a stage, after those of the stages below it."""
    base, body = STAGES[stage]
    return (lineage(base) if base in STAGES else "") + body


@pytest.mark.parametrize("stage", ["runtime", "endpoint", "tour"])
def test_images_do_not_run_as_root(stage: str) -> None:
    users = re.findall(r"^USER (\S+)$", lineage(stage), re.MULTILINE)
    assert users
    assert users[-1] == "10001:10001"  # a number: Kubernetes cannot tell whether a name is root


@pytest.mark.parametrize("stage", ["runtime", "endpoint", "tour"])
def test_images_have_no_build_tools(stage: str) -> None:
    assert "pip install" not in lineage(stage)


def test_what_is_copied_exists_and_is_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    for source in (source for copy in copies for source in copy.split()):
        assert (ROOT / source).exists(), source
        assert f"!{source.split('/')[0]}" in ignored, source


def test_stages_are_copied_from_by_their_names() -> None:
    assert set(re.findall(r"--from=(\S+)", DOCKERFILE)) <= STAGES.keys()
