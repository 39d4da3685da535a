"""The use cases: create a sandbox, run commands in it, move files, end it, clean up after a crash.

The engine knows no socket of the API and no QEMU: machines come from a `MachineSource`, and
whoever calls says who it is (`Actor`). One task per sandbox is the only writer of its state.
"""

from atoll.engine.engine import Engine
from atoll.engine.machines import MachineSource, RunningMachine
from atoll.engine.process import Process
from atoll.engine.sandbox import Sandbox
from atoll.engine.settings import EngineSettings

__all__ = ["Engine", "EngineSettings", "MachineSource", "Process", "RunningMachine", "Sandbox"]
