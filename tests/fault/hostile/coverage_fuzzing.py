"""Inputs for the codec that grow towards code nobody has reached: libFuzzer's own, by Atheris, of the Python that says what is right.

`python -m tests.fault.hostile.coverage_fuzzing SEED INPUTS FOLDER` begins with messages of `fuzzing.Fuzzer`, keeps in FOLDER what
reached new code, and ends with 0; or with another code, the error, and the input that broke a promise, as a file in FOLDER.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import atheris

#: The compiled twins have no lines to be seen; `fuzzing` tries those.
for _name in ("_event_reading", "_event_bytes"):
    sys.modules[f"costledger.schemas.{_name}"] = None  # type: ignore[assignment]  # importing it fails
with atheris.instrument_imports(include=["costledger.schemas"]):
    from tests.fault.hostile import fuzzing

    from costledger.schemas import codec

FIRST_INPUTS: Final = 400
INPUT_BYTES_MAX: Final = 4_096
RESIDENT_MIB_MAX: Final = 1_024
#: Of one input: what takes longer is a broken promise. The instrumented code is slower, and the machine may be busy.
SECONDS_MAX: Final = 5


def judge(data: bytes) -> None:
    """One input; whatever is raised ends the run."""
    fuzzing.judge(data)


def main() -> None:
    """See the module's docstring. libFuzzer ends the process."""
    seed, inputs, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    codec.configure_registry(fuzzing.Registry())
    fuzzer = fuzzing.Fuzzer(seed)
    for number in range(FIRST_INPUTS):
        (folder / f"first-{number:03d}").write_bytes(fuzzer.input())
    limits = f"-max_len={INPUT_BYTES_MAX} -rss_limit_mb={RESIDENT_MIB_MAX} -timeout={SECONDS_MAX}"
    options = f"-seed={seed % 2**32} -runs={inputs} {limits} -artifact_prefix={folder}/broken- -print_final_stats=1"
    atheris.Setup([sys.argv[0], *options.split(), str(folder)], judge)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
