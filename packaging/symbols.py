"""Fails when a binary asks for a newer C library, or for any library besides it.

    python symbols.py BINARY VERSION
"""

import sys

from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

# Parts of the C library itself, and of the compiler's run-time support that every system has.
ALLOWED = {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libgcc_s.so.1", "libutil.so.1"}
ALLOWED |= {"ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


def version(text):
    return tuple(int(part) for part in text.split("."))


def main(path, limit):
    with open(path, "rb") as file:
        elf = ELFFile(file)
        needed = [tag.needed for tag in elf.get_section_by_name(".dynamic").iter_tags() if tag.entry.d_tag == "DT_NEEDED"]
        strange = [name for name in needed if name not in ALLOWED]
        newest = ((0,), "none")
        for section in elf.iter_sections():
            if not isinstance(section, GNUVerNeedSection):
                continue
            for library, versions in section.iter_versions():
                for entry in versions:
                    if entry.name.startswith("GLIBC_") and entry.name != "GLIBC_PRIVATE":
                        newest = max(newest, (version(entry.name[6:]), f"{entry.name} of {library.name}"))
        machine = elf["e_machine"]
    print(f"{path}: {machine}, needs {', '.join(needed)}; newest symbol version {newest[1]}")
    if strange:
        sys.exit(f"it needs {', '.join(strange)}, which not every machine has")
    if newest[0] > version(limit):
        sys.exit(f"it needs {newest[1]}, newer than {limit}")


if __name__ == "__main__":
    main(*sys.argv[1:])
