"""One VM: its command line, its jail, its process, its birth from a template, its end.

Primitives: `VmCommand` and `Jail` (pure: values in, argv out), `JailedProcess` (one QEMU, watched),
`Qmp` (its control socket), `Machine` (all of one VM together), `TemplateStore` and `Pool` (how a VM
is ready in no time), `Launcher` (the door: what the engine asks).

Must not: know what a sandbox is, speak to the guest beyond hello, warm, ping and quiesce, open a
network, or give a VM's file or socket a name in the file system. Every file reaches QEMU as an
inherited descriptor.
"""
