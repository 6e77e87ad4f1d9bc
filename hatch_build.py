"""Compiles the accelerator modules (PEP 399) while costledger is built: `_name.pyx` beside `name.py` becomes `_name`.

A wheel gets the compiled twins at their place and the tag of this interpreter; an editable install gets them beside their
sources. Where they cannot be compiled the installation goes on without them: everything works, and is slower.

`COSTLEDGER_COMPILE=require` makes that an error; `COSTLEDGER_COMPILE=no` compiles nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sysconfig
import tempfile
import textwrap
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.builders.wheel import WheelBuilderConfig

VARIABLE: Final = "COSTLEDGER_COMPILE"
#: Such as `.cpython-311-x86_64-linux-gnu.so`: what this interpreter imports. Those of others are left alone.
SUFFIX: Final[str] = sysconfig.get_config_var("EXT_SUFFIX")
REASON_CHARACTERS_MAX: Final = 150
ADVICE: Final = (
    "Producers, stream app and sink handle fewer events a second without them. To have them, install a C compiler and the"
    " headers of Python (Debian: apt install gcc libc6-dev python3-dev), and install costledger again."
)


class TwinsBuildHook(BuildHookInterface[WheelBuilderConfig]):
    """Compiles before the wheel, standard or editable, is put together."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile all twins or none, and say where they belong.

        `version` is "standard" or "editable". Ends the build when COSTLEDGER_COMPILE has an unknown value, or is
        `require` and compiling fails.
        """
        wish = os.environ.get(VARIABLE, "")
        if wish not in {"", "no", "require"}:
            self.app.abort(f"costledger: {VARIABLE} is {wish!r}; it can be 'require', 'no', or unset")
        # The wheel is made of these files after this method: `finalize` removes them.
        self.scratch = tempfile.TemporaryDirectory(prefix="costledger-build-")
        twins = [] if wish == "no" else self._compiled(required=wish == "require")
        if version == "editable":
            for old in self._found(f"_*{SUFFIX}"):
                (Path(self.root) / old).unlink()
            for module, built in twins:
                shutil.copyfile(built, Path(self.root) / module.with_suffix(SUFFIX))
        elif twins:
            for module, built in twins:
                build_data["force_include"][str(built)] = str(Path(*module.parts[1:]).with_suffix(SUFFIX))
            build_data["pure_python"] = False
            build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - as hatchling calls it
        """Remove what was needed on the way."""
        self.scratch.cleanup()

    def _compiled(self, *, required: bool) -> list[tuple[Path, Path]]:
        """Each twin's source below the root, such as schemas/costledger/schemas/_name.pyx, and the compiled file."""
        sources = self._found("_*.pyx")
        try:
            # Paths below the root, so that those in the compiled file are the same on every machine.
            with contextlib.chdir(self.root):
                return list(zip(sources, _compile(sources, Path(self.scratch.name)), strict=True))
        except Exception as error:  # noqa: BLE001 - compilers fail in many ways, and none may stop an installation
            # Cython and the compiler have told the rest, in lines of their own.
            reason = textwrap.shorten(f"{type(error).__name__}: {error}", REASON_CHARACTERS_MAX, placeholder=" ...")
            message = f"costledger: the modules that make it fast could not be compiled ({reason}). {ADVICE}"
            if required:
                self.app.abort(f"{message} This is an error because {VARIABLE} is 'require'.")
            self.app.display_warning(message)
            return []

    def _found(self, pattern: str) -> list[Path]:
        """Files of the parts' packages, below the root, in a fixed order."""
        root = Path(self.root)
        return sorted(
            path.relative_to(root) for package in self.build_config.packages for path in (root / package).rglob(pattern)
        )


def _compile(sources: list[Path], scratch: Path) -> list[Path]:
    """The compiled files of `sources`, in `scratch`. Paths are <part>/costledger/<part>/.../_name.pyx."""
    # Imported here: hatchling reads this file also where nothing is to be compiled.
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    # The namespace package has no __init__.py, so that Cython cannot tell the modules' names.
    names = [".".join(source.with_suffix("").parts[1:]) for source in sources]
    # -g0: debugging information is half of the file, and has paths of this machine in it.
    extensions = [
        Extension(name, [str(source)], extra_compile_args=["-g0"]) for name, source in zip(names, sources, strict=True)
    ]
    generated = cythonize(extensions, build_dir=str(scratch), language_level=3, force=True, quiet=True)
    command = build_ext(Distribution({"name": "costledger", "ext_modules": generated}))
    command.build_lib = str(scratch / "lib")
    command.build_temp = str(scratch / "objects")
    command.ensure_finalized()
    command.run()
    return [Path(command.get_ext_fullpath(name)) for name in names]
