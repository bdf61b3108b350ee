"""validate: every mistake in params.yaml at once, before DVC touches an output; then advice and what differs from conf/."""

import os
from pathlib import Path

from stages import compose, params, records, stage


def main() -> None:
    checked = params.check_file()
    for line in checked.advice():
        print(f"advice: {line}")
    if "DVC_EXP_NAME" not in os.environ:  # an experiment differs from conf/ on purpose
        for line in compose.differences():
            print(f"warning: {line}")
    records.write_text(Path("data/validated.txt"), "params.yaml is valid\n")


if __name__ == "__main__":
    stage.run(main)
