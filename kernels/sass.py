"""Checks of the machine code (SASS) of the compiled kernels: what the compiler made of the sources is what is meant to be measured.

For every kernel on every chip: no access to local memory (a spill), and the register count that the manifest says. Beyond that, by kernel:
128-bit accesses and enough loads in flight in the hot block; the right cache path in the latency kernels; tensor-core instructions,
cp.async (LDGSTS), ldmatrix (LDSM) and wide stores in the matrix products; in Hopper's ones wgmma (HGMMA, QGMMA) in the main loop with as few
waits as meant, copies by TMA (UTMALDG, UTMASTG), registers that move (USETMAXREG), and a clock beside every wait; in the kernels that
measure instructions alone (IGMMA among them) those and nothing else that takes a pipe.

Terms. The *hot block* of a kernel is the basic block with the most accesses to device memory, at the first place of several. *Loads in
flight* counts the loads of the hot block that are issued before the first instruction that touches a register one of them writes.
"""

import re
import subprocess
import sys
from pathlib import Path

INSTRUCTION = re.compile(r"/\*([0-9a-f]{4,5})\*/\s+(?:@(!?U?P\w+)\s+)?([A-Z][A-Z0-9_]*(?:\.\w+)*)\s*([^;]*);")
BRANCHES = ("BRA", "BRX", "EXIT", "RET", "CALL", "JMP")

# Chips whose mma.sync has no FP8: the compiler converts to FP16 (exact) and multiplies with HMMA.
FP8_CONVERTED = {"sm_90a", "sm_100a", "sm_103a"}

# kernel: (loads, stores) per hot block, 128 bits each; and the least loads in flight.
WIDE = {
    "stream_read": (8, 0, 4),
    "stream_write": (0, 4, 0),
    "stream_copy": (4, 4, 4),
    "stream_scale": (4, 4, 4),
    "stream_add": (8, 4, 4),
    "stream_triad": (8, 4, 4),
    "cache_read": (8, 0, 4),
    "verify_pattern": (4, 0, 1),  # arithmetic lies between its loads; it is not timed
    "verify_equal": (8, 0, 1),  # likewise
}
FILLS = ["fill_pattern"] + [f"fill_{d}_{t}" for d in ("uniform", "normal") for t in ("f32", "bf16", "e4m3", "e5m2")]
FILLS += [f"fill_uniform_{t}" for t in ("f16", "i8", "e2m1")]
MATVECS = [f"matvec_{t}{f}" for t in ("", "t_") for f in ("bf16", "e4m3", "e5m2")]
# kernel: the instruction whose rate it measures, and how many its loop has.
RATES = {
    "fma_f32": (r"FFMA", 128),
    "fma_f64": (r"DFMA", 128),
    "fma_f16": (r"HFMA2(\.MMA)?", 128),
    "tensor_bf16": (r"HMMA\.16816\.F32\.BF16", 32),
    "tensor_f16": (r"HMMA\.16816\.F32", 32),
    "tensor_tf32": (r"HMMA\.1688\.F32\.TF32", 32),
    "tensor_int8": (r"IMMA\.16832\.S8\.S8", 32),
    "tensor_f64": (r"DMMA\.(884|8x8x4)", 8),
    "tensor_e4m3": (r"QMMA\.16832\.F32\.E4M3\.E4M3", 64),
}
# What may stand beside them in the loop: moves, the count, the branch, nothing that computes.
BESIDE = r"(NOP|U?MOV|IMAD\.MOV|CS2R|U?IADD3|VIADD|U?ISETP|BRA|UMOV|R2UR|CALL|WARPSYNC|BSYNC)(\..*)?"
# The same of wgmma: of 64 x 256 each, back to back, with one wait for the round before.
WGMMAS = 16
WGMMA_RATES = {
    "bf16": r"HGMMA\.64x256x16\.F32\.BF16",
    "f16": r"HGMMA\.64x256x16\.F32",
    "tf32": r"HGMMA\.64x256x8\.F32\.TF32",
    "e4m3": r"QGMMA\.64x256x32\.F32\.E4M3\.E4M3",
    "e5m2": r"QGMMA\.64x256x32\.F32\.E5M2\.E5M2",
    "int8": r"IGMMA\.64x256x32\.S8\.S8",
}
# Descriptors are made by the uniform pipe before the first one is issued.
BESIDE_WGMMA = rf"{BESIDE}|WARPGROUP\.(ARRIVE|DEPBAR\.LE)|U(SHF|LOP3|SEL)(\..*)?"
MMAS = 64  # mma.sync per slice: 2 steps of 4 x 8

PRODUCER_REGISTERS = 24  # what a producer of Hopper's matrix products keeps

# Tile of one of Hopper's matrix products: parts that a consumer computes, panels that it stores, whether blocks form clusters.
HOPPER_TILES = {
    "bf16_128x256_c2": (1, 4, True),
    "bf16_256x128_c2": (2, 4, True),
    "bf16_128x128": (1, 2, False),
    "bf16_64x128": (1, 1, False),
    "e4m3_128x256_c2": (2, 4, True),
    "e4m3_128x128": (1, 2, False),
    "e4m3_64x128": (1, 1, False),
    "e5m2_128x256_c2": (2, 4, True),
}


def find_nvdisasm():
    """The nvdisasm of the installed package, or None."""
    for folder in sys.path:
        for path in sorted(Path(folder).glob("nvidia/*/bin/nvdisasm")):
            return path
    return None


class Instruction:
    def __init__(self, opcode, operands):
        self.opcode = opcode
        self.operands = operands

    @property
    def is_load(self):
        return self.opcode.startswith("LDG.")

    @property
    def is_store(self):
        return self.opcode.startswith("STG.")

    def is_wide(self):
        return ".128" in self.opcode

    def registers(self):
        """Numbers of the plain registers that are named (the first one of a vector)."""
        return {int(r) for r in re.findall(r"(?<!U)\bR(\d+)", self.operands)}

    def written(self):
        """Registers that a load writes."""
        first = int(re.match(r"R(\d+)", self.operands).group(1))
        width = 4 if ".128" in self.opcode else 2 if ".64" in self.opcode else 1
        return set(range(first, first + width))


class Block(list):
    """A basic block: instructions, and the labels that lead to it."""

    def __init__(self, labels=()):
        super().__init__()
        self.labels = set(labels)


def disassemble(tool, path):
    """{kernel: (registers, [basic block])}."""
    run = subprocess.run([tool, str(path)], capture_output=True, text=True, check=True)
    registers = {
        name: int(value, 16)
        for name, value in re.findall(r"EIATTR_REGCOUNT\n(?:.*\n)*?.*index@\((\w+)\)\n.*\.word\s+0x([0-9a-f]+)", run.stdout)
    }
    kernels = {}
    for section in re.split(r"\n\s*\.section\s+", run.stdout)[1:]:
        if not (name := re.match(r"\.text\.(\w+)", section)):
            continue
        blocks = [Block()]
        for line in section.splitlines():
            if label := re.match(r"(\.L_\w+):", line.strip()):
                if blocks[-1]:
                    blocks.append(Block())
                blocks[-1].labels.add(label.group(1))
            elif found := INSTRUCTION.search(line):
                _, _, opcode, operands = found.groups()
                blocks[-1].append(Instruction(opcode, operands))
                if opcode.split(".")[0] in BRANCHES:
                    blocks.append(Block())
        kernels[name.group(1)] = (registers.get(name.group(1)), [b for b in blocks if b])
    return kernels


def hot_block(blocks):
    return max(blocks, key=lambda b: sum(i.is_load or i.is_store for i in b))


def in_flight(block):
    """The most loads that are out at once before the block first needs one of them."""
    pending = set()
    count = 0
    for instruction in block:
        if pending & instruction.registers():
            break
        if instruction.is_load:
            pending |= instruction.written()
            count += 1
    return count


def count(blocks, pattern):
    return sum(bool(re.fullmatch(pattern, i.opcode)) for b in blocks for i in b)


def check_kernel(target, name, blocks):
    """Returns (what was found, what is wrong) as lists of text."""
    seen, wrong = [], []

    def expect(condition, text):
        (seen if condition else wrong).append(text)

    local = count(blocks, r"(LDL|STL)\b.*")
    expect(local == 0, f"{local} local")
    hot = hot_block(blocks)
    if name in WIDE:
        loads, stores, least = WIDE[name]
        found_loads = [i for i in hot if i.is_load]
        found_stores = [i for i in hot if i.is_store]
        expect(all(i.is_wide() for i in found_loads + found_stores), "all 128 bit")
        expect(len(found_loads) >= loads and len(found_stores) >= stores, f"{len(found_loads)} LDG.128 {len(found_stores)} STG.128")
        if least:
            flying = in_flight([i for i in hot])
            expect(flying >= least, f"{flying} in flight")
    if name in FILLS:
        wide = count(blocks, r"STG\.E\.128.*")
        expect(wide > 0, f"{wide} STG.128")
    if name in MATVECS:
        wide = count(blocks, r"LDG\.E\.128.*")
        expect(wide > 0, f"{wide} LDG.128")
    if name == "cache_read":
        expect(all("STRONG.GPU" in i.opcode for i in hot if i.is_load), "past L1")
    if name in ("chase", "chase_l2"):
        loads = [i for b in blocks for i in b if i.is_load]
        past_l1 = [i for i in loads if "STRONG.GPU" in i.opcode]
        plain = [i for i in loads if i.opcode in ("LDG.E", "LDG.E.SYS")]
        expect(loads and (past_l1 if name == "chase_l2" else plain) == loads, f"{len(loads)} loads " + ("past L1" if name == "chase_l2" else "through L1"))
        order = [i for b in blocks for i in b if i.is_store or "CLOCK" in i.operands]
        expect([i.is_store for i in order] == [False, True, False, True], "clock, store, clock, store")
    if name == "gate":
        expect(count(blocks, r"LDG.*STRONG\.SYS.*") > 0, "reads past all caches")
    if name in RATES:
        check_rate(name, blocks, expect)
    if name.startswith("tensor_hopper_"):
        check_wgmma_rate(name.removeprefix("tensor_hopper_"), blocks, expect)
    if name.startswith("bulk_"):
        check_bulk(name, blocks, expect)
    if name.startswith("gemm_hopper_"):
        check_hopper(name.removeprefix("gemm_hopper_"), blocks, expect)
    elif name.startswith("gemm_"):
        check_gemm(target, name.removeprefix("gemm_"), blocks, expect)
    return seen, wrong


def check_rate(name, blocks, expect):
    """The loop holds the instructions that are counted and nothing else that takes a pipe."""
    wanted, number = RATES[name]
    short = re.match(r"\w+", wanted).group()
    loop = max(blocks, key=lambda b: count([b], wanted))
    found = count([loop], wanted)
    expect(found == number, f"{found} {short} in the loop")
    others = sorted({i.opcode for i in loop if not re.fullmatch(wanted, i.opcode) and not re.fullmatch(BESIDE, i.opcode)})
    expect(not others, f"nothing beside it {' '.join(others)}".rstrip())
    stores = count(blocks, r"STG.*")
    expect(stores == 1 and count(blocks, r"LDG.*") == 0, f"{stores} STG")


def check_wgmma_rate(kind, blocks, expect):
    """As check_rate; nothing is waited for within a round, no barrier and no memory is in the loop, and sums are added up outside it."""
    wanted = WGMMA_RATES[kind]
    loop = innermost_loop(blocks, wanted)
    found = count(loop, wanted)
    expect(found == WGMMAS and found == count(blocks, r"\w*MMA.*"), f"{found} {wanted[:5]} in the loop")
    others = sorted({i.opcode for b in loop for i in b if not re.fullmatch(wanted, i.opcode) and not re.fullmatch(BESIDE_WGMMA, i.opcode)})
    expect(not others, f"nothing beside it {' '.join(others)}".rstrip())
    # The fence, all of them, the wait: whatever the compiler puts between two of them would keep the second from being issued.
    order = [i.opcode for b in loop for i in b if re.fullmatch(rf"{wanted}|WARPGROUP.*", i.opcode)]
    expect(order[:1] == ["WARPGROUP.ARRIVE"] and count(loop, r"WARPGROUP\.ARRIVE") == 1, "one fence before it")
    waits = [i.operands.replace(" ", "") for b in loop for i in b if i.opcode.startswith("WARPGROUP.DEPBAR")]
    expect(waits == ["gsb0,0x1"], f"{len(waits)} wait for the round before")
    stores = count(blocks, r"STG.*")
    expect(stores == 1 and count(blocks, r"(LDG|LDS|ATOM|RED).*") == 0, f"{stores} STG")


def check_bulk(name, blocks, expect):
    """Bulk copies (UBLKCP) in the direction meant, and no other access to device memory but a checksum's."""
    loads = count(blocks, r"UBLKCP\.S\.G.*")
    stores = count(blocks, r"UBLKCP\.G\.S.*")
    expect((loads > 0) == (name != "bulk_write"), f"{loads} UBLKCP in")
    expect((stores > 0) == (name != "bulk_read"), f"{stores} UBLKCP out")
    plain = count(blocks, r"(LDG|STG)\..*")
    expect(plain == 0, f"{plain} LDG or STG")
    if name != "bulk_write":
        waits = count(blocks, r"SYNCS\.PHASECHK.*")
        expect(waits > 0, f"{waits} waits on barriers")


def check_gemm(target, kind, blocks, expect):
    if kind == "bf16":
        mma, wanted = r"HMMA\.16816\.F32\.BF16", MMAS
    elif target in FP8_CONVERTED:
        # One step per turn of the loop; each mma.sync of k = 32 becomes two of k = 16.
        mma, wanted = r"HMMA\.16816\.F32", MMAS
        unpacked = count(blocks, rf"F2FP\.F16\.{kind.upper()}\.UNPACK_B.*")
        expect(unpacked > 0, f"{unpacked} conversions to FP16")
    else:
        mma, wanted = rf"QMMA\.16832\.F32\.{kind.upper()}\.{kind.upper()}", MMAS
    loop = max(blocks, key=lambda b: count([b], mma))
    found = count([loop], mma)
    expect(found == wanted, f"{found} {mma.replace(chr(92), '').split('.')[0]} in the loop")
    expect(count(blocks, r"\w*MMA.*") == found, "no other MMA")
    loads = count(blocks, r"LDSM\.16\.M88\.4.*")
    expect(loads >= 8, f"{loads} LDSM.x4")
    copies = count(blocks, r"LDGSTS\.E\.BYPASS.*128")
    expect(copies >= 12, f"{copies} LDGSTS.128")
    stores = count(blocks, r"STG\.E\.128")
    expect(stores == 16 and stores == count(blocks, r"STG.*"), f"{stores} STG.128")
    expect(count(blocks, r"LDG\..*") == 0, "no LDG")


def innermost_loop(blocks, pattern):
    """The blocks of the smallest loop around every instruction of a pattern; none if there is no such loop."""
    where = [i for i, block in enumerate(blocks) if count([block], pattern)]
    best = []
    for end, block in enumerate(blocks):
        for instruction in block:
            if not where or end < where[-1] or not instruction.opcode.startswith("BRA"):
                continue
            target = re.search(r"\.L_\w+", instruction.operands)
            start = next((i for i, b in enumerate(blocks) if target and target.group(0) in b.labels), None)
            if start is not None and start <= where[0] and (not best or end + 1 - start < len(best)):
                best = blocks[start : end + 1]
    return best


def check_hopper(kind, blocks, expect):
    parts, panels, cluster = HOPPER_TILES[kind]
    form = kind.split("_")[0]
    promotes = form != "bf16"
    wide = "256" if kind == "bf16_128x256_c2" else "64" if "64x128" in kind else "128"
    mma = rf"HGMMA\.64x{wide}x16\.F32\.BF16" if form == "bf16" else rf"QGMMA\.64x{wide}x32\.F32\.{form.upper()}\.{form.upper()}"
    loop = innermost_loop(blocks, mma)
    found, wanted = count(loop, mma), 4 * parts
    expect(found == wanted, f"{found} {mma[:5]} of 64x{wide} in the loop")
    expect(count(blocks, r"\w*MMA.*") == found, "no other MMA")
    waits = [i.operands.replace(" ", "") for b in loop for i in b if i.opcode.startswith("WARPGROUP.DEPBAR")]
    # Sums that are added to others have to be waited for, part by part; others only when the next slice is under way.
    expect(waits == (["gsb0,0x0"] * parts if promotes else ["gsb0,0x1"]), f"{len(waits)} waits for it")
    if promotes:
        added = count(loop, r"FADD.*")
        expect(added == parts * int(wide) // 2, f"{added} FADD")
    expect(count(loop, r"SYNCS\.PHASECHK.*") > 0 and count(loop, r"SYNCS\.ARRIVE.*") == 1, "waits and arrives once")
    expect(count(loop, r"MEMBAR.*GPU|CCTL.*") == 0, "no wide fence")
    plain, shared = count(blocks, r"UTMALDG\.2D"), count(blocks, r"UTMALDG\.2D\.MULTICAST")
    expect((plain, shared) == ((1, 1) if cluster else (2, 0)), f"{plain} UTMALDG" + (f" {shared} to both" if shared else ""))
    stores = count(blocks, r"UTMASTG\.2D")
    expect(stores == panels and count(blocks, r"STSM\.16\.M88\.4") == 4 * panels, f"{stores} UTMASTG")
    meets = count(blocks, r"UCGABAR_ARV.*")
    expect(meets == (2 if cluster else 0), f"{meets} meetings of the cluster")
    moved = count(blocks, r"USETMAXREG\.TRY_ALLOC.*"), count(blocks, r"USETMAXREG\.DEALLOC.*")
    expect(moved == (1, 1), "registers move")
    # After it has given registers away the producer, whose code comes last, may use no more than it kept.
    behind = next((i for i, b in enumerate(blocks) if count([b], r"USETMAXREG\.DEALLOC.*")), len(blocks))
    most = max((r for b in blocks[behind:] for i in b for r in i.registers()), default=0)
    expect(most < PRODUCER_REGISTERS and count(blocks[behind:], r"UTMALDG.*") == 2, f"producer up to R{most}")
    # Two waits, each with two looks at the clock; two more at the end after a failure.
    looks = sum("SR_GLOBALTIMER" in i.operands for b in blocks for i in b)
    expect(looks >= 6, f"{looks} looks at the clock")
    # The note that it gave up is all that goes past the copies.
    others = [i for b in blocks for i in b if i.is_load or i.is_store]
    expect(all(i.opcode.endswith("E.STRONG.SYS") for i in others), "no LDG or STG but for the note")


def check(tool, folder, files, manifest):
    """Rows for the table, and everything that is wrong."""
    rows, broken = [], []
    for image in manifest["images"]:
        if not image["path"].endswith(".cubin"):
            continue
        path = Path(folder) / image["path"].replace("/", "-")
        path.write_bytes(files[image["path"]])
        kernels = disassemble(tool, path)
        for name, facts in image["kernels"].items():
            registers, blocks = kernels[name]
            seen, wrong = check_kernel(image["target"], name, blocks)
            spills = facts["spill_store_bytes"] + facts["spill_load_bytes"] + facts["stack_bytes"]
            if registers != facts["registers"]:
                wrong.append(f"expected {facts['registers']} registers as in the manifest but found {registers}")
            if spills:
                wrong.append(f"{spills} bytes of spills or stack")
            rows.append((image["target"], name, registers, spills, ", ".join(seen) + "".join(f", WRONG: {w}" for w in wrong)))
            broken += [f"{image['path']}: {name}: {w}" for w in wrong]
    return rows, broken


def print_table(rows):
    print(f"{'target':8} {'kernel':27} {'regs':>4} {'spills':>6}  checks")
    for target, name, registers, spills, text in rows:
        print(f"{target:8} {name:27} {registers:4} {spills:6}  {text}")
