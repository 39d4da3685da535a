"""Code that nobody should run on a machine that they love: `atoll run -- python3 -c "$(cat examples/untrusted.py)"`."""

import os
import platform
import socket
import subprocess

print(f"kernel: {platform.release()}")
print(f"hostname: {socket.gethostname()}")
print(f"processes that it sees: {sum(name.isdigit() for name in os.listdir('/proc'))}")

os.makedirs("/home/app/stolen", exist_ok=True)
with open("/home/app/stolen/keys-of-the-kingdom", "w") as file:
    file.write("mine now\n")
print(f"wrote: {file.name}")

subprocess.run(["sudo", "rm", "-f", "/etc/passwd"], check=True)
print(f"/etc/passwd is still there: {os.path.exists('/etc/passwd')}")

try:
    socket.create_connection(("192.0.2.1", 80), timeout=3)
    print("network: it got out")
except OSError as error:
    print(f"network: {error}")
