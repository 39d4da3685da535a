"""What runs inside the VM: pid 1, which mounts, starts and reaps processes, and serves files.

It lives on the read-only base image; the workload lives in an overlay of that image that it
is chrooted into, so that a workload which breaks its own Python or `/etc` does not break the
agent. Standard library and `atoll.wire` only. It is no security boundary: root in the guest
can do to it what it likes, which is why the host checks every byte that comes out of here.

One thread runs the loop and owns the port. Whatever can block runs on threads that have the
root directory, working directory and credentials of the user that they act for (`identity`).
"""
