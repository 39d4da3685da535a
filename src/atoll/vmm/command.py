"""The QEMU command line, as a pure function of a few values.

Every file is an inherited descriptor: disks through fd sets, sockets by number, RAM, kernel and
initramfs through `/proc/self/fd`. A template and its clones must present the same devices in the
same order, or the saved state does not fit; both come from here, and `COMMAND_FORMAT` goes up with
every change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from atoll.vmm.shape import Accel, Shape

COMMAND_FORMAT = 1
AGENT_PORT = "atoll.0"

# The translation cache is most of what a clone's private memory is made of. 64 MiB gave the same speed
# here, 16 MiB 2.5 to 3.5 times less.
TCG_CACHE_MIB = 32

# `panic=-1` with -no-reboot: a guest that panics is a QEMU that exits, never one that hangs.
KERNEL_ARGS = "console=ttyS0 quiet loglevel=4 panic=-1 no_timer_check random.trust_cpu=on"


@dataclass(frozen=True, slots=True)
class VmFds:
    """Descriptor numbers, the same in this process and in QEMU. `disk` is opened O_RDWR, `rootfs` O_RDONLY."""

    qmp: int
    agent: int
    console: int
    rootfs: int
    disk: int
    ram: int

    def all(self) -> tuple[int, ...]:
        return (self.qmp, self.agent, self.console, self.rootfs, self.disk, self.ram)


@dataclass(frozen=True, slots=True)
class ColdBoot:
    """Start at the kernel's entry; `ram` is mapped shared, so that it can become a template."""

    kernel: int
    initramfs: int
    extra_args: str = ""


@dataclass(frozen=True, slots=True)
class Restore:
    """Wait for a saved state on descriptor `state`; `ram` is mapped privately (copy on write)."""

    state: int


@dataclass(frozen=True, slots=True)
class VmCommand:
    """One QEMU's command line."""

    qemu: str
    accel: Accel
    shape: Shape
    fds: VmFds
    start: ColdBoot | Restore

    def argv(self) -> list[str]:
        return [
            self.qemu,
            *_machine(self.accel, self.shape),
            *_confinement(),
            *_ram(self.shape, self.fds.ram, shared=isinstance(self.start, ColdBoot)),
            *_channels(self.fds),
            *_disks(self.fds),
            *_start(self.start, self.accel),
        ]

    def pass_fds(self) -> tuple[int, ...]:
        """Every descriptor that QEMU must inherit."""
        if isinstance(self.start, ColdBoot):
            return (*self.fds.all(), self.start.kernel, self.start.initramfs)
        return (*self.fds.all(), self.start.state)


def accelerator_args(accel: Accel) -> list[str]:
    """`-accel` and `-cpu`: no nested virtualisation under KVM, everything the emulator has under TCG."""
    if accel is Accel.KVM:
        return ["-accel", "kvm", "-cpu", "host,-vmx,-svm"]
    # One thread for each vCPU: a warm command took 95 ms against 137 with one for both, and no more memory.
    return ["-accel", f"tcg,thread=multi,tb-size={TCG_CACHE_MIB}", "-cpu", "max"]


def machine_args() -> list[str]:
    """q35 without whatever a guest with virtio does not need: each device left out is code not reachable."""
    off = ("usb", "vmport", "smm", "sata", "smbus", "i8042", "hpet", "graphics", "dump-guest-core", "mem-merge")
    return [
        "-nodefaults", "-no-user-config", "-no-reboot",
        "-display", "none", "-vga", "none", "-monitor", "none", "-parallel", "none",
        "-machine", "q35," + ",".join(f"{name}=off" for name in off),
    ]  # fmt: skip


def _machine(accel: Accel, shape: Shape) -> Iterator[str]:
    yield from machine_args()
    yield from accelerator_args(accel)
    yield from ("-smp", f"{shape.vcpus},sockets=1,cores={shape.vcpus},threads=1")
    # A new generation id at every start: the guest's kernel reseeds itself when it sees another one.
    yield from ("-device", "vmgenid,guid=auto")
    yield from ("-rtc", "base=utc,clock=host,driftfix=slew")


def _confinement() -> Iterator[str]:
    yield from ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
    yield from ("-msg", "timestamp=off")


def _ram(shape: Shape, fd: int, *, shared: bool) -> Iterator[str]:
    yield from ("-m", f"{shape.memory_mib}M")
    share = "on" if shared else "off"
    yield from (
        "-object",
        f"memory-backend-file,id=ram,size={shape.memory_mib}M,mem-path=/proc/self/fd/{fd},share={share},prealloc=off",
    )
    yield from ("-machine", "memory-backend=ram")


def _channels(fds: VmFds) -> Iterator[str]:
    yield from ("-chardev", f"socket,id=qmp,fd={fds.qmp}", "-mon", "chardev=qmp,mode=control")
    yield from ("-chardev", f"socket,id=console,fd={fds.console}", "-serial", "chardev:console")
    yield from ("-device", "virtio-serial-pci,id=serial,addr=0x4,max_ports=2")
    yield from ("-chardev", f"socket,id=agent,fd={fds.agent}")
    yield from ("-device", f"virtserialport,bus=serial.0,nr=1,chardev=agent,name={AGENT_PORT}")
    yield from ("-object", "rng-builtin,id=rng", "-device", "virtio-rng-pci,rng=rng,addr=0x5")


def _disks(fds: VmFds) -> Iterator[str]:
    # `locking=off`: nobody else can open the files, and a lock on a shared rootfs would be noise.
    common = "driver=file,locking=off,aio=threads,auto-read-only=off"
    yield from ("-add-fd", f"fd={fds.rootfs},set=1", "-add-fd", f"fd={fds.disk},set=2")
    yield from ("-blockdev", f"{common},node-name=rootfs-file,filename=/dev/fdset/1,read-only=on")
    yield from ("-blockdev", "driver=raw,node-name=rootfs,file=rootfs-file,read-only=on")
    yield from ("-blockdev", f"{common},node-name=disk-file,filename=/dev/fdset/2,discard=unmap")
    yield from ("-blockdev", "driver=raw,node-name=disk,file=disk-file,discard=unmap,detect-zeroes=unmap")
    yield from ("-device", "virtio-blk-pci,drive=rootfs,addr=0x6,serial=rootfs")
    yield from ("-device", "virtio-blk-pci,drive=disk,addr=0x7,serial=disk,discard=on,write-zeroes=on")
    # Empty: volumes are plugged in here later, as disks, without touching the PCI bus.
    yield from ("-device", "virtio-scsi-pci,id=volumes,addr=0x8,num_queues=1")


def _start(start: ColdBoot | Restore, accel: Accel) -> Iterator[str]:
    if isinstance(start, Restore):
        yield from ("-incoming", "defer")
        return
    yield from ("-kernel", f"/proc/self/fd/{start.kernel}", "-initrd", f"/proc/self/fd/{start.initramfs}")
    yield from ("-append", kernel_args(accel, start.extra_args))


def kernel_args(accel: Accel, extra: str = "") -> str:
    """The guest kernel's command line."""
    # There is no speculation in the emulator; the guards against it would cost time and guard nothing.
    guards = " mitigations=off" if accel is Accel.TCG else ""
    return f"{KERNEL_ARGS}{guards} {extra}".strip()


@dataclass(frozen=True, slots=True)
class ProbeCommand:
    """The smallest VM: a kernel, an initramfs and a console, to see whether an accelerator works."""

    qemu: str
    accel: Accel
    shape: Shape
    console: int
    kernel: int
    initramfs: int

    def argv(self) -> list[str]:
        start = ColdBoot(self.kernel, self.initramfs)
        return [
            self.qemu,
            *machine_args(),
            *accelerator_args(self.accel),
            *_confinement(),
            "-m", "256M", "-smp", str(self.shape.vcpus),
            "-chardev", f"socket,id=console,fd={self.console}", "-serial", "chardev:console",
            *_start(start, self.accel),
        ]  # fmt: skip

    def pass_fds(self) -> tuple[int, ...]:
        return (self.console, self.kernel, self.initramfs)
